//! The hosts of a lattice become known when its credentials were changed, with what nobody
//! else needs, so that the first list of hosts is not slower than the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::non_nats_servers::saying;
use crate::support::eventually;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::instances::Instances;
use crate::support::nats::{NatsServer, OURS};
use crate::support::secrets::plant;
use crate::support::store::{KEPT, bucket_of, key};
use crate::support::time::{assert_under, scaled};
use crate::support::world::{self, World};
use serde_json::{Value, json};

/// How long the first question waits for further hosts where none are known.
const STALL: Duration = Duration::from_millis(300);
const PING: &str = "ping.hosts";
const LEARNED: &str = "hosts were learned before the first call";
/// What the log says where nothing is learned, after the reason.
pub const NONE_LEARNED: &str = "nothing was learned before the first call";
/// What the log says of a dial for that which failed.
pub const NOT_CONNECTED: &str = "not connected before the first call";

async fn configured(settings: Value) -> World {
    World::start_on(NatsServer::start(), |data| {
        data["config_json"] = settings.to_string().into();
    })
    .await
}

async fn host(server: &NatsServer, lattice: &str) -> SimHost {
    let sim = SimLattice::without_bucket(server.client().await, lattice);
    SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await
}

/// Sets the credentials of lattice `x`, and waits until its host has become known.
async fn learned(world: &World, url: &str) {
    world.set_lattice("x", url).await;
    world.provider.logged(LEARNED).await;
}

/// Returns the subscriptions to events at a server.
fn subscribed_to_events(server: &NatsServer) -> usize {
    let subjects = server.subscriptions(OURS);
    let events = |subject: &&String| subject.starts_with("wasmbus.evt.");
    subjects.iter().filter(events).count()
}

#[tokio::test]
async fn the_first_list_of_hosts_takes_no_dial_and_waits_for_no_further_host() {
    let (world, remote) = (World::start().await, NatsServer::start());
    let host = host(&remote, "x").await;
    learned(&world, &remote.url()).await;
    let dials = remote.dials();
    let started = Instant::now();
    let hosts = world.hosts("x").await.unwrap();
    assert_under(STALL - Duration::from_millis(100), started.elapsed());
    assert_eq!(hosts[0].id, host.id);
    assert_eq!(remote.dials(), dials);
}

#[tokio::test]
async fn the_first_list_may_come_while_hosts_are_learned() {
    let (world, remote) = (World::start().await, NatsServer::start());
    let host = host(&remote, "x").await;
    world.set_lattice("x", &remote.url()).await;
    let hosts = world.hosts("x").await.unwrap();
    assert_eq!(hosts[0].id, host.id);
    // One connection for both.
    assert_eq!(remote.open_connections(OURS), 1);
}

#[tokio::test]
async fn what_changes_nothing_learns_nothing() {
    let (world, remote) = (World::start().await, NatsServer::start());
    let host = host(&remote, "x").await;
    learned(&world, &remote.url()).await;
    assert_eq!(host.received_on(PING).len(), 1);
    for _ in 0..5 {
        world.set_lattice("x", &remote.url()).await;
    }
    // What these might have sent would be there before the reply to a ping that comes later.
    assert_eq!(world.hosts("x").await.unwrap().len(), 1);
    assert_eq!(host.received_on(PING).len(), 2);
}

#[tokio::test]
async fn only_the_instance_that_took_the_change_pings() {
    let instances = Instances::start(3, |_, _| {}).await;
    instances.logged(KEPT).await;
    let remote = NatsServer::start();
    let host = host(&remote, "x").await;
    let set = world::set_acknowledged(&instances.actor, "x", &remote.url()).await;
    assert!(set.accepted, "{}", set.error);
    instances.logged("bound").await;
    let learned = || async {
        let logs = instances.providers.iter().map(|one| one.log());
        let learned = logs.filter(|log| log.contains(LEARNED)).count();
        (learned == 1).then_some(())
    };
    eventually("one of them to learn", learned).await;
    assert_eq!(host.received_on(PING).len(), 1);
    assert_eq!(remote.open_connections(OURS), 1);
}

