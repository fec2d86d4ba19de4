//! The calls of an innocent actor beside a guilty one, which takes all that it can get.
//!
//! `alone` is what the calls take in the same provider right before. Where the guilty actor
//! keeps the CPU of the machine busy, the innocent one's calls are measured beside a like
//! load, too, which does not go through the provider, and the promise is for that: the table
//! has both. The two loads are not equal: without the provider between, more gets through.

use std::time::Duration;

use bytes::Bytes;

use crate::forwarding::relay::Relay;
use crate::support::names::Over;
use crate::support::neighbours::Neighbours;
use crate::support::neighbours::guilty::Verbose;
use crate::support::neighbours::innocent::{Calls, KINDS, Pace, Restarting};
use crate::support::neighbours::load::Load;
use crate::table::{Promise, Row, Table, Unit};

const ROUNDS: usize = 5;
/// What the innocent actor calls in 3 s.
const PACE: Pace = Pace {
    every: Duration::from_millis(5),
    commands: 600,
};
/// How long the guilty actor goes on before the innocent one is measured.
const SETTLES: Duration = Duration::from_secs(3);
const LATTICES: usize = 100;
const DARK: usize = 90;
/// How many calls the guilty actor has in flight to each of its lattices.
const LANES: usize = 3;
/// Connections that break when a server of the innocent actor restarts, and its restarts.
const RESTARTING: usize = 10;
const RESTARTS: usize = 3;
/// Commands of the guilty actor at full rate, more than are carried out meanwhile.
const ORDERS: usize = 200_000;
/// Forged calls in a second, as many as leave CPU for others on two cores.
const FORGED: u32 = 4_000;
const VERBOSE: usize = 32 * 1024 * 1024 - 64 * 1024;
const VERBOSE_CALLERS: usize = 3;
/// Most threads of a provider whose name server is silent.
const THREADS: f64 = 80.0;
/// The promise of the 99th percentile: so many times what the calls take alone.
const NOT_NOTICED: Promise = Promise::Times(2.0);
/// The same where a host answers with 32 MiB: async-nats takes in such an answer in one go,
/// which keeps a thread of the provider busy for some 15 ms, one of two on this machine.
const ONE_THREAD_LESS: Promise = Promise::Times(3.0);
/// How much longer a broken connection is away, in milliseconds.
const REPAIRED: Promise = Promise::Over(250.0);

pub async fn measure(table: &mut Table) {
    dead_lattices(table).await;
    dark_site(table).await;
    silent_names(table).await;
    orders(table).await;
    forged(table).await;
    verbose_host(table).await;
}

/// The rows of one drill.
struct Rows {
    name: String,
    p50: [Row; 3],
    p99: [Row; 3],
    refused: Row,
    /// What the first call said that was refused.
    said: Option<String>,
}

impl Rows {
    fn new(drill: &str, over: &'static str, p99: Promise) -> Self {
        let of = |part: &str, promise: Promise| {
            KINDS.map(|kind| {
                let name = format!("{drill}: {kind}, {part}");
                Row::new(&name, Unit::Ms, promise).over(over)
            })
        };
        let refused = format!("{drill}: refused");
        Self {
            name: drill.to_owned(),
            p50: of("p50", Promise::None),
            p99: of("p99", p99),
            refused: Row::new(&refused, Unit::Count, Promise::Under(0.0)),
            said: None,
        }
    }

    fn add(&mut self, least: &[Calls; 3], beside: &[Calls; 3]) {
        for (kind, (least, beside)) in least.iter().zip(beside).enumerate() {
            self.p50[kind].add_ms(least.percentile(50), beside.percentile(50));
            self.p99[kind].add_ms(least.percentile(99), beside.percentile(99));
        }
        let mut refused = beside.iter().flat_map(|calls| &calls.refused);
        let first = refused.next();
        self.said = self.said.take().or(first.cloned());
        let count = first.iter().count() + refused.count();
        self.refused.note(count as f64);
    }

    fn into_table(self, table: &mut Table) {
        for row in self.p50.into_iter().chain(self.p99).chain([self.refused]) {
            table.add(row);
        }
        if let Some(said) = self.said {
            println!("{}: the first refusal: {said}", self.name);
        }
    }
}

