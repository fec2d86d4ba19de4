//! How actors share dials: whoever has lattices at servers that answer nothing waits for
//! them alone.

use std::time::{Duration, Instant};

use crate::learning::NONE_LEARNED;
use crate::non_nats_servers::{Listener, saying};
use crate::support::actor::Actor;
use crate::support::certs::Certs;
use crate::support::eventually;
use crate::support::nats::NatsServer;
use crate::support::provider::link_another;
use crate::support::time::assert_under;
use crate::support::world::{World, hosts, set};
use futures::future::join_all;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Starts a provider with two linked actors, and returns the other one.
async fn two_actors(settings: Value) -> (World, Actor) {
    let other = KeyPair::new(KeyPairType::Module).public_key();
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = settings.to_string().into();
        link_another(data, &other);
    })
    .await;
    let (identity, url) = (&world.identity, world.nats.url());
    let other = Actor::connect_as(&url, identity, &other, &identity.cluster).await;
    (world, other)
}

/// Starts a server that accepts connections and says nothing.
async fn silent() -> Listener {
    saying(Vec::new()).await
}

/// Binds so many lattices to a silent server, each with a login of its own, and has all of
/// them called all the time.
async fn call_silent_lattices(actor: &Actor, silent: &str, count: usize) -> JoinHandle<()> {
    let lattices: Vec<String> = (0..count).map(|number| format!("dead{number}")).collect();
    for lattice in &lattices {
        let url = format!("nats://{lattice}:x@{silent}");
        assert!(set(actor, lattice, &url).await.unwrap().accepted);
    }
    let actor = actor.clone();
    tokio::spawn(async move {
        let call = |lattice: String| {
            let actor = actor.clone();
            async move {
                loop {
                    let _ = hosts(&actor, &lattice).await;
                }
            }
        };
        join_all(lattices.into_iter().map(call)).await;
    })
}

#[tokio::test]
async fn an_actor_whose_lattices_are_silent_keeps_nobody_else_from_connecting() {
    const FIRST_CALLS: usize = 20;
    let (world, guilty) = two_actors(json!({})).await;
    let (silent, well) = (silent().await, NatsServer::without_jetstream());
    let calling = call_silent_lattices(&guilty, &silent.address, 100).await;
    world.provider.logged("no connection to a lattice").await;
    let mut slowest = Duration::ZERO;
    for number in 0..FIRST_CALLS {
        let (lattice, started) = (format!("well{number}"), Instant::now());
        let url = format!("nats://{lattice}:x@{}", well.address());
        world.set_lattice(&lattice, &url).await;
        let called = world.hosts(&lattice).await;
        assert!(called.unwrap().is_empty(), "{number}");
        slowest = slowest.max(started.elapsed());
    }
    println!("the slowest of {FIRST_CALLS} first calls: {slowest:?}");
    assert_under(Duration::from_millis(900), slowest);
    assert_eq!(well.dials(), FIRST_CALLS as u64);
    calling.abort();
}

#[tokio::test]
async fn a_dial_that_no_call_waits_for_gives_its_place_to_another() {
    // One actor has one of two places.
    let settings = json!({ "max_dials": 2, "call_budget_ms": 400 });
    let (world, _) = two_actors(settings).await;
    let silent = silent().await;
    world
        .set_lattice("dead", &format!("nats://{}", silent.address))
        .await;
    world.set_lattice("well", &world.nats.url()).await;
    let started = Instant::now();
    world.hosts("dead").await.unwrap_err();
    // The dial would go on for five seconds.
    eventually("another dial", || async { world.hosts("well").await.ok() }).await;
    assert_under(Duration::from_millis(2500), started.elapsed());
}

