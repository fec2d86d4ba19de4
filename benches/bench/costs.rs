//! The cost of calls, lattices and hosts to the provider's process, beside the
//! commands of [`crate::forwarding`].

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use serde_json::json;
use wasmcloud_interface_lattice_control::{ActorAuctionRequest, LatticeController as _};

use crate::accounting::{Process, micros_each};
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::operator::Operated;
use crate::support::world::ctx;
use crate::table::{Promise, Row, Table, Unit};

const ROUNDS: usize = 5;
const HOSTS: usize = 50;
const LATTICES: usize = 200;

pub async fn measure(table: &mut Table) {
    of_hosts(table).await;
    let row = |name: &str| Row::new(name, Unit::KiB, Promise::None);
    let mut host = row("memory, a host that is known");
    host.note(known_host().await);
    table.add(host);
    for (name, shared) in [
        ("memory, a lattice in use that shares a connection", true),
        ("memory, a lattice in use with its own connection", false),
    ] {
        let mut lattice = row(name);
        lattice.note(lattice_in_use(shared).await);
        table.add(lattice);
    }
}

/// Measures calls to many hosts, and the messages of many hosts.
async fn of_hosts(table: &mut Table) {
    let hosts: Vec<(Generation, &[(&str, &str)])> = vec![(Generation::G2b, &[]); HOSTS];
    let lattice = Operated::in_world(crate::world().await, &hosts).await;
    let process = Process::from(&lattice.world.provider);
    let url = lattice.world.nats.url();
    lattice.world.set_lattice("default", &url).await;
    lattice.get_hosts().await.unwrap();
    let row = |name: &str| Row::new(name, Unit::Micros, Promise::None);
    let mut get_hosts = row("CPU of the provider, GetHosts of 50 hosts");
    let mut heartbeat = row("CPU of the provider, a heartbeat");
    let client = lattice.world.nats.client().await;
    for _ in 0..ROUNDS {
        const CALLS: usize = 100;
        let before = process.cpu();
        let one = || async { assert_eq!(lattice.get_hosts().await.unwrap().len(), HOSTS) };
        let mut all = stream::iter((0..CALLS).map(|_| one())).buffer_unordered(16);
        while all.next().await.is_some() {}
        get_hosts.note(micros_each(process.cpu() - before, CALLS));
        // As many as a lattice may well send.
        const EACH: usize = 30;
        let before = process.cpu();
        for _ in 0..EACH {
            for host in &lattice.hosts {
                host.beat().await;
            }
        }
        crate::support::fence(&client).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        heartbeat.note(micros_each(process.cpu() - before, EACH * HOSTS));
    }
    table.add(get_hosts);
    table.add(heartbeat);
}

/// Measures memory in KiB for a lattice of one host that was called.
async fn lattice_in_use(shared: bool) -> f64 {
    let world = crate::world().await;
    let client = world.nats.client().await;
    let mut hosts = Vec::new();
    for number in 0..LATTICES {
        let sim = SimLattice::without_bucket(client.clone(), &format!("x{number}"));
        hosts.push(SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await);
    }
    let lattice = world.actor.lattice();
    // One lattice of each kind exists before, so that what all share is not
    // counted.
    world.set_lattice("x0", &world.nats.url()).await;
    lattice.get_hosts(&ctx(), "x0").await.unwrap();
    let before = world.provider.resident();
    let (world, lattice) = (&world, &lattice);
    let use_one = |number: usize| async move {
        let name = format!("x{number}");
        let user = if shared {
            String::new()
        } else {
            format!("u{number}:p@")
        };
        let url = format!("nats://{user}{}", world.nats.address());
        world.set_lattice(&name, &url).await;
        assert_eq!(lattice.get_hosts(&ctx(), &name).await.unwrap().len(), 1);
    };
    let mut used = stream::iter((1..LATTICES).map(use_one)).buffer_unordered(16);
    while used.next().await.is_some() {}
    (world.provider.resident() - before) as f64 / (LATTICES - 1) as f64
}

/// Measures memory in KiB for a host that has answered a ping. There are 5,000
/// hosts, so that the memory of an answer hardly counts.
async fn known_host() -> f64 {
    const HOSTS: usize = 5000;
    let world = crate::world().await;
    let client = world.nats.client().await;
    world.set_lattice("many", &world.nats.url()).await;
    let auction = ActorAuctionRequest {
        lattice_id: "many".into(),
        actor_ref: "x".into(),
        constraints: Default::default(),
    };
    let mut pings = client
        .subscribe("wasmbus.ctl.many.ping.hosts")
        .await
        .unwrap();
    crate::support::fence(&client).await;
    let ids: Vec<_> = (0..HOSTS)
        .map(|_| nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key())
        .collect();
    let answering = tokio::spawn(async move {
        while let Some(ping) = pings.next().await {
            let to = ping.reply.unwrap();
            for id in &ids {
                let body = json!({ "id": id, "version": "0.82.0", "uptime_seconds": 1, "labels": {
                    "hostcore.arch": "x86_64", "hostcore.os": "linux",
                    "hostcore.osfamily": "unix", "zone": "eu-central-1" } });
                client
                    .publish(to.clone(), body.to_string().into())
                    .await
                    .unwrap();
            }
        }
    });
    let before = world.provider.resident();
    let lattice = world.actor.lattice();
    let bids = lattice.auction_actor(&ctx(), &auction).await.unwrap();
    assert!(bids.is_empty());
    answering.abort();
    (world.provider.resident() - before) as f64 / HOSTS as f64
}