/// Measures the innocent actor's calls alone, and beside a load.
async fn alone_and_beside(
    neighbours: &Neighbours,
    rows: &mut Rows,
    load: impl FnOnce() -> Load,
) -> Load {
    let first = neighbours.unconnected(PACE).await;
    let other = neighbours.unconnected(PACE).await;
    let alone = neighbours.innocent_calls(PACE, first).await;
    let load = load();
    tokio::time::sleep(SETTLES).await;
    let beside = neighbours.innocent_calls(PACE, other).await;
    load.assert_running();
    println!("{}: the guilty actor has done {}", rows.name, load.done());
    rows.add(&alone, &beside);
    load
}

/// A hundred lattices at servers that accept connections and say nothing.
async fn dead_lattices(table: &mut Table) {
    let mut rows = Rows::new("100 dead lattices", "alone", NOT_NOTICED);
    for _ in 0..ROUNDS {
        let neighbours = Neighbours::start().await;
        let (_servers, lattices) = neighbours.dead_lattices(LATTICES).await;
        let polls = || neighbours.polls(lattices, LANES);
        alone_and_beside(&neighbours, &mut rows, polls).await;
    }
    rows.into_table(table);
}

/// A site that goes dark, with 90 lattices that were connected. Beside it a server of the
/// innocent actor restarts.
async fn dark_site(table: &mut Table) {
    let name = "a dark site";
    let mut rows = Rows::new(name, "alone", NOT_NOTICED);
    let repair = format!("{name}: the last of {RESTARTING} broken connections is made again");
    let mut repair = Row::new(&repair, Unit::Ms, REPAIRED).over("alone");
    for _ in 0..ROUNDS {
        let neighbours = Neighbours::start().await;
        let mut restarting = Restarting::start(&neighbours, RESTARTING).await;
        let (site, lattices) = neighbours.distant_lattices(DARK).await;
        let mut alone = Vec::new();
        for _ in 0..RESTARTS {
            alone.extend(restarting.restart(&neighbours).await.into_iter().max());
        }
        let polls = || {
            site.lose();
            neighbours.polls(lattices, LANES)
        };
        let load = alone_and_beside(&neighbours, &mut rows, polls).await;
        for alone in alone {
            let away = restarting.restart(&neighbours).await.into_iter().max();
            repair.add_ms(alone, away.unwrap());
        }
        load.assert_running();
    }
    rows.into_table(table);
    table.add(repair);
}

/// A hundred lattices at names whose name server never answers.
async fn silent_names(table: &mut Table) {
    let name = "a silent name server";
    let mut rows = Rows::new(name, "alone", NOT_NOTICED);
    let threads = format!("{name}: threads of the provider");
    let mut threads = Row::new(&threads, Unit::Count, Promise::Under(THREADS));
    let Some(over) = Over::silent_name_server() else {
        return;
    };
    for _ in 0..ROUNDS {
        let neighbours = Neighbours::start_by(over.provider()).await;
        let lattices = neighbours.nameless_lattices(LATTICES).await;
        let polls = || neighbours.polls(lattices, LANES);
        let _load = alone_and_beside(&neighbours, &mut rows, polls).await;
        threads.note(neighbours.world.provider.threads() as f64);
    }
    rows.into_table(table);
    table.add(threads);
}

/// Two measurements of one load: through the provider, and beside it.
struct Compared {
    alone: Rows,
    equal: Rows,
}

impl Compared {
    fn new(drill: &str, promise: Promise) -> Self {
        Self {
            alone: Rows::new(drill, "alone", Promise::None),
            equal: Rows::new(drill, "equal load", promise),
        }
    }

