//! 1,000 lattices of 100 hosts each, of which a tenth is in use, beside 10 such lattices:
//! what grows with the number of lattices is compared for each of them. All of this is
//! measured with one login for all lattices, and with a login for each.
//!
//! A lattice is in use until two minutes after its last call. So all providers run at the
//! same time, and are measured one after the other only where that counts, by their calls.

mod fleet;

use std::time::{Duration, Instant};

use crate::table::{KIB_OF_MIB, Promise, Row, Table, Unit};
use fleet::{Fleet, HOSTS, Hosts};

const FEW: usize = 10;
const MANY: usize = 1000;
/// One of so many lattices is in use.
const ONE_IN: usize = 10;
/// How long after its last call a lattice is in use, and a little longer.
const IN_USE: Duration = Duration::from_secs(124);
/// How long CPU is measured: as long as between two pings of a lattice in use, and shorter
/// where nothing is.
const PING_EVERY: Duration = Duration::from_secs(30);
const AT_REST: Duration = Duration::from_secs(15);
/// How long after a call its lattice has settled.
const SETTLES: Duration = Duration::from_secs(5);
/// How often providers take turns, and what each of them is called in a turn.
const TURNS: usize = 5;
const COMMANDS: usize = 300;
const QUERIES: usize = 24;

/// Few and many lattices with the same kind of login.
struct Pair {
    login: &'static str,
    few: Fleet,
    many: Fleet,
}

pub async fn measure(table: &mut Table) {
    let hosts = Hosts::make(MANY);
    let mut pairs = Vec::new();
    for (login, shared) in [("one login", true), ("a login each", false)] {
        let few = Fleet::start(&hosts, FEW, shared).await;
        let many = Fleet::start(&hosts, MANY, shared).await;
        pairs.push(Pair { login, few, many });
    }
    let mut all_called = Instant::now();
    for pair in &mut pairs {
        pair.memory(table).await;
        all_called = Instant::now();
    }
    tokio::time::sleep(SETTLES).await;
    cpu(table, &pairs, "all in use", PING_EVERY, |lattices| lattices).await;
    let beating = |lattices: usize| lattices / ONE_IN;
    for fleet in pairs.iter().flat_map(|pair| [&pair.few, &pair.many]) {
        fleet.beat(beating(fleet.lattices));
    }
    tokio::time::sleep(IN_USE.saturating_sub(all_called.elapsed())).await;
    cpu(table, &pairs, "none in use", AT_REST, |lattices| lattices).await;
    for pair in &pairs {
        for fleet in [&pair.few, &pair.many] {
            fleet.call_each(beating(fleet.lattices)).await;
        }
    }
    tokio::time::sleep(SETTLES).await;
    cpu(table, &pairs, "a tenth in use", PING_EVERY, beating).await;
    for pair in &pairs {
        pair.calls(table).await;
    }
}

/// Measures the CPU time of all providers at the same time. `counted` says for how many
/// lattices of a fleet that is.
async fn cpu(
    table: &mut Table,
    pairs: &[Pair],
    what: &str,
    time: Duration,
    counted: impl Fn(usize) -> usize,
) {
    let used = || pairs.iter().map(|pair| [pair.few.cpu(), pair.many.cpu()]);
    let before: Vec<_> = used().collect();
    tokio::time::sleep(time).await;
    for ((pair, after), before) in pairs.iter().zip(used()).zip(before) {
        let of = |which: usize| (after[which] - before[which]).as_secs_f64() / time.as_secs_f64();
        let each = |which: usize, lattices| of(which) * 1e6 / counted(lattices) as f64;
        let unit = match what {
            "none in use" => "a lattice",
            _ => "a lattice in use",
        };
        let name = format!("{}: CPU in a second, {what}, {unit}", pair.login);
        let mut row = Row::new(&name, Unit::Micros, Promise::None).over("10");
        row.add(each(0, FEW), each(1, MANY));
        table.add(row);
        let name = format!("{}: CPU, {what}, {MANY} lattices", pair.login);
        let mut row = Row::new(&name, Unit::Percent, Promise::None);
        row.note(of(1) * 100.0);
        table.add(row);
    }
}

impl Pair {
    /// Sets the credentials of all lattices, and calls each once; measures the memory that
    /// this takes.
    async fn memory(&mut self, table: &mut Table) {
        let row = |what: &str, unit| {
            let name = format!("{}: {what}", self.login);
            Row::new(&name, unit, Promise::None).over("10")
        };
        let mut bound = row("memory, a lattice that has credentials", Unit::KiB);
        let mut host = row("memory, a host of a lattice that was called", Unit::KiB);
        let mut all = row("memory, 1,000 lattices of 100 hosts, all called", Unit::MiB);
        let (mut each, mut each_host) = (Vec::new(), Vec::new());
        for fleet in [&self.few, &self.many] {
            let (before, lattices) = (fleet.resident(), fleet.lattices as f64);
            fleet.set_credentials().await;
            let set = fleet.resident();
            fleet.beat(fleet.lattices);
            fleet.call_each(fleet.lattices).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let called = fleet.resident();
            each.push((set - before) as f64 / lattices);
            each_host.push((called - set) as f64 / lattices / HOSTS as f64);
        }
        bound.add(each[0], each[1]);
        host.add(each_host[0], each_host[1]);
        all.add(
            self.few.resident() as f64 / KIB_OF_MIB,
            self.many.resident() as f64 / KIB_OF_MIB,
        );
        for row in [bound, host, all] {
            table.add(row);
        }
    }

    /// Measures calls to lattices in use, in turns.
    async fn calls(&self, table: &mut Table) {
        let row = |what: &str| {
            let name = format!("{}: {what}", self.login);
            Row::new(&name, Unit::Ms, Promise::None).over("10")
        };
        let of = |what: &str| ["p50", "p99"].map(|part| row(&format!("{what}, {part}")));
        let (mut commands, mut queries) = (of("command"), of("GetHosts of 100 hosts"));
        let percentile = |took: &[Duration], percent: usize| took[took.len() * percent / 100];
        for turn in 0..TURNS {
            let mut took = Vec::new();
            for fleet in [&self.few, &self.many] {
                let in_use = fleet.lattices / ONE_IN;
                let commands = fleet.commands(COMMANDS, in_use, turn * COMMANDS).await;
                let queries = fleet.queries(QUERIES, in_use, turn * QUERIES).await;
                took.push([commands, queries]);
            }
            for (part, percent) in [50, 99].into_iter().enumerate() {
                for (rows, kind) in [(&mut commands, 0), (&mut queries, 1)] {
                    let at = |fleet: usize| percentile(&took[fleet][kind], percent);
                    rows[part].add_ms(at(0), at(1));
                }
            }
        }
        for row in commands.into_iter().chain(queries) {
            table.add(row);
        }
    }
}
