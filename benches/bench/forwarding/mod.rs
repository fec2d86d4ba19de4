//! A command to a host, on three paths: `direct`, from the caller to the host;
//! `relay`, as a signed call through a process that only sends the command on;
//! and `provider`, as a signed call through the provider. Rounds are
//! interleaved.
//!
//! Callers and provider are on one nats-server, the host on another.

pub mod calls;
pub mod path;
pub mod relay;
mod verification;

use std::time::Duration;

use bytes::Bytes;

use crate::accounting::{Process, micros_each};
use crate::support::fast_host::Host;
use crate::support::nats::NatsServer;
use crate::support::operator::LATTICE;
use crate::table::{KIB_OF_MIB, Promise, Row, Table, Unit};
use calls::{acknowledged, answered};
use path::{CALLERS, Path};
use relay::Relay;

const ROUNDS: usize = 9;
/// The number of providers whose memory is read.
const STARTS: usize = 5;
/// How many commands of a round go one by one, and in how many turns.
const LATENCY: usize = 1000;
const TURNS: usize = 5;
/// How many commands of a round go many at once.
const THROUGHPUT: usize = 10_000;

/// The three paths, in the order of the results.
const WAYS: [&str; 3] = ["direct", "relay", "provider"];

/// How commands come, and the promised CPU time. For commands one by one,
/// waking up is most of the cost, and the relay alone takes more than that.
const LOADS: [(&str, Promise); 2] = [
    ("1 caller", Promise::None),
    ("64 callers", Promise::Times(2.5)),
];

/// The measurements of one path in a round.
#[derive(Default)]
struct Shown {
    took: Vec<Duration>,
    per_second: f64,
    /// CPU time for each command in microseconds, one by one and many at once.
    cpu: [f64; 2],
}

