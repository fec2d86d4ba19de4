//! Faults, one at a time. In each, every call is answered in time, a lattice on
//! another server notices nothing, and no acknowledged credentials are lost,
//! also not by a restart of the provider after it.
//!
//! Drills in other files:
//!
//! | fault | test |
//! | --- | --- |
//! | a lattice's server restarts on its port | `connections.rs`, `a_restart_of_the_lattices_server_costs_calls_in_flight_only` |
//! | a server in lame duck mode | `connection_lifecycle.rs`, `a_server_about_to_stop_is_left_without_a_lost_call` |
//! | a user is revoked, a password changed | `logins.rs`, `a_user_who_is_revoked_while_connected_is_rejected_within_a_second` and the next |
//! | events may not be subscribed to | `gathers.rs`, `a_refused_event_subscription_changes_nothing_but_freshness` |
//! | a server, or an account, has no room for a connection | `logins.rs`, `a_server_without_room_for_a_connection_is_said_to_be_full` and the one before |
//! | a question is larger than the lattice's server takes | `replies.rs`, `a_question_too_large_for_the_server_is_said_to_be_that` |
//! | an answer is larger than our own server takes | `invocations.rs`, `an_answer_over_the_servers_max_payload_is_an_error_that_says_so` |
//! | an account exports answers one by one | `docs.rs`, `across_accounts_every_host_is_heard` |
//! | a connection is idle, and in use for longer than it may be idle | `connection_lifecycle.rs`, `idle_time_counts_from_the_end_of_the_last_use` |
//! | JetStream goes, or its bucket | `vault_without_jetstream.rs`, `credentials_that_jetstream_does_not_take_are_not_acknowledged` and the one before |

use crate::support;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::drill::{Drill, host_on, in_time, start_actor};
use crate::support::eventually;
use crate::support::nats::{NatsServer, OURS};
use crate::support::operator::refused;
use crate::support::proxy::Proxy;
use crate::support::time::{SHORTLY, scaled};
use crate::support::world::{ctx, set};
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use lattice_controller::internals::credentials::vault::bucket;
use nix::sys::signal::Signal;
use serde_json::json;
use wasmcloud_interface_lattice_control::*;

// --- servers that end ---

