//! Connections over time: failures that callers share, idle connections, broken
//! ones, and how many there may be.

use std::time::{Duration, Instant};

use crate::learning::{NONE_LEARNED, NOT_CONNECTED};
use crate::support::eventually;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::{NatsServer, OURS};
use crate::support::operator::refused;
use crate::support::secrets::plant;
use crate::support::time::{assert_under, scaled};
use crate::support::world::{World, ctx};
use serde_json::json;
use wasmcloud_interface_lattice_control::*;

async fn configured(settings: serde_json::Value) -> World {
    World::start_on(NatsServer::start(), |data| {
        data["config_json"] = settings.to_string().into();
    })
    .await
}

/// Makes so many calls at once, and returns the answer to each.
async fn at_once(world: &World, lattice: &str, calls: usize) -> Vec<Result<Vec<Host>, String>> {
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let (actor, lattice) = (world.actor.clone(), lattice.to_owned());
            tokio::spawn(async move { actor.lattice().get_hosts(&ctx(), &lattice).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().map_err(|error| error.to_string()));
    }
    answers
}

fn users(passwords: &[&str]) -> String {
    let users: Vec<String> = passwords
        .iter()
        .enumerate()
        .map(|(n, password)| format!("{{ user: user{n}, password: \"{password}\" }}"))
        .collect();
    format!("authorization {{ users: [ {} ] }}", users.join(", "))
}

// --- failures ---

#[tokio::test]
async fn a_rejection_is_one_dial_for_all_who_ask_and_is_not_tried_again_at_once() {
    let (right, wrong) = (plant("the-right-password"), plant("the-wrong-password"));
    let remote = NatsServer::with_config(&users(&[&right]));
    let world = World::start().await;
    let url = |password: &str| format!("nats://user0:{password}@{}", remote.address());
    world.set_lattice("x", &url(&wrong)).await;
    world.provider.logged(NOT_CONNECTED).await;
    let before = remote.dials();
    for _ in 0..3 {
        for answer in at_once(&world, "x", 20).await {
            let error = answer.unwrap_err();
            assert!(error.contains("rejected the credentials"), "{error}");
        }
    }
    assert_eq!(remote.dials() - before, 1);
    // New credentials take effect at once.
    world.set_lattice("x", &url(&right)).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    // Setting the same credentials again has them tried again.
    world.set_lattice("x", &url(&wrong)).await;
    assert!(world.hosts("x").await.is_err());
}

