//! Connections to lattices are dialled once, shared, replaced, and made again.

use crate::support;
use std::time::Duration;

use crate::support::drill::{host_on, stop_in_flight};
use crate::support::eventually;
use crate::support::nats::{NatsServer, OURS};
use crate::support::operator::refused;
use crate::support::proxy::Proxy;
use crate::support::time::{SHORTLY, assert_under, timeout};
use crate::support::world::{World, ctx};
use wasmcloud_interface_lattice_control::*;

#[tokio::test]
async fn sixty_four_first_calls_make_one_dial() {
    let world = World::start().await;
    let remote = NatsServer::start();
    let host = host_on(&remote, "x").await;
    // The change of the credentials may make it already.
    let before = remote.dials();
    world.set_lattice("x", &remote.url()).await;
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let actor = world.actor.clone();
            let request = GetHostInventoryRequest {
                lattice_id: "x".into(),
                host_id: host.id.clone(),
            };
            tokio::spawn(async move { actor.lattice().get_host_inventory(&ctx(), &request).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(remote.dials() - before, 1);
}

#[tokio::test]
async fn lattices_with_the_same_credentials_share_a_connection() {
    let world = World::start().await;
    let remote = NatsServer::start();
    for number in 0..20 {
        let lattice = format!("x{number}");
        world.set_lattice(&lattice, &remote.url()).await;
        assert!(world.hosts(&lattice).await.unwrap().is_empty());
    }
    assert_eq!(remote.dials(), 1);
}

#[tokio::test]
async fn the_same_credentials_again_reconnect_nothing() {
    let world = World::start().await;
    let remote = NatsServer::start();
    for _ in 0..5 {
        world.set_lattice("x", &remote.url()).await;
        world.hosts("x").await.unwrap();
    }
    assert_eq!(remote.dials(), 1);
}

#[tokio::test]
async fn new_credentials_count_from_the_very_next_call() {
    let world = World::start().await;
    let (one, two) = (NatsServer::start(), NatsServer::start());
    let (on_one, on_two) = (host_on(&one, "x").await, host_on(&two, "x").await);
    for (server, host) in [(&one, &on_one), (&two, &on_two), (&one, &on_one)] {
        world.set_lattice("x", &server.url()).await;
        let found = world.hosts("x").await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, host.id);
    }
    // A connection that nothing uses any more is closed.
    eventually("the old connection to close", || async {
        (two.open_connections(OURS) == 0).then_some(())
    })
    .await;
    assert_eq!(one.open_connections(OURS), 1);
}

#[tokio::test]
async fn calls_in_flight_end_on_the_connection_they_began_on() {
    let world = World::start().await;
    let (one, two) = (NatsServer::start(), NatsServer::start());
    let host = host_on(&one, "x").await;
    host.answer_after(Duration::from_millis(400));
    world.set_lattice("x", &one.url()).await;
    let actor = world.actor.clone();
    let request = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host.id.clone(),
    };
    let call =
        tokio::spawn(async move { actor.lattice().get_host_inventory(&ctx(), &request).await });
    eventually("the host to hear", || async {
        (!host.received_on(".inv").is_empty()).then_some(())
    })
    .await;
    world.set_lattice("x", &two.url()).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    assert_eq!(call.await.unwrap().unwrap().host_id, host.id);
}

#[tokio::test]
async fn an_unreachable_server_is_said_at_once_and_tried_again() {
    let world = World::start().await;
    let port = NatsServer::free_port();
    world
        .set_lattice("x", &format!("nats://127.0.0.1:{port}"))
        .await;
    let error = world.hosts("x").await.unwrap_err();
    assert!(
        error.contains(&format!("no connection to 127.0.0.1:{port}")),
        "{error}"
    );
    let _later = NatsServer::on_port(port);
    eventually("another try", || async { world.hosts("x").await.ok() }).await;
}