#[tokio::test]
async fn what_was_acknowledged_before_our_own_server_was_killed_is_kept() {
    let mut drill = Drill::start().await;
    let remote = NatsServer::without_jetstream();
    let (actor, url) = (drill.provider.actor.clone(), remote.url());
    // Credentials are set one after the other, all the time; these are those
    // that were acknowledged.
    let setting = tokio::spawn(async move {
        let (mut acknowledged, mut failed) = (Vec::new(), 0);
        for number in 0.. {
            let lattice = format!("x{number}");
            match set(&actor, &lattice, &url).await {
                Ok(ack) if ack.accepted => acknowledged.push(lattice),
                _ => failed += 1,
            }
            if failed > 1 && acknowledged.len() > 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        acknowledged
    });
    for _ in 0..2 {
        tokio::time::sleep(scaled(SHORTLY)).await;
        drill.provider.nats.restart();
        served_again(&drill, "elsewhere").await;
    }
    let acknowledged = setting.await.unwrap();
    let acknowledged: Vec<&str> = acknowledged.iter().map(String::as_str).collect();
    drill.remembers(&acknowledged).await;
}

#[tokio::test]
async fn a_server_killed_in_mid_gather_costs_what_was_under_way() {
    let mut drill = Drill::start().await;
    let mut remote = NatsServer::without_jetstream();
    drill.set("x", &remote.url()).await;
    let nats = remote.client().await;
    let mut pings = nats.subscribe("wasmbus.ctl.x.ping.hosts").await.unwrap();
    support::fence(&nats).await;
    // Many hosts, whose answers do not end.
    let answering = tokio::spawn(async move {
        while let Some(ping) = pings.next().await {
            let nats = nats.clone();
            tokio::spawn(async move {
                loop {
                    let to = ping.reply.clone().unwrap();
                    let id = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
                    let body = json!({ "id": id, "version": "0.82.0", "uptime_seconds": 1 });
                    if nats.publish(to, body.to_string().into()).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
    });
    let elsewhere = drill.watch_elsewhere();
    let answers = drill.at_once("x", 16);
    let killed = async {
        eventually("answers", || async {
            let messages = remote.monitoring("/varz")["in_msgs"].as_u64()?;
            (messages > 200).then_some(())
        })
        .await;
        remote.kill();
    };
    let (answers, ()) = futures::join!(answers, killed);
    answering.abort();
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(error.contains("is lost"), "{error}");
    }
    remote.restart();
    let _host = host_on(&remote, "x").await;
    drill.recovers("x", 1).await;
    elsewhere.noticed_nothing().await;
    drill.remembers(&["x"]).await;
}

// --- hosts that say too much ---

#[tokio::test]
async fn a_flood_of_answers_ends_its_call_and_nothing_else() {
    const FLOOD: usize = 40_000;
    let mut drill = Drill::start().await;
    let remote = NatsServer::without_jetstream();
    drill.set("x", &remote.url()).await;
    let host = host_on(&remote, "x").await;
    assert_eq!(drill.hosts("x").await.unwrap().len(), 1);
    let before = drill.resident();
    let elsewhere = drill.watch_elsewhere();
    let nats = remote.client().await;
    // It floods pings, auctions and queries of one host.
    let mut asked = nats.subscribe("wasmbus.ctl.x.>").await.unwrap();
    support::fence(&nats).await;
    let flooding = tokio::spawn(async move {
        let body = json!({ "id": "N", "padding": "x".repeat(500) }).to_string();
        let body = bytes::Bytes::from(body);
        while let Some(question) = asked.next().await {
            for _ in 0..FLOOD {
                let to = question.reply.clone().unwrap();
                nats.publish(to, body.clone()).await.unwrap();
            }
        }
    });
    let answers = drill.at_once("x", 8).await;
    for answer in answers {
        answer.unwrap();
    }
    // The gather ended at its limit, or was complete before all answers had
    // come.
    drill
        .provider
        .logged("answers were left out of a gather")
        .await;
    let client = drill.provider.actor.lattice();
    let request = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host.id.clone(),
    };
    let _ = in_time(client.get_host_inventory(&ctx(), &request)).await;
    let grown = drill.resident() - before;
    println!("a flood of answers: {grown} KiB more");
    assert!(grown < 64 * 1024, "{grown} KiB");
    elsewhere.noticed_nothing().await;
    flooding.abort();
    drill.recovers("x", 1).await;
    drill.remembers(&["x"]).await;
}

#[tokio::test]
async fn a_flood_of_events_is_not_listened_to_and_costs_no_call() {
    let mut drill = Drill::start().await;
    let remote = NatsServer::without_jetstream();
    drill.set("x", &remote.url()).await;
    let host = host_on(&remote, "x").await;
    assert_eq!(drill.hosts("x").await.unwrap().len(), 1);
    let subscribed = || async {
        let subscriptions = remote.monitoring("/subsz?subs=1")["subscriptions_list"].to_string();
        subscriptions.contains("wasmbus.evt.x").then_some(())
    };
    eventually("the event subscription", subscribed).await;
    let before = drill.resident();
    let elsewhere = drill.watch_elsewhere();
    let nats = remote.client().await;
    let event = json!({ "type": "com.wasmcloud.lattice.host_heartbeat", "source": host.id,
        "data": { "version": "0.80.0", "padding": "x".repeat(500) } });
    let event = bytes::Bytes::from(event.to_string());
    for _ in 0..50_000 {
        let sent = nats.publish("wasmbus.evt.x", event.clone());
        sent.await.unwrap();
    }
    support::fence(&nats).await;
    drill.provider.logged("too many events").await;
    for answer in drill.at_once("x", 8).await {
        assert_eq!(answer.unwrap().len(), 1);
    }
    let grown = drill.resident() - before;
    println!("a flood of events: {grown} KiB more");
    assert!(grown < 64 * 1024, "{grown} KiB");
    elsewhere.noticed_nothing().await;
    drill.remembers(&["x"]).await;
}

// --- networks that fail ---

/// Starts a lattice behind a proxy, with a host that is known to the provider.
async fn behind_proxy(drill: &Drill) -> (NatsServer, Proxy, support::host::SimHost) {
    let remote = NatsServer::without_jetstream();
    let proxy = Proxy::to(&remote.address()).await;
    let host = host_on(&remote, "x").await;
    drill.set("x", &proxy.url()).await;
    assert_eq!(drill.hosts("x").await.unwrap().len(), 1);
    (remote, proxy, host)
}

#[tokio::test]
async fn a_frozen_peer_costs_the_calls_to_it() {
    let mut drill = Drill::start().await;
    let (_remote, proxy, host) = behind_proxy(&drill).await;
    let elsewhere = drill.watch_elsewhere();
    proxy.freeze();
    // Larger than the buffers on the way.
    let large = ActorAuctionRequest {
        lattice_id: "x".into(),
        actor_ref: "x".into(),
        constraints: HashMap::from([("zone".to_owned(), "x".repeat(60_000))]),
    };
    let (client, ctx) = (drill.provider.actor.lattice(), ctx());
    let auctions = (0..28).map(|_| in_time(client.auction_actor(&ctx, &large)));
    let orders = (0..8).map(|_| drill.start_actor("x", &host.id));
    let (auctions, orders, questions) =
        futures::join!(join_all(auctions), join_all(orders), drill.at_once("x", 16));
    for order in orders {
        // The host is asked for its inventory before it gets a command.
        let ack = order.unwrap();
        assert!(ack.error.contains("nothing was sent"), "{}", ack.error);
    }
    // The hosts are unknown, so the answer is no empty list.
    assert!(auctions.into_iter().all(|bids| bids.is_err()));
    for hosts in questions {
        let error = hosts.unwrap_err();
        assert!(error.contains("does not answer"), "{error}");
    }
    // From then on the provider knows that the server does not answer.
    let told = || async {
        let error = drill.hosts("x").await.err()?;
        error.contains("does not answer any more").then_some(())
    };
    eventually("calls to be told", told).await;
    elsewhere.noticed_nothing().await;
    proxy.heal();
    let took = drill.recovers("x", 1).await;
    println!("a frozen lattice is used again {took:?} after the thaw");
    drill.remembers(&["x"]).await;
}

#[tokio::test]
async fn a_frozen_connection_of_our_own_thaws_and_goes_on() {
    let nats = NatsServer::start();
    let proxy = Proxy::to(&nats.address()).await;
    let url = proxy.url();
    let mut drill =
        Drill::start_on(nats, |data| data["lattice_rpc_url"] = url.clone().into()).await;
    let remote = NatsServer::without_jetstream();
    let host = host_on(&remote, "x").await;
    drill.set("x", &remote.url()).await;
    assert_eq!(drill.hosts("x").await.unwrap().len(), 1);
    proxy.freeze();
    // The provider cannot answer these, and the actor gives up.
    let client = drill.provider.actor.lattice();
    let command = start_actor("x", &host.id);
    let ctx = ctx();
    let unanswered = (0..16).map(|_| client.start_actor(&ctx, &command));
    for order in join_all(unanswered).await {
        order.unwrap_err();
    }
    proxy.heal();
    let took = drill.recovers("x", 1).await;
    println!("our own frozen connection is used again {took:?} after the thaw");
    drill.set("y", &remote.url()).await;
    drill.remembers(&["x", "y"]).await;
}

#[tokio::test]
async fn a_partition_that_heals_costs_the_calls_meanwhile() {
    let mut drill = Drill::start().await;
    let (_remote, proxy, host) = behind_proxy(&drill).await;
    let elsewhere = drill.watch_elsewhere();
    proxy.lose();
    for answer in drill.at_once("x", 16).await {
        let error = answer.unwrap_err();
        assert!(error.contains("does not answer"), "{error}");
    }
    let order = drill.start_actor("x", &host.id).await;
    assert!(!order.unwrap().accepted);
    elsewhere.noticed_nothing().await;
    proxy.heal();
    let took = drill.recovers("x", 1).await;
    println!("a lattice behind a healed partition is used again after {took:?}");
    drill.remembers(&["x"]).await;
}

#[tokio::test]
async fn connections_that_a_firewall_forgot_are_made_again() {
    let mut drill = Drill::start().await;
    let (_remote, proxy, _host) = behind_proxy(&drill).await;
    let elsewhere = drill.watch_elsewhere();
    proxy.forget_connections();
    let started = Instant::now();
    // Without a request to the server it would take a minute, until three pings
    // were lost.
    drill.recovers("x", 1).await;
    println!(
        "a forgotten connection is made again after {:?}",
        started.elapsed()
    );
    elsewhere.noticed_nothing().await;
    drill.remembers(&["x"]).await;
}

#[tokio::test]
async fn connections_that_are_cut_are_made_again_at_once() {
    let nats = NatsServer::start();
    let home = Proxy::to(&nats.address()).await;
    let url = home.url();
    let mut drill =
        Drill::start_on(nats, |data| data["lattice_rpc_url"] = url.clone().into()).await;
    let (_remote, proxy, _host) = behind_proxy(&drill).await;
    for _ in 0..5 {
        let elsewhere = drill.watch_elsewhere();
        proxy.cut();
        let took = drill.recovers("x", 1).await;
        println!("a lattice that was cut off is used again after {took:?}");
        elsewhere.noticed_nothing().await;
    }
    home.cut();
    let took = served_again(&drill, "x").await;
    println!("calls are served {took:?} after our own connection was cut");
    drill.remembers(&["x"]).await;
}

/// Calls until one is served, and returns how long that took. Calls before that
/// may have found no provider.
async fn served_again(drill: &Drill, lattice: &str) -> Duration {
    let started = Instant::now();
    eventually("calls to be served again", || async {
        let client = drill.provider.actor.lattice();
        client.get_hosts(&ctx(), lattice).await.ok()
    })
    .await;
    started.elapsed()
}

// --- limits of servers ---

#[tokio::test]
async fn an_order_larger_than_the_lattices_server_takes_is_refused_and_sent_to_nobody() {
    let mut drill = Drill::start().await;
    let remote = NatsServer::with_config_without_jetstream("max_payload: 16384");
    drill.set("x", &remote.url()).await;
    let host = host_on(&remote, "x").await;
    let client = drill.provider.actor.lattice();
    let mut command = start_actor("x", &host.id);
    let label = ("zone".to_owned(), "x".repeat(20_000));
    command.annotations = Some(HashMap::from([label]));
    refused(
        in_time(client.start_actor(&ctx(), &command)).await,
        "NATS server takes",
    );
    assert!(host.received_on(".la").is_empty());
    // The connection still works.
    assert!(drill.start_actor("x", &host.id).await.unwrap().accepted);
    assert_eq!(remote.dials(), 2, "one of them is the host's");
    drill.remembers(&["x"]).await;
}

// --- time ---

#[tokio::test]
async fn a_provider_that_was_suspended_goes_on() {
    let mut drill = Drill::start().await;
    let remote = NatsServer::without_jetstream();
    let _host = host_on(&remote, "x").await;
    drill.set("x", &remote.url()).await;
    assert_eq!(drill.hosts("x").await.unwrap().len(), 1);
    let provider = &drill.provider.providers[0];
    provider.signal(Signal::SIGSTOP);
    let client = drill.provider.actor.lattice();
    client.get_hosts(&ctx(), "x").await.unwrap_err();
    provider.signal(Signal::SIGCONT);
    let took = drill.recovers("x", 1).await;
    println!("a suspended provider answers {took:?} after it is continued");
    drill.remembers(&["x"]).await;
}

// --- many ---

#[tokio::test]
async fn a_thousand_lattices_that_came_and_went_leave_nothing_behind() {
    let mut drill = Drill::start_on(NatsServer::start(), |data| {
        data["log_level"] = "info".into();
        data["config_json"] = json!({ "idle_limit_ms": 300 }).to_string().into();
    })
    .await;
    let remote = NatsServer::without_jetstream();
    let jetstream = async_nats::jetstream::new(drill.provider.nats.client().await);
    let name = bucket::name(&drill.provider.identity.lattice);
    let bucket = jetstream.get_key_value(name).await.unwrap();
    let churn = |numbers: std::ops::Range<usize>| {
        let (drill, bucket, remote) = (&drill, &bucket, &remote);
        let one = move |number: usize| async move {
            let lattice = format!("x{number}");
            // A server without authentication accepts every token, and each
            // token makes other credentials.
            for token in ["before", "after"] {
                let url = format!("nats://{token}-{number:04}@{}", remote.address());
                drill.set(&lattice, &url).await;
                assert!(drill.hosts(&lattice).await.unwrap().is_empty());
            }
            let identity = &drill.provider.identity;
            let (provider, link) = (&identity.provider_key, &identity.link_name);
            let key = format!("{provider}.{link}.{lattice}");
            bucket.purge(key).await.unwrap();
        };
        stream::iter(numbers).for_each_concurrent(8, one)
    };
    let gone = || async { (remote.open_connections(OURS) == 0).then_some(()) };
    // What is allocated only once is allocated by now.
    churn(0..100).await;
    eventually("the first connections to close", gone).await;
    let before = drill.resident();
    let elsewhere = drill.watch_elsewhere();
    churn(100..1100).await;
    eventually("every connection to close", gone).await;
    elsewhere.noticed_nothing().await;
    let grown = drill.resident() - before;
    println!("1,000 lattices that came and went: {grown} KiB more");
    assert!(grown < 4 * 1024, "{grown} KiB");
    for number in 100..1100 {
        let lattice = format!("x{number}");
        let unknown = || async {
            let error = drill.hosts(&lattice).await.err()?;
            error.contains("is unknown").then_some(())
        };
        eventually(&format!("{lattice} to be unknown"), unknown).await;
    }
    drill.remembers(&[]).await;
}
