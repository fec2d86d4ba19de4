//! First times: the start of a provider, the first call to a lattice, and 500
//! lattices in turn.

use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::Client;
use wasmbus_rpc::core::HealthCheckResponse;
use wasmcloud_interface_lattice_control::LatticeController as _;

use crate::support::drill;
use crate::support::fast_host::Host;
use crate::support::nats::NatsServer;
use crate::support::operator::accepted;
use crate::support::provider::{Identity, Provider};
use crate::support::world::{World, ctx};
use crate::table::{Promise, Row, Table, Unit};

const STARTS: usize = 9;
const FIRST_CALLS: usize = 25;
const LATTICES: usize = 500;

pub async fn measure(table: &mut Table) {
    start(table).await;
    let world = crate::world().await;
    let remote = NatsServer::without_jetstream();
    let host = Host::start(remote.client().await, "*").await;
    first_call(table, &world, &remote, &host).await;
    for (login, shared) in [("one login", true), ("500 logins", false)] {
        in_turn(table, &remote, &host, login, shared).await;
    }
}

/// Measures the time from the start of the process until a health check
/// succeeds. The floor is the same program when it prints its version.
async fn start(table: &mut Table) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let mut row = Row::new("start of the process to healthy", Unit::Ms, Promise::None);
    for _ in 0..STARTS {
        let started = Instant::now();
        let version = Command::new(crate::support::provider::program())
            .arg("--version")
            .output();
        let floor = started.elapsed();
        assert!(version.unwrap().status.success());
        let identity = Identity::new();
        let mut host_data = identity.host_data(&nats.url());
        host_data["log_level"] = "info".into();
        let started = Instant::now();
        let _provider = Provider::start(&host_data);
        while !is_healthy(&client, &identity).await {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        row.add_ms(floor, started.elapsed());
    }
    table.add(row.over("--version"));
}

async fn is_healthy(client: &Client, identity: &Identity) -> bool {
    let subject = identity.subject("health");
    // At first nothing listens.
    let Ok(reply) = client.request(subject, "".into()).await else {
        return false;
    };
    rmp_serde::from_slice::<HealthCheckResponse>(&reply.payload)
        .unwrap()
        .healthy
}

/// Measures the first call to a lattice, which dials, asks the host for its
/// version, and sends it the command. The floor is a client that does these
/// three.
async fn first_call(table: &mut Table, world: &World, remote: &NatsServer, host: &Host) {
    let mut row = Row::new("first call to a lattice", Unit::Ms, Promise::None);
    for number in 0..FIRST_CALLS {
        let lattice = format!("first{number}");
        let url = format!("nats://first{number}:x@{}", remote.address());
        world.set_lattice(&lattice, &url).await;
        let client = || async {
            let started = Instant::now();
            let client = async_nats::connect(&url).await.unwrap();
            let ping = format!("wasmbus.ctl.{lattice}.ping.hosts");
            client.request(ping, "".into()).await.unwrap();
            let command = host.command().to_string().into();
            let subject = host.subject.replace('*', &lattice);
            client.request(subject, command).await.unwrap();
            started.elapsed()
        };
        // The two take turns in being the first.
        if number % 2 == 0 {
            let floor = client().await;
            row.add_ms(floor, start_actor(world, host, &lattice).await);
        } else {
            let took = start_actor(world, host, &lattice).await;
            row.add_ms(client().await, took);
        }
    }
    table.add(row.over("client"));
}

/// Measures lattices that get credentials, are called, and are called again.
async fn in_turn(table: &mut Table, remote: &NatsServer, host: &Host, login: &str, shared: bool) {
    let world = crate::world().await;
    let before = world.provider.resident();
    let row = |what: &str, unit| {
        let name = format!("500 lattices, {login}: {what}");
        Row::new(&name, unit, Promise::None)
    };
    let mut bind = row("credentials set, each", Unit::Ms);
    let mut calls = [
        row("first call, each", Unit::Ms),
        row("second call, each", Unit::Ms),
    ];
    let names: Vec<String> = (0..LATTICES).map(|number| format!("x{number}")).collect();
    for name in &names {
        let user = if shared { "all" } else { name };
        let started = Instant::now();
        let url = format!("nats://{user}:x@{}", remote.address());
        world.set_lattice(name, &url).await;
        bind.note(started.elapsed().as_secs_f64() * 1e3);
    }
    for calls in &mut calls {
        for name in &names {
            let took = start_actor(&world, host, name).await;
            calls.note(took.as_secs_f64() * 1e3);
        }
    }
    table.add(bind);
    for calls in calls {
        table.add(calls);
    }
    let mut memory = row("memory, each", Unit::KiB);
    let more = world.provider.resident() - before;
    memory.note(more as f64 / LATTICES as f64);
    table.add(memory);
}

async fn start_actor(world: &World, host: &Host, lattice: &str) -> Duration {
    let command = drill::start_actor(lattice, &host.id);
    let actor = world.actor.lattice();
    let started = Instant::now();
    let ack = actor.start_actor(&ctx(), &command).await;
    let took = started.elapsed();
    accepted(ack);
    took
}