#[tokio::test]
async fn a_server_that_is_away_is_one_dial_for_all_who_ask() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dials = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = dials.clone();
    // This server accepts connections and closes them.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(stream);
        }
    });
    let world = World::start().await;
    world
        .set_lattice("x", &format!("nats://127.0.0.1:{port}"))
        .await;
    for answer in at_once(&world, "x", 40).await {
        let error = answer.unwrap_err();
        assert!(error.contains("no connection to"), "{error}");
    }
    let dials = dials.load(std::sync::atomic::Ordering::SeqCst);
    // The calls together may take longer than a failure is remembered.
    assert!((1..=3).contains(&dials), "{dials}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_said_within_the_budget() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::start().await;
    world
        .set_lattice("x", &format!("nats://127.0.0.1:{port}"))
        .await;
    let started = Instant::now();
    let error = world.hosts("x").await.unwrap_err();
    assert!(error.contains("no connection to"), "{error}");
    assert_under(Duration::from_secs(2), started.elapsed());
    // A silent server among several does not keep a call from the others.
    let other = NatsServer::start();
    let both = format!("nats://127.0.0.1:{port},{}", other.address());
    world.set_lattice("y", &both).await;
    assert!(world.hosts("y").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_nobody_needs_any_more_is_not_connected_again() {
    let world = World::start().await;
    let (mut gone, here) = (NatsServer::start(), NatsServer::start());
    world.set_lattice("x", &gone.url()).await;
    assert!(world.hosts("x").await.is_ok());
    gone.kill();
    eventually("the break to be noticed", || async {
        world.hosts("x").await.err()
    })
    .await;
    world.set_lattice("x", &here.url()).await;
    assert!(world.hosts("x").await.is_ok());
    // Attempts to connect have stopped: there is none for longer than the
    // longest pause between two, 2 s.
    gone.restart();
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        assert_eq!(gone.dials(), 0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_revoked_user_does_not_knock_for_ever() {
    let (old, new) = (plant("password-before"), plant("password-after"));
    let mut remote = NatsServer::with_config(&users(&[&old]));
    let world = World::start().await;
    let url = format!("nats://user0:{old}@{}", remote.address());
    world.set_lattice("x", &url).await;
    assert!(world.hosts("x").await.is_ok());
    remote.reconfigure(&users(&[&new]));
    let rejected = || async {
        let error = world.hosts("x").await.err()?;
        error.contains("rejected the credentials").then_some(())
    };
    eventually("a rejection", rejected).await;
    let before = remote.dials();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let error = world.hosts("x").await.unwrap_err();
        assert!(error.contains("rejected the credentials"), "{error}");
    }
    assert!(remote.dials() - before <= 1, "{}", remote.dials() - before);
}

#[tokio::test]
async fn a_connection_that_is_down_says_since_when_and_why() {
    let world = World::start().await;
    let mut remote = NatsServer::start();
    world.set_lattice("x", &remote.url()).await;
    assert!(world.hosts("x").await.is_ok());
    remote.kill();
    let down = || async {
        let error = world.hosts("x").await.err()?;
        // The first may be that of a call that was under way.
        error.contains("being made again").then_some(error)
    };
    let error = eventually("the break to be said", down).await;
    assert!(error.contains("it broke"), "{error}");
    assert!(error.contains("nothing was sent"), "{error}");
}

#[tokio::test]
async fn a_server_about_to_stop_is_left_without_a_lost_call() {
    let (one, two) = NatsServer::cluster("").await;
    let world = World::start().await;
    let both = format!("{},{}", one.url(), two.url());
    world.set_lattice("x", &both).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    let (mut lame, other) = match one.open_connections(OURS) {
        1 => (one, two),
        _ => (two, one),
    };
    assert_eq!(lame.open_connections(OURS), 1);
    let sim = SimLattice::without_bucket(other.client().await, "x");
    let host = SimHost::start(&std::sync::Arc::new(sim), Generation::G2b, &[]).await;
    host.answer_after_on(".inv", Duration::from_millis(50));
    let found = || async { world.hosts("x").await.ok().filter(|hosts| hosts.len() == 1) };
    eventually("the host to be seen across the cluster", found).await;
    let request = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host.id.clone(),
    };
    // There are callers all the time: before, while the provider changes
    // servers, and after the end of the first server.
    let calls = |number: usize| {
        let (actor, request) = (world.actor.clone(), request.clone());
        tokio::spawn(async move {
            let call = actor.lattice();
            let result = call.get_host_inventory(&ctx(), &request).await;
            result
                .map(|_| ())
                .map_err(|error| format!("call {number}: {error}"))
        })
    };
    lame.lame_duck();
    let (mut under_way, mut killed) = (Vec::new(), None);
    let until = Instant::now() + scaled(Duration::from_secs(10));
    for number in 0.. {
        under_way.push(calls(number));
        tokio::time::sleep(Duration::from_millis(5)).await;
        match killed {
            None if lame.open_connections(OURS) == 0 => {
                lame.kill();
                killed = Some(Instant::now());
            }
            Some(at) if at.elapsed() > Duration::from_millis(300) => break,
            _ => assert!(Instant::now() < until, "the server was not left"),
        }
    }
    for call in under_way {
        call.await.unwrap().unwrap();
    }
    assert_eq!(other.open_connections(OURS), 1);
}

// --- idle ---

#[tokio::test]
async fn idle_time_counts_from_the_end_of_the_last_use() {
    let world = configured(json!({ "idle_limit_ms": 300 })).await;
    let remote = NatsServer::start();
    let sim = SimLattice::without_bucket(remote.client().await, "x");
    let host = SimHost::start(&std::sync::Arc::new(sim), Generation::G2b, &[]).await;
    host.answer_after_on(".inv", Duration::from_millis(900));
    world.set_lattice("x", &remote.url()).await;
    let request = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host.id.clone(),
    };
    // The connection is in use for three times as long as it may be idle.
    let client = world.actor.lattice();
    let inventory = client.get_host_inventory(&ctx(), &request).await.unwrap();
    assert_eq!(inventory.host_id, host.id);
    assert_eq!(remote.open_connections(OURS), 1);
    let closed = || async { (remote.open_connections(OURS) == 0).then_some(()) };
    eventually("the connection to close", closed).await;
    // The next call makes a new connection.
    assert_eq!(world.hosts("x").await.unwrap().len(), 1);
}

#[tokio::test]
async fn five_hundred_credentials_leave_no_connection_behind() {
    let world = configured(json!({ "idle_limit_ms": 1000 })).await;
    let remote = NatsServer::without_jetstream();
    let before = remote.open_connections("");
    // A server without authentication accepts every token, and each token makes
    // other credentials.
    for number in 0..500 {
        let url = format!("nats://token{number:03}@{}", remote.address());
        world.set_lattice(&format!("x{number}"), &url).await;
    }
    for number in 0..500 {
        assert!(world.hosts(&format!("x{number}")).await.unwrap().is_empty());
    }
    assert!(remote.dials() >= 500, "{}", remote.dials());
    let closed = || async { (remote.open_connections("") == before).then_some(()) };
    eventually("every connection to close", closed).await;
}

// --- limits ---

#[tokio::test]
async fn lattices_beyond_the_limit_are_refused_and_the_others_stay() {
    let world = configured(json!({ "max_lattices": 2 })).await;
    let url = world.nats.url();
    for lattice in ["a", "b"] {
        world.set_lattice(lattice, &url).await;
    }
    refused(world.try_set_lattice("c", &url).await, "max_lattices");
    // Lattices with credentials may get other ones.
    world.set_lattice("a", &url).await;
    assert!(world.hosts("a").await.is_ok());
    let error = world.hosts("c").await.unwrap_err();
    assert!(
        error.contains("max_lattices") || error.contains("is unknown"),
        "{error}"
    );
}

#[tokio::test]
async fn a_busy_connection_is_never_closed_for_another() {
    let world = configured(json!({ "max_connections": 1 })).await;
    let (one, two) = (NatsServer::start(), NatsServer::start());
    let sim = SimLattice::without_bucket(one.client().await, "x");
    let host = SimHost::start(&std::sync::Arc::new(sim), Generation::G2b, &[]).await;
    host.answer_after_on(".inv", Duration::from_millis(800));
    world.set_lattice("x", &one.url()).await;
    world.set_lattice("y", &two.url()).await;
    let actor = world.actor.clone();
    let request = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host.id.clone(),
    };
    let busy =
        tokio::spawn(async move { actor.lattice().get_host_inventory(&ctx(), &request).await });
    let heard = || async { (!host.received_on(".inv").is_empty()).then_some(()) };
    eventually("the host to hear", heard).await;
    let error = world.hosts("y").await.unwrap_err();
    assert!(error.contains("max_connections"), "{error}");
    assert_eq!(busy.await.unwrap().unwrap().host_id, host.id);
    // An idle connection makes room for it.
    assert!(world.hosts("y").await.unwrap().is_empty());
    assert_eq!(world.hosts("x").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_fresh_connection_is_for_whoever_dialled_it_however_many_want_its_place() {
    let world = configured(json!({ "max_connections": 1 })).await;
    let passwords: Vec<_> = (0..24).map(|n| format!("password-{n}")).collect();
    let remote = NatsServer::with_config(&users(&Vec::from_iter(
        passwords.iter().map(|p| p.as_str()),
    )));
    for number in 0..24 {
        let url = format!("nats://user{number}:password-{number}@{}", remote.address());
        world.set_lattice(&number.to_string(), &url).await;
    }
    let world = &world;
    for _ in 0..40 {
        let asked = (0..24).map(|call| async move { world.hosts(&call.to_string()).await });
        for hosts in futures::future::join_all(asked).await {
            match hosts {
                Ok(hosts) => assert!(hosts.is_empty()),
                Err(error) => assert!(error.contains("max_connections"), "{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_broken_connection_at_the_limit_comes_back_in_the_place_of_an_idle_one() {
    let world = configured(json!({ "max_connections": 1 })).await;
    let (mut one, two) = (NatsServer::start(), NatsServer::start());
    world.set_lattice("x", &one.url()).await;
    world.set_lattice("y", &two.url()).await;
    for _ in 0..2 {
        assert!(world.hosts("x").await.unwrap().is_empty());
        one.kill();
        eventually("the break to be noticed", || async {
            world.hosts("x").await.err()
        })
        .await;
        // Another connection takes the place and keeps it while there are no
        // calls.
        let taken = || async { world.hosts("y").await.ok() };
        eventually("the other to have the place", taken).await;
        one.restart();
        // Calls ask for it all the time.
        let back = || async { world.hosts("x").await.ok() };
        eventually("the first to come back", back).await;
    }
}

#[tokio::test]
async fn a_rejection_counts_more_than_a_server_that_is_away() {
    let (right, wrong) = (plant("the-only-password"), plant("not-the-password"));
    let remote = NatsServer::with_config(&users(&[&right]));
    let world = World::start().await;
    let dead = NatsServer::free_port();
    for number in 0..6 {
        let lattice = format!("x{number}");
        let url = format!("nats://user0:{wrong}@{},127.0.0.1:{dead}", remote.address());
        world.set_lattice(&lattice, &url).await;
        let error = world.hosts(&lattice).await.unwrap_err();
        assert!(error.contains("rejected the credentials"), "{error}");
    }
}

#[tokio::test]
async fn a_list_of_servers_has_an_end() {
    let world = World::start().await;
    let many: Vec<String> = (0..17).map(|n| format!("10.0.0.{n}")).collect();
    refused(
        world.try_set_lattice("x", &many.join(",")).await,
        "16 servers",
    );
}

#[tokio::test]
async fn dials_beyond_the_limit_are_refused_with_the_limits_name() {
    let world = configured(json!({ "max_dials": 1 })).await;
    let mut well = NatsServer::start();
    well.kill();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    drop(silent);
    // Neither server is there when its credentials are set.
    world
        .set_lattice("x", &format!("nats://127.0.0.1:{port}"))
        .await;
    world.set_lattice("y", &well.url()).await;
    let tried = || async {
        let tried = world.provider.log().matches(NONE_LEARNED).count();
        (tried == 2).then_some(())
    };
    eventually("both to be tried", tried).await;
    // This server accepts connections and sends nothing.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    well.restart();
    let actor = world.actor.clone();
    let slow = tokio::spawn(async move { actor.lattice().get_hosts(&ctx(), "x").await });
    let _held = silent.accept().await.unwrap();
    let error = world.hosts("y").await.unwrap_err();
    assert!(error.contains("max_dials"), "{error}");
    assert!(slow.await.unwrap().is_err());
    // The refusal lasts no longer than the dial.
    eventually("another try", || async { world.hosts("y").await.ok() }).await;
}