#[tokio::test]
async fn a_call_does_not_share_the_limit_of_the_actor_whose_dial_it_waited_for() {
    // One actor has one of two places.
    let (world, guilty) = two_actors(json!({ "max_dials": 2 })).await;
    let silent = {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        port.local_addr().unwrap().to_string()
    };
    // The servers are away when their credentials are set, so that calls dial them.
    let mut well = NatsServer::without_jetstream();
    well.kill();
    let dead = format!("nats://dead0:x@{silent}");
    assert!(set(&guilty, "dead0", &dead).await.unwrap().accepted);
    let shared: Vec<String> = (0..4).map(|number| format!("shared{number}")).collect();
    for lattice in shared.iter().map(String::as_str).chain(["own"]) {
        let url = format!("nats://{lattice}:x@{}", well.address());
        assert!(set(&guilty, lattice, &url).await.unwrap().accepted);
    }
    let tried = || async {
        let tried = world.provider.log().matches(NONE_LEARNED).count();
        (tried == shared.len() + 2).then_some(())
    };
    eventually("each to be tried", tried).await;
    // It accepts connections and says nothing.
    let _silent = TcpListener::bind(&silent).await.unwrap();
    well.restart();
    // Calls to the silent lattice overlap, so that its dial takes the guilty actor's share
    // all the time.
    let calling = call_silent_lattices(&guilty, &silent, 1).await;
    let also_calling = call_silent_lattices(&guilty, &silent, 1).await;
    let url = world.nats.url();
    let limited = || async {
        let error = hosts(&guilty, "own").await.err()?;
        error.contains("max_dials").then_some(())
    };
    eventually("the guilty actor's limit", limited).await;
    let calls = |actor: Actor| {
        let shared = shared.clone();
        tokio::spawn(
            async move { join_all(shared.iter().map(|lattice| hosts(&actor, lattice))).await },
        )
    };
    // The dials that these begin wait for the guilty actor's place. The innocent actor's
    // calls come after them, as its call in between was answered.
    let waiting = calls(guilty.clone());
    world.set_lattice("in_between", &url).await;
    for innocent in calls(world.actor.clone()).await.unwrap() {
        assert!(innocent.unwrap().is_empty());
    }
    let limited = |result: Result<_, String>| result.is_err_and(|why| why.contains("max_dials"));
    assert!(waiting.await.unwrap().into_iter().any(limited));
    calling.abort();
    also_calling.abort();
}

#[tokio::test]
async fn a_server_that_is_slow_is_reached_where_nobody_needs_the_place() {
    let settings = json!({ "call_budget_ms": 400 });
    let (world, _) = two_actors(settings).await;
    let nats = world.nats.address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        // Longer than a call may take.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let mut server = TcpStream::connect(nats).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    world
        .set_lattice("slow", &format!("nats://{address}"))
        .await;
    world.hosts("slow").await.unwrap_err();
    eventually("the slow server", || async {
        world.hosts("slow").await.ok()
    })
    .await;
    slow.abort();
}

#[tokio::test]
async fn servers_are_tried_side_by_side_where_the_first_are_silent() {
    let (world, _) = two_actors(json!({})).await;
    let (one, two) = (silent().await, silent().await);
    let well = NatsServer::without_jetstream();
    for number in 0..6 {
        let lattice = format!("x{number}");
        // A login of its own, so that each is a dial; servers are tried in any order.
        let url = [&one.address, &two.address, &well.address()]
            .map(|address| format!("nats://{lattice}:x@{address}"))
            .join(",");
        world.set_lattice(&lattice, &url).await;
        let started = Instant::now();
        assert!(world.hosts(&lattice).await.unwrap().is_empty());
        assert_under(Duration::from_millis(1500), started.elapsed());
    }
}

#[tokio::test]
async fn a_nats_url_whose_server_wants_tls_is_dialled_by_its_name_from_then_on() {
    let certs = Certs::new();
    // Its certificate is not for the address that the name leads to.
    let pair = certs.issue("named", &["localhost"]);
    let mut remote = NatsServer::with_config_without_jetstream(&pair.config());
    let ca = certs.ca();
    let (world, _) = two_actors(json!({ "tls_ca_file": ca })).await;
    let url = format!("nats://localhost:{}", remote.port());
    world.set_lattice("x", &url).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    remote.restart();
    eventually("the connection", || async { world.hosts("x").await.ok() }).await;
    // The server has counted since its restart.
    assert_eq!(remote.dials(), 1);
    // An address that the certificate is not for is refused as before.
    let address = format!("nats://{}", remote.address());
    world.set_lattice("y", &address).await;
    let error = world.hosts("y").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn the_idle_connections_of_the_actor_with_the_most_make_room() {
    let (world, other) = two_actors(json!({ "max_connections": 6 })).await;
    let well = NatsServer::without_jetstream();
    let call = async |actor: &Actor, lattice: &str| {
        let url = format!("nats://{lattice}:x@{}", well.address());
        assert!(set(actor, lattice, &url).await.unwrap().accepted);
        hosts(actor, lattice).await.unwrap();
    };
    // These are idle for the longest time.
    for number in 0..2 {
        call(&other, &format!("few{number}")).await;
    }
    for number in 0..20 {
        call(&world.actor, &format!("many{number}")).await;
    }
    let before = well.dials();
    for number in 0..2 {
        hosts(&other, &format!("few{number}")).await.unwrap();
    }
    assert_eq!(well.dials(), before);
}