#[tokio::test]
async fn no_watch_begins_and_the_connection_closes_as_one_that_nobody_uses() {
    let world = configured(json!({ "idle_limit_ms": 3000 })).await;
    let remote = NatsServer::start();
    let host = host(&remote, "x").await;
    learned(&world, &remote.url()).await;
    let over = || async { (subscribed_to_events(&remote) == 0).then_some(()) };
    eventually("events to be heard no longer", over).await;
    assert_eq!(remote.open_connections(OURS), 1);
    let closed = || async { (remote.open_connections(OURS) == 0).then_some(()) };
    eventually("the connection to close", closed).await;
    // A watch would have pinged a second after it began.
    assert_eq!(host.received_on(PING).len(), 1);
}

#[tokio::test]
async fn events_are_heard_before_hosts_are_pinged() {
    let (world, remote) = (World::start().await, NatsServer::start());
    let host = host(&remote, "x").await;
    host.answer_after_on(PING, Duration::from_millis(500));
    world.set_lattice("x", &remote.url()).await;
    let pinged = || async { (host.received_on(PING).len() == 1).then_some(()) };
    eventually("the ping", pinged).await;
    assert_eq!(subscribed_to_events(&remote), 2);
}

#[tokio::test]
async fn an_empty_lattice_leaves_nothing_but_a_connection() {
    let (world, remote) = (World::start().await, NatsServer::start());
    learned(&world, &remote.url()).await;
    let over = || async { (subscribed_to_events(&remote) == 0).then_some(()) };
    eventually("events to be heard no longer", over).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn no_connection_closes_for_one_that_no_call_asked_for() {
    let world = configured(json!({ "max_connections": 1 })).await;
    let (one, two) = (NatsServer::start(), NatsServer::start());
    world.set_lattice("x", &one.url()).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    world.set_lattice("y", &two.url()).await;
    world.provider.logged(NONE_LEARNED).await;
    assert_eq!((one.dials(), two.dials()), (1, 0));
    assert_eq!(one.open_connections(OURS), 1);
    // A call has the place of an idle connection.
    assert!(world.hosts("y").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_that_no_call_used_is_the_first_to_make_room() {
    let world = configured(json!({ "max_connections": 2 })).await;
    let servers = [(); 3].map(|()| NatsServer::start());
    world.set_lattice("used", &servers[0].url()).await;
    assert!(world.hosts("used").await.unwrap().is_empty());
    world.set_lattice("unused", &servers[1].url()).await;
    let learned = || async { (servers[1].open_connections(OURS) == 1).then_some(()) };
    eventually("a connection that no call used", learned).await;
    world.set_lattice("third", &servers[2].url()).await;
    assert!(world.hosts("third").await.unwrap().is_empty());
    let closed = || async { (servers[1].open_connections(OURS) == 0).then_some(()) };
    eventually("the unused one to close", closed).await;
    assert_eq!(servers[0].open_connections(OURS), 1);
}

#[tokio::test]
async fn a_silent_server_that_no_call_asked_for_gives_its_places_to_calls() {
    for settings in [json!({ "max_connections": 1 }), json!({ "max_dials": 1 })] {
        let world = configured(settings.clone()).await;
        let silent = saying(Vec::new()).await;
        let url = format!("nats://{}", silent.address);
        world.set_lattice("dead", &url).await;
        world.set_lattice("well", &world.nats.url()).await;
        let started = Instant::now();
        assert!(world.hosts("well").await.unwrap().is_empty(), "{settings}");
        assert_under(Duration::from_millis(400), started.elapsed());
        // The call to the silent one has the same answer as ever.
        let error = world.hosts("dead").await.unwrap_err();
        assert!(error.contains("no connection to"), "{error}");
        assert!(!error.contains("max_"), "{error}");
    }
}

#[tokio::test]
async fn without_a_spare_dial_nothing_is_dialled_and_no_call_notices() {
    let world = configured(json!({ "max_dials": 1 })).await;
    let silent = saying(Vec::new()).await;
    world
        .set_lattice("dead", &format!("nats://{}", silent.address))
        .await;
    let actor = world.actor.clone();
    let waits = tokio::spawn(async move { world::hosts(&actor, "dead").await });
    let remote = NatsServer::start();
    for number in 0..20 {
        let url = format!("nats://user{number}:pw@{}", remote.address());
        world.set_lattice(&format!("x{number}"), &url).await;
    }
    let all = || async {
        let log = world.provider.log();
        (log.matches(NONE_LEARNED).count() >= 20).then_some(())
    };
    eventually("all to be left out", all).await;
    assert_eq!(remote.dials(), 0);
    let error = waits.await.unwrap().unwrap_err();
    assert!(error.contains("in time"), "{error}");
}

#[tokio::test]
async fn a_refused_login_is_no_warning_and_leaves_the_first_call_as_it_was() {
    let wrong = plant("the-wrong-password");
    let remote = NatsServer::with_config("authorization { user: u, password: right }");
    let world = World::start().await;
    let url = format!("nats://u:{wrong}@{}", remote.address());
    world.set_lattice("x", &url).await;
    world.provider.logged(NOT_CONNECTED).await;
    assert!(!world.provider.log().contains("no connection to a lattice"));
    let dials = remote.dials();
    let error = world.hosts("x").await.unwrap_err();
    assert!(error.contains("rejected the credentials"), "{error}");
    // The call had a dial of its own, and a warning.
    assert_eq!(remote.dials(), dials + 1);
    let warnings = world.provider.log();
    assert_eq!(warnings.matches("no connection to a lattice").count(), 1);
}

#[tokio::test]
async fn a_server_that_comes_back_is_reached_by_the_first_call() {
    let mut remote = NatsServer::start();
    let world = World::start().await;
    remote.kill();
    world.set_lattice("x", &remote.url()).await;
    world.provider.logged(NOT_CONNECTED).await;
    remote.restart();
    // No failure is remembered.
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_that_no_call_used_is_not_made_again() {
    let mut remote = NatsServer::start();
    let world = World::start().await;
    learned(&world, &remote.url()).await;
    remote.restart();
    let until = Instant::now() + scaled(Duration::from_secs(1));
    while Instant::now() < until {
        assert_eq!(remote.open_connections(OURS), 0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn credentials_that_are_removed_close_the_connection_at_once() {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let remote = NatsServer::start();
    let _host = host(&remote, "x").await;
    world.set_lattice("x", &remote.url()).await;
    let connected = || async { (remote.open_connections(OURS) == 1).then_some(()) };
    eventually("the connection", connected).await;
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    bucket.purge(key(&world.identity, "x")).await.unwrap();
    let started = Instant::now();
    let closed = || async { (remote.open_connections(OURS) == 0).then_some(()) };
    eventually("the connection to close", closed).await;
    assert_under(Duration::from_millis(1500), started.elapsed());
}

#[tokio::test]
async fn a_flood_of_changes_costs_calls_nothing() {
    let world = configured(json!({ "max_dials": 4 })).await;
    let (silent, remote) = (saying(Vec::new()).await, NatsServer::start());
    let _host = host(&remote, "well").await;
    world.set_lattice("well", &remote.url()).await;
    assert_eq!(world.hosts("well").await.unwrap().len(), 1);
    let (actor, address) = (world.actor.clone(), silent.address.clone());
    let flood = tokio::spawn(async move {
        for number in 0.. {
            let url = format!("nats://user{number}:pw@{address}");
            let lattice = format!("dead{}", number % 50);
            assert!(world::set(&actor, &lattice, &url).await.unwrap().accepted);
        }
    });
    let fresh = NatsServer::start();
    for number in 0..20 {
        let lattice = format!("fresh{number}");
        let url = format!("nats://user{number}:pw@{}", fresh.address());
        world.set_lattice(&lattice, &url).await;
        let started = Instant::now();
        assert!(world.hosts(&lattice).await.unwrap().is_empty());
        assert_under(Duration::from_millis(300), started.elapsed());
    }
    flood.abort();
}
