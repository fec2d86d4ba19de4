//! Nobody pays for a neighbour: whatever an actor does, and whatever its lattices are, the
//! calls of another actor are neither refused nor slow. `make bench BENCH=neighbours`
//! measures the same in an optimized provider, with more calls and strict limits.

use std::net::TcpListener;
use std::time::Duration;

use tokio::net::{TcpListener as TokioListener, TcpStream};

use crate::support::eventually;
use crate::support::names::Over;
use crate::support::nats::NatsServer;
use crate::support::neighbours::Neighbours;
use crate::support::neighbours::guilty::{CALLERS, Verbose};
use crate::support::neighbours::innocent::{KINDS, Pace, Restarting};
use crate::support::neighbours::load::Load;
use crate::support::provider::{Identity, Provider};
use crate::support::time::assert_under;
use crate::support::world::World;

/// What the innocent actor calls in 1.5 s.
const PACE: Pace = Pace {
    every: Duration::from_millis(25),
    commands: 60,
};
/// How long its calls may take on a busy machine, less than the wait for a place.
const QUICKLY: Duration = Duration::from_millis(600);
/// How long the calls to a server that is there again may fail.
const REPAIRED: Duration = Duration::from_millis(1500);
const LATTICES: usize = 100;
const LANES: usize = 3;
/// Most threads of a provider.
const THREADS: i64 = 80;

/// Waits until the load was done so often, and asserts that the innocent actor does not
/// notice it.
async fn is_not_noticed(
    neighbours: &Neighbours,
    load: impl FnOnce() -> Load,
    often: usize,
) -> Load {
    let unconnected = neighbours.unconnected(PACE).await;
    let load = load();
    eventually("the load", || async {
        (load.done() >= often).then_some(())
    })
    .await;
    let calls = neighbours.innocent_calls(PACE, unconnected).await;
    load.assert_running();
    for (kind, calls) in KINDS.iter().zip(&calls) {
        let slow = calls.percentile(99);
        println!(
            "{kind}: half within {:?}, all within {slow:?}",
            calls.percentile(50)
        );
        assert!(calls.refused.is_empty(), "{kind}: {:?}", calls.refused);
        assert_under(QUICKLY, slow);
    }
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_dead_lattices_disturb_no_other_actor() {
    let neighbours = Neighbours::start().await;
    let (_servers, lattices) = neighbours.dead_lattices(LATTICES).await;
    let polls = || neighbours.polls(lattices, LANES);
    is_not_noticed(&neighbours, polls, LATTICES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dark_site_disturbs_no_other_actor_and_delays_no_repair() {
    let neighbours = Neighbours::start().await;
    let mut restarting = Restarting::start(&neighbours, 5).await;
    let (site, lattices) = neighbours.distant_lattices(LATTICES * 9 / 10).await;
    site.lose();
    let polls = || neighbours.polls(lattices, LANES);
    let _load = is_not_noticed(&neighbours, polls, LATTICES).await;
    let repaired = restarting.restart(&neighbours).await;
    println!("repaired after {repaired:?}");
    assert_under(REPAIRED, repaired.into_iter().max().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_name_server_disturbs_no_other_actor_and_takes_few_threads() {
    let Some(over) = Over::silent_name_server() else {
        return;
    };
    let neighbours = Neighbours::start_by(over.provider()).await;
    let lattices = neighbours.nameless_lattices(LATTICES).await;
    let polls = || neighbours.polls(lattices, LANES);
    let _load = is_not_noticed(&neighbours, polls, LATTICES).await;
    let threads = neighbours.world.provider.threads();
    assert!(threads <= THREADS, "{threads} threads");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_at_full_rate_disturb_no_other_actor() {
    let neighbours = Neighbours::start().await;
    let calls = neighbours.orders(12_000).await;
    let before = neighbours.host.commands();
    let orders = || neighbours.full_rate(neighbours.guilty_identity.subject(""), calls);
    is_not_noticed(&neighbours, orders, CALLERS).await;
    assert!(neighbours.host.commands() > before + CALLERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_calls_disturb_no_other_actor() {
    let neighbours = Neighbours::start().await;
    let calls = neighbours.forged(100);
    let flood = || neighbours.flood(neighbours.guilty_identity.subject(""), calls, 1_000);
    is_not_noticed(&neighbours, flood, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_with_32_mebibytes_disturbs_no_other_actor() {
    let neighbours = Neighbours::start().await;
    let verbose = Verbose::start(&neighbours, 32 * 1024 * 1024 - 64 * 1024).await;
    let direct = verbose.asked_directly(1);
    let answered = || async { (direct.done() > 0).then_some(()) };
    eventually("the host to answer", answered).await;
    drop(direct);
    is_not_noticed(&neighbours, || verbose.asked(&neighbours, 2), 1).await;
}

#[tokio::test]
async fn a_name_whose_first_addresses_are_dead_connects() {
    // Names have their addresses in this order, as those next to 127.0.0.1 come first.
    const DEAD: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
    const WELL: &str = "127.1.0.1";
    let remote = NatsServer::without_jetstream();
    let well = TokioListener::bind((WELL, 0)).await.unwrap();
    let port = well.local_addr().unwrap().port();
    let _dead = DEAD.map(|address| TcpListener::bind((address, port)).unwrap());
    let server = remote.address();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = well.accept().await {
            let mut to = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let lines = [DEAD[0], DEAD[1], WELL].map(|address| format!("{address} three.test\n"));
    let Some(over) = Over::hosts(&lines.concat()) else {
        return;
    };
    let (identity, nats) = (Identity::new(), NatsServer::start());
    let host_data = identity.host_data(&nats.url());
    let provider = Provider::start_by(over.provider(), &host_data);
    let world = World::around(provider, identity, nats).await;
    world
        .set_lattice("x", &format!("nats://three.test:{port}"))
        .await;
    let connects = || async { world.hosts("x").await.ok() };
    let hosts = eventually("a connection to the third address", connects).await;
    assert!(hosts.is_empty());
}