pub async fn measure(table: &mut Table) {
    let mut idle = Row::new("memory, no lattice", Unit::MiB, Promise::Under(12.0));
    let mut worlds = Vec::new();
    for _ in 0..STARTS {
        worlds.push(crate::world().await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for world in &worlds {
        idle.note(world.provider.resident() as f64 / KIB_OF_MIB);
    }
    let world = worlds.remove(0);
    drop(worlds);

    let remote = NatsServer::without_jetstream();
    let host = Host::start(remote.client().await, LATTICE).await;
    world.set_lattice(LATTICE, &remote.url()).await;
    let home = world.nats.client().await;
    let relay = Relay::start(
        &world.nats.url(),
        "bench.relay",
        &remote.url(),
        &host.subject,
        &host.command().to_string(),
    );
    let path = |client, subject, accepted| Path {
        client,
        subject,
        accepted,
    };
    let call = world.identity.subject("").into();
    let paths = [
        path(remote.client().await, host.subject.clone(), acknowledged),
        path(home.clone(), "bench.relay".into(), acknowledged),
        path(home, call, answered),
    ];
    let processes = [
        None,
        Some(relay.process()),
        Some(Process::from(&world.provider)),
    ];
    let cpu = |way: usize| processes[way].map_or(Duration::ZERO, Process::cpu);

    let command = Bytes::from(host.command().to_string());
    let signed = |count| calls::signed(&world.identity, &host.id, count);
    // Relay and provider get the same calls.
    let commands = |way, count| match way {
        0 => vec![command.clone(); count],
        _ => signed(count),
    };
    // The first call connects and asks the host for its version.
    paths[2].one_by_one(signed(10)).await;
    let mut rows = Rows::new();
    let mut sent = host.commands();
    for round in 0..=ROUNDS {
        let mut shown: [Shown; 3] = Default::default();
        for _ in 0..TURNS {
            for (way, path) in paths.iter().enumerate() {
                let count = LATENCY / TURNS;
                let commands = commands(way, count);
                let before = cpu(way);
                shown[way].took.extend(path.one_by_one(commands).await);
                shown[way].cpu[0] += micros_each(cpu(way) - before, LATENCY);
            }
        }
        for (way, path) in paths.iter().enumerate() {
            let commands = commands(way, THROUGHPUT);
            let before = cpu(way);
            let took = path.at_once(commands).await;
            shown[way].per_second = THROUGHPUT as f64 / took.as_secs_f64();
            shown[way].cpu[1] = micros_each(cpu(way) - before, THROUGHPUT);
        }
        sent += WAYS.len() * (LATENCY + THROUGHPUT);
        assert_eq!(host.commands(), sent, "each command reaches the host once");
        // The first round warms everything up.
        if round > 0 {
            rows.add(shown);
        }
    }
    rows.into_table(table);
    table.add(idle);
    let mut loaded = Row::new("memory, after all these calls", Unit::MiB, Promise::None);
    loaded.note(world.provider.resident() as f64 / KIB_OF_MIB);
    table.add(loaded);
}

/// Returns the rows of the table.
struct Rows {
    p50: [Row; 3],
    p99: [Row; 3],
    throughput: [Row; 3],
    relay_cpu: [Row; 2],
    cpu: [Row; 2],
    /// The provider's time beyond the relay's for a single caller.
    beyond: Row,
    spread: Row,
    verification: Row,
    together: Row,
}

impl Rows {
    fn new() -> Self {
        let for_each = |what: &str, unit, promise| {
            WAYS.map(|way| {
                let promise = if way == "provider" {
                    promise
                } else {
                    Promise::None
                };
                Row::new(&format!("{what}: {way}"), unit, promise).over("relay")
            })
        };
        Self {
            p50: for_each("1 caller, p50", Unit::Micros, Promise::Times(1.4)),
            p99: for_each("1 caller, p99", Unit::Micros, Promise::None),
            throughput: for_each(
                &format!("{CALLERS} callers"),
                Unit::PerSecond,
                Promise::AtLeast(0.4),
            ),
            relay_cpu: LOADS.map(|(load, _)| {
                let name = format!("CPU of the relay, a command, {load}");
                Row::new(&name, Unit::Micros, Promise::None)
            }),
            cpu: LOADS.map(|(load, promise)| {
                let name = format!("CPU of the provider, a command, {load}");
                Row::new(&name, Unit::Micros, promise).over("verification")
            }),
            beyond: Row::new(
                "CPU of the provider beyond the relay's, 1 caller",
                Unit::Micros,
                Promise::None,
            )
            .over("verification"),
            // If it is more than that, docs/performance.md has to say why.
            spread: Row::new(
                "1 caller, p99 over p50: provider",
                Unit::Micros,
                Promise::Times(3.0),
            )
            .over("p50"),
            verification: Row::new("verification of a signature", Unit::Micros, Promise::None),
            together: Row::new(
                &format!("the same, {} together, each", verification::TOGETHER),
                Unit::Micros,
                Promise::None,
            )
            .over("alone"),
        }
    }

    fn add(&mut self, mut shown: [Shown; 3]) {
        let (verification, together) = verification::measure();
        self.verification.note(verification);
        self.together.add(verification, together);
        for shown in &mut shown {
            shown.took.sort();
        }
        let part = |shown: &Shown, part: usize| {
            let at = shown.took.len() * part / 100;
            shown.took[at].as_secs_f64() * 1e6
        };
        for (way, of_way) in shown.iter().enumerate() {
            self.p50[way].add(part(&shown[1], 50), part(of_way, 50));
            self.p99[way].add(part(&shown[1], 99), part(of_way, 99));
            self.throughput[way].add(shown[1].per_second, of_way.per_second);
        }
        self.beyond
            .add(verification, shown[2].cpu[0] - shown[1].cpu[0]);
        self.spread.add(part(&shown[2], 50), part(&shown[2], 99));
        for (row, cpu) in self.relay_cpu.iter_mut().zip(shown[1].cpu) {
            row.note(cpu);
        }
        for (row, cpu) in self.cpu.iter_mut().zip(shown[2].cpu) {
            row.add(verification, cpu);
        }
    }

    fn into_table(self, table: &mut Table) {
        for row in [self.p50, self.p99, self.throughput].into_iter().flatten() {
            table.add(row);
        }
        let more = [self.spread, self.verification, self.together];
        let cpu = self.cpu.into_iter().chain(self.relay_cpu);
        for row in more.into_iter().chain(cpu).chain([self.beyond]) {
            table.add(row);
        }
    }
}