    /// Measures the innocent actor's calls alone, beside an equal load that does not go
    /// through the provider, and beside the load.
    async fn measure(
        &mut self,
        neighbours: &Neighbours,
        equal: impl FnOnce() -> Load,
        load: impl FnOnce() -> Load,
    ) {
        let first = neighbours.unconnected(PACE).await;
        let mut shown = Vec::new();
        let more = [
            neighbours.unconnected(PACE).await,
            neighbours.unconnected(PACE).await,
        ];
        let alone = neighbours.innocent_calls(PACE, first).await;
        let loads: [Box<dyn FnOnce() -> Load + '_>; 2] = [Box::new(equal), Box::new(load)];
        for (load, names) in loads.into_iter().zip(more) {
            let load = load();
            tokio::time::sleep(SETTLES / 3).await;
            let (before, since) = (load.done(), std::time::Instant::now());
            shown.push(neighbours.innocent_calls(PACE, names).await);
            load.assert_running();
            let rate = (load.done() - before) as f64 / since.elapsed().as_secs_f64();
            println!("{}: the load does {rate:.0} a second", self.alone.name);
        }
        self.alone.add(&alone, &shown[1]);
        self.equal.add(&shown[0], &shown[1]);
    }

    fn into_table(self, table: &mut Table) {
        self.alone.into_table(table);
        for row in self.equal.p99 {
            table.add(row);
        }
    }
}

/// Starts what stands for the provider in an equal load: it takes the same calls, and sends
/// the host the same commands, and looks at nothing.
fn relay(neighbours: &Neighbours) -> (Relay, String) {
    let (remote, host) = (neighbours.remote.url(), &neighbours.host);
    let subject = "bench.relay";
    let to = host.subject.replace('*', "ordered");
    let command = host.command().to_string();
    let home = neighbours.world.nats.url();
    (
        Relay::start(&home, subject, &remote, &to, &command),
        subject.into(),
    )
}

/// 64 callers of commands at full rate.
async fn orders(table: &mut Table) {
    let mut compared = Compared::new("64 callers of orders", NOT_NOTICED);
    for _ in 0..ROUNDS {
        let neighbours = Neighbours::start().await;
        let calls = neighbours.orders(ORDERS).await;
        let (_relay, subject) = relay(&neighbours);
        // The relay does not look at them, and carries out more.
        let again = vec![calls.clone(); 3].concat();
        let equal = || neighbours.full_rate(subject, again);
        let provider = neighbours.guilty_identity.subject("");
        let load = || neighbours.full_rate(provider, calls.clone());
        compared.measure(&neighbours, equal, load).await;
    }
    compared.into_table(table);
}

/// Forged calls, so many that the machine is busy, and as many as 64 callers can send.
async fn forged(table: &mut Table) {
    let paced = format!("{FORGED} forged calls a second");
    let mut paced = Compared::new(&paced, NOT_NOTICED);
    let mut full = Compared::new("64 callers of forged calls", Promise::None);
    for _ in 0..ROUNDS {
        let neighbours = Neighbours::start().await;
        let calls = neighbours.forged(1_000);
        let (_relay, stands_for) = relay(&neighbours);
        let provider = neighbours.guilty_identity.subject("");
        let flood = |subject: &str, calls: &[Bytes]| {
            neighbours.flood(subject.to_owned(), calls.to_vec(), FORGED)
        };
        let equal = || flood(&stands_for, &calls);
        paced
            .measure(&neighbours, equal, || flood(&provider, &calls))
            .await;
        let many = vec![calls.clone(); 4 * ORDERS / calls.len()].concat();
        let equal = || neighbours.full_rate(stands_for.clone(), many.clone());
        let load = || neighbours.full_rate(provider.clone(), many.clone());
        full.measure(&neighbours, equal, load).await;
    }
    paced.into_table(table);
    full.into_table(table);
}

/// A host that answers with 32 MiB, whose inventory several callers ask for.
async fn verbose_host(table: &mut Table) {
    let mut compared = Compared::new("a host that answers with 32 MiB", ONE_THREAD_LESS);
    for _ in 0..ROUNDS {
        let neighbours = Neighbours::start().await;
        let verbose = Verbose::start(&neighbours, VERBOSE).await;
        let equal = || verbose.asked_directly(VERBOSE_CALLERS);
        let load = || verbose.asked(&neighbours, VERBOSE_CALLERS);
        compared.measure(&neighbours, equal, load).await;
    }
    compared.into_table(table);
}
