//! What things cost the provider's process: CPU time per call, and resident
//! memory. Process accounting of Linux; the figures are of one machine.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use futures::StreamExt as _;
use futures::stream;
use serde_json::json;

use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::operator::{Annotations, Operated, accepted};
use crate::support::world::{World, ctx};
use wasmcloud_interface_lattice_control::{ActorAuctionRequest, LatticeController as _};

/// What was measured, for people.
pub struct Costs(Vec<(String, String)>);

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header(["what it costs the provider", "measured"]);
        for (what, measured) in &self.0 {
            table.add_row([what, measured]);
        }
        write!(f, "{table}")
    }
}

pub async fn measure() -> Costs {
    let mut costs = Vec::new();
    let mut add = |what: &str, measured: String| {
        println!("measured: {what}");
        costs.push((what.to_owned(), measured));
    };
    let one = Operated::in_world(crate::world().await, &[(Generation::G1b, &[])]).await;
    let url = one.world.nats.url();
    one.world.set_lattice("default", &url).await;
    add("memory, started", kib(resident(&one.world)));
    let each = cpu_per_call(&one.world, 4000, || async {
        let host = &one.hosts[0].id;
        accepted(one.start_actor(host, 1, &Annotations::new()).await);
    });
    add("CPU, a command passed on", micros(each.await));

    let fifty: Vec<(Generation, &[(&str, &str)])> = vec![(Generation::G2b, &[]); 50];
    let fifty = Operated::in_world(crate::world().await, &fifty).await;
    fifty
        .world
        .set_lattice("default", &fifty.world.nats.url())
        .await;
    fifty.get_hosts().await.unwrap();
    let each = cpu_per_call(&fifty.world, 300, || async {
        assert_eq!(fifty.get_hosts().await.unwrap().len(), 50);
    });
    add("CPU, GetHosts with 50 hosts", micros(each.await));
    let client = fifty.world.nats.client().await;
    let before = cpu_micros(&fifty.world);
    // In portions that a lattice may well send.
    for _ in 0..4 {
        for _ in 0..30 {
            for host in &fifty.hosts {
                host.beat().await;
            }
        }
        crate::support::fence(&client).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    let each = (cpu_micros(&fifty.world) - before) / 6000.0;
    add("CPU, a heartbeat", micros(each));
    add("CPU, a signature", micros(signature()));
    add("memory, a host that is known", kib(known_host().await));

    const LATTICES: usize = 200;
    for (what, shared) in [
        ("memory, a lattice in use that shares a connection", true),
        (
            "memory, a lattice in use with a connection of its own",
            false,
        ),
    ] {
        let world = crate::world().await;
        let client = world.nats.client().await;
        let mut hosts = Vec::new();
        for number in 0..LATTICES {
            let sim = SimLattice::without_bucket(client.clone(), &format!("x{number}"));
            hosts.push(SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await);
        }
        let lattice = world.actor.lattice();
        // One lattice of each kind is there before: what all share does not count.
        world.set_lattice("x0", &world.nats.url()).await;
        lattice.get_hosts(&ctx(), "x0").await.unwrap();
        let before = resident(&world);
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
        let more = resident(world).saturating_sub(before) / (LATTICES as u64 - 1);
        add(what, kib(more));
    }
    Costs(costs)
}

/// Time to verify a signature with the library in use.
fn signature() -> f64 {
    let key = nkeys::KeyPair::new(nkeys::KeyPairType::Cluster);
    let text = vec![7; 500];
    let signature = key.sign(&text).unwrap();
    let started = Instant::now();
    for _ in 0..1000 {
        key.verify(&text, &signature).unwrap();
    }
    started.elapsed().as_secs_f64() * 1000.0
}

/// Memory for a host that answered a ping: of 5,000, so that what an answer
/// takes for a moment hardly counts.
async fn known_host() -> u64 {
    const HOSTS: u64 = 5000;
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
    let before = resident(&world);
    let lattice = world.actor.lattice();
    let bids = lattice.auction_actor(&ctx(), &auction).await.unwrap();
    assert!(bids.is_empty());
    answering.abort();
    resident(&world).saturating_sub(before) / HOSTS
}

/// CPU time of the provider for each of so many calls, 16 at once.
async fn cpu_per_call<F: Future<Output = ()>>(
    world: &World,
    calls: usize,
    call: impl Fn() -> F,
) -> f64 {
    let before = cpu_micros(world);
    let mut all = stream::iter((0..calls).map(|_| call())).buffer_unordered(16);
    while all.next().await.is_some() {}
    (cpu_micros(world) - before) / calls as f64
}

fn micros(each: f64) -> String {
    format!("{each:.0} us")
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

/// CPU time that the provider used so far, in microseconds. The kernel counts in
/// hundredths of a second.
fn cpu_micros(world: &World) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.provider.pid())).unwrap();
    // Behind the name, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks: f64 = [fields[11], fields[12]]
        .map(|f| f.parse::<f64>().unwrap())
        .iter()
        .sum();
    ticks * 10_000.0
}

/// Resident memory of the provider, in bytes.
fn resident(world: &World) -> u64 {
    world.provider.resident() as u64 * 1024
}