#[tokio::test]
async fn rejected_credentials_are_said_to_be_that() {
    let password = support::secrets::plant("correct-horse-battery");
    let wrong = support::secrets::plant("wrong-horse-battery");
    let remote = NatsServer::with_config(&format!(
        "authorization {{ users: [ {{ user: alice, password: \"{password}\" }} ] }}"
    ));
    let world = World::start().await;
    world
        .set_lattice("x", &format!("nats://alice:{wrong}@{}", remote.address()))
        .await;
    let error = world.hosts("x").await.unwrap_err();
    assert!(error.contains("rejected the credentials"), "{error}");
    let command = StopHostCommand {
        lattice_id: "x".into(),
        host_id: nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key(),
        timeout: None,
    };
    refused(
        world.actor.lattice().stop_host(&ctx(), &command).await,
        "rejected",
    );
    world
        .set_lattice(
            "x",
            &format!("nats://alice:{password}@{}", remote.address()),
        )
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_in_the_url_logs_in() {
    let token = support::secrets::plant("a-token-for-the-server");
    let remote = NatsServer::with_config(&format!("authorization {{ token: \"{token}\" }}"));
    let world = World::start().await;
    world
        .set_lattice("x", &format!("{token}@{}", remote.address()))
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn credentials_that_are_rejected_later_are_said_to_be_that() {
    let (old, new) = (
        support::secrets::plant("the-old-password"),
        support::secrets::plant("the-new-password"),
    );
    let config = |password: &str| {
        format!("authorization {{ users: [ {{ user: alice, password: \"{password}\" }} ] }}")
    };
    let mut remote = NatsServer::with_config(&config(&old));
    let world = World::start().await;
    let url = |password: &str| format!("nats://alice:{password}@{}", remote.address());
    let (with_old, with_new) = (url(&old), url(&new));
    world.set_lattice("x", &with_old).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    remote.reconfigure(&config(&new));
    eventually("a rejection", || async {
        let error = world.hosts("x").await.err()?;
        error.contains("rejected the credentials").then_some(())
    })
    .await;
    world.set_lattice("x", &with_new).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unreachable_home_server_is_logged_once_in_a_while() {
    let identity = support::provider::Identity::new();
    let port = NatsServer::free_port();
    let provider = support::provider::Provider::start(
        &identity.host_data(&format!("nats://127.0.0.1:{port}")),
    );
    provider.logged("no connection to our lattice").await;
    let _nats = NatsServer::on_port(port);
    provider.ready().await;
    let complaints = provider
        .log()
        .matches("no connection to our lattice")
        .count();
    assert_eq!(complaints, 1, "{}", provider.log());
}

/// Waits until the lattice answers. Calls before that are refused and not lost.
async fn answers_again(world: &World) {
    eventually("the lattice to answer again", || async {
        match world.hosts("x").await {
            Ok(_) => Some(()),
            Err(error) => {
                let known = error.contains("connection") || error.contains("Connection");
                assert!(known, "{error}");
                None
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_the_lattices_server_costs_calls_in_flight_only() {
    let world = World::start().await;
    let mut remote = NatsServer::start();
    world.set_lattice("x", &remote.url()).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    for _ in 0..2 {
        remote.kill();
        // The command is refused at once, and not queued for later
        // (docs/hosts.md#queued-command-arrives-late).
        let command = StopHostCommand {
            lattice_id: "x".into(),
            host_id: nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key(),
            timeout: None,
        };
        let started = std::time::Instant::now();
        let refused = eventually("a refusal", || async {
            let ack = world
                .actor
                .lattice()
                .stop_host(&ctx(), &command)
                .await
                .ok()?;
            assert!(!ack.accepted);
            Some(ack.error)
        });
        let refused = refused.await;
        assert!(refused.contains("connection"), "{refused}");
        assert_under(Duration::from_secs(1), started.elapsed());
        remote.restart();
        let nats = remote.client().await;
        let mut late = nats.subscribe("wasmbus.ctl.x.cmd.>").await.unwrap();
        support::fence(&nats).await;
        answers_again(&world).await;
        let queued = timeout(SHORTLY, futures::StreamExt::next(&mut late));
        assert!(queued.await.is_err(), "a stale command was delivered");
    }
}

#[tokio::test]
async fn a_call_in_flight_when_the_connection_breaks_says_that_nobody_knows() {
    let world = World::start().await;
    let mut remote = NatsServer::start();
    let host = host_on(&remote, "x").await;
    host.fall_silent_on(".stop");
    world.set_lattice("x", &remote.url()).await;
    let call = stop_in_flight(&world.actor, "x", &host).await;
    remote.kill();
    let error = call.await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("connection broke") && error.contains("unknown whether"),
        "{error}"
    );
}

#[tokio::test]
async fn a_restart_of_our_own_server_costs_calls_in_flight_only() {
    let mut world = World::start().await;
    let remote = NatsServer::start();
    world.set_lattice("x", &remote.url()).await;
    let _host = host_on(&remote, "x").await;
    for _ in 0..2 {
        world.nats.restart();
        let found = eventually("calls to be served again", || async {
            world.hosts("x").await.ok()
        });
        // The provider still has its credentials: it is the same process.
        assert_eq!(found.await.len(), 1);
    }
    assert_eq!(remote.open_connections(OURS), 1);
}

#[tokio::test]
async fn a_lattice_that_is_out_of_reach_is_never_said_to_be_empty() {
    let remote = NatsServer::start();
    let world = World::start().await;
    let proxy = Proxy::to(&remote.address()).await;
    let _host = host_on(&remote, "x").await;
    for lattice in ["x", "nobody-is-here"] {
        world.set_lattice(lattice, &proxy.url()).await;
    }
    assert_eq!(world.hosts("x").await.unwrap().len(), 1);
    assert!(world.hosts("nobody-is-here").await.unwrap().is_empty());
    // Nothing comes through any more, and neither side is told.
    proxy.lose();
    let auction = ActorAuctionRequest {
        lattice_id: "x".into(),
        actor_ref: "a/b:1".into(),
        ..ActorAuctionRequest::default()
    };
    let (client, context) = (world.actor.lattice(), ctx());
    let (one, other, bids) = futures::join!(
        world.hosts("x"),
        world.hosts("nobody-is-here"),
        client.auction_actor(&context, &auction),
    );
    let told = [one.err(), other.err(), bids.err().map(|e| e.to_string())];
    for error in told {
        let error = error.unwrap();
        assert!(error.contains("does not answer"), "{error}");
    }
    proxy.heal();
    eventually("the host", || async {
        let hosts = world.hosts("x").await.ok()?;
        (hosts.len() == 1).then_some(())
    })
    .await;
}
