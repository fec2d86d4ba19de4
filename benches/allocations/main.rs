//! How often a call allocates; `make bench` runs this, too. The provider is
//! this program with a counting allocator, as a process of its own, so that
//! callers and hosts are not counted. It is a bench of its own so that the
//! counting does not slow down the other one.

#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "../bench/forwarding/calls.rs"]
mod calls;
#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "../bench/forwarding/path.rs"]
mod path;
#[allow(dead_code, reason = "a part of what tests use")]
#[path = "../../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "../bench/table.rs"]
mod table;

use std::alloc::System;
use std::process::ExitCode;

use async_nats::Client;
use futures::StreamExt as _;
use lattice_controller::internals::controller::Controller;
use lattice_controller::internals::front::wasmbus;
use lattice_controller::internals::front::wasmbus::host_data::HostData;
use lattice_controller::internals::serve::Rules;
use lattice_controller::internals::settings::ProviderSettings;
use lattice_controller::internals::telemetry::{self, Lines};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use path::Path;
use support::fast_host::Host;
use support::nats::NatsServer;
use support::operator::LATTICE;
use support::provider::{Identity, Provider};
use support::world::World;
use table::{Promise, Row, Table, Unit};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The variable that makes this program such a provider, with the address of
/// its NATS server.
const VARIABLE: &str = "BENCH_COUNTED_PROVIDER";
/// The subject on which it tells how often it has allocated.
const TOLD_ON: &str = "bench.allocations";

const ROUNDS: usize = 5;
const CALLS: usize = 1000;

#[tokio::main]
async fn main() -> ExitCode {
    if let Ok(url) = std::env::var(VARIABLE) {
        return provide(&url).await;
    }
    let mut table = Table::default();
    measure(&mut table).await;
    println!("\n{table}");
    ExitCode::SUCCESS
}

/// Runs the provider until it is killed.
async fn provide(url: &str) -> ExitCode {
    let host = HostData::read(std::io::stdin()).unwrap();
    let lines = Lines::to_standard_error().unwrap();
    telemetry::start_log(&lines, host.log_level.as_deref(), false);
    let settings = ProviderSettings::parse(None);
    let rules = Rules::of(&settings);
    let controller = Controller::new(settings.unwrap(), "counted".into(), None).unwrap();
    let client = async_nats::connect(url).await.unwrap();
    let mut asked = client.subscribe(TOLD_ON).await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = asked.next().await {
            let stats = ALLOCATOR.stats();
            let count = (stats.allocations + stats.reallocations).to_string();
            let told = client.publish(question.reply.unwrap(), count.into());
            told.await.unwrap();
        }
    });
    match wasmbus::serve(host, rules, controller).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Counts the allocations of commands that come one by one.
async fn measure(table: &mut Table) {
    let (nats, remote) = (NatsServer::start(), NatsServer::without_jetstream());
    let identity = Identity::new();
    let mut host_data = identity.host_data(&nats.url());
    host_data["log_level"] = "info".into();
    let line = data_encoding::BASE64.encode(host_data.to_string().as_bytes());
    let program = std::env::current_exe().unwrap();
    let env = [(VARIABLE, nats.url())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let provider = Provider::start_program(&program, &format!("{line}\n"), &env);
    let world = World::around(provider, identity, nats).await;
    let host = Host::start(remote.client().await, LATTICE).await;
    world.set_lattice(LATTICE, &remote.url()).await;
    let client = world.nats.client().await;
    let path = Path {
        client: client.clone(),
        subject: world.identity.subject("").into(),
        accepted: calls::answered,
    };
    let signed = |count| calls::signed(&world.identity, &host.id, count);
    path.one_by_one(signed(100)).await;
    let mut row = Row::new("allocations for a command", Unit::Count, Promise::None);
    for _ in 0..ROUNDS {
        let before = allocations(&client).await;
        path.one_by_one(signed(CALLS)).await;
        let more = allocations(&client).await - before;
        row.note(more as f64 / CALLS as f64);
    }
    table.add(row);
}

async fn allocations(client: &Client) -> u64 {
    let told = client.request(TOLD_ON, "".into()).await.unwrap();
    std::str::from_utf8(&told.payload).unwrap().parse().unwrap()
}
