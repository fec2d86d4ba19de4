//! Hosts that are too old or too new for commands, that are gone or slow or
//! share an id; and how a host is stopped.

use std::time::Duration;

use crate::support::every_operation::{ORDERS, every_operation};
use crate::support::host::Generation;
use crate::support::operator::*;
use crate::support::{Responder, eventually, fence, respond};
use futures::StreamExt as _;
use serde_json::json;

use Generation::{G1b, G2b, G3b, Otp51};

fn key() -> String {
    nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key()
}

/// Answers queries as a host of 0.51.0 does.
async fn oldest(lattice: &Operated, host: &str) -> Vec<Responder> {
    let nats = lattice.world.nats.client().await;
    let ping = json!({ "id": host, "uptime_seconds": 5 });
    let inventory = json!({ "host_id": host, "labels": {}, "providers": [], "actors": [
        { "id": ACTOR, "image_ref": ACTOR_REF, "instance_id": "1", "revision": 1 }] });
    let bid = json!({ "host_id": host, "actor_ref": ACTOR_REF });
    let mut all = Vec::new();
    for (rest, reply) in [
        ("ping.hosts".to_owned(), ping),
        (format!("get.{host}.inv"), inventory),
        ("get.links".to_owned(), json!({ "links": [] })),
        ("get.claims".to_owned(), json!({ "claims": [] })),
        ("auction.*".to_owned(), bid),
    ] {
        let subject = format!("wasmbus.ctl.default.{rest}");
        all.push(respond(&nats, &subject, vec![reply.to_string().into_bytes()]).await);
    }
    all
}

#[tokio::test]
async fn hosts_that_take_orders_in_another_way_get_none() {
    let lattice = Operated::without_bucket(&[]).await;
    let host = key();
    let _host = oldest(&lattice, &host).await;
    let nats = lattice.world.nats.client().await;
    let mut sent = nats.subscribe("wasmbus.ctl.default.>").await.unwrap();
    fence(&nats).await;
    for (operation, outcome) in every_operation(&lattice, &host).await {
        match (ORDERS.contains(&operation), outcome) {
            (true, Some(reason)) => {
                assert!(reason.contains("too old"), "{operation}: {reason}");
                assert!(reason.contains("0.52.1"), "{operation}: {reason}");
                assert!(reason.contains("nothing was sent"), "{operation}: {reason}");
            }
            (false, None) => {}
            (_, outcome) => panic!("{operation}: {outcome:?}"),
        }
    }
    nats.publish("wasmbus.ctl.default.end", "".into())
        .await
        .unwrap();
    loop {
        let subject = sent.next().await.unwrap().subject;
        match subject.as_str().rsplit('.').next().unwrap() {
            "end" => break,
            "hosts" | "inv" | "links" | "claims" | "actor" | "provider" => {}
            _ => panic!("{subject}"),
        }
    }
}

#[tokio::test]
async fn an_old_host_does_not_keep_others_from_orders() {
    let lattice = Operated::one(G1b).await;
    let host = key();
    let _host = oldest(&lattice, &host).await;
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 2);
    accepted(lattice.start_provider(&lattice.hosts[0].id).await);
    accepted(lattice.advertise_link().await);
    lattice.set_registry("ghcr.io", "oci").await.unwrap();
    refused(lattice.start_provider(&host).await, "too old");
}

#[tokio::test]
async fn hosts_that_are_too_old_are_told_nothing() {
    let lattice = Operated::one(Otp51).await;
    let host = &lattice.hosts[0].id;
    for (operation, outcome) in every_operation(&lattice, host).await {
        let asks = ["GetHosts", "GetHostInventory", "GetClaims", "GetLinks"];
        if asks.contains(&operation) || operation.starts_with("Auction") {
            continue;
        }
        let reason = outcome.unwrap_or_else(|| panic!("{operation} was carried out"));
        assert!(reason.contains("0.5"), "{operation}: {reason}");
    }
    for verb in ["la", "scale", "sa", "upd", "lp", "sp", "stop"] {
        assert!(lattice.hosts[0].received_on(&format!(".{verb}")).is_empty());
    }
}

#[tokio::test]
async fn two_hosts_with_one_id_are_said_in_the_log() {
    let lattice = Operated::without_bucket(&[]).await;
    let nats = lattice.world.nats.client().await;
    let host = key();
    let ping = |name: &str, uptime: u64| {
        let ping = json!({ "id": host, "friendly_name": name, "uptime_seconds": uptime,
            "version": "0.82.0", "labels": {} });
        ping.to_string().into_bytes()
    };
    let subject = "wasmbus.ctl.default.ping.hosts";
    let once = respond(&nats, subject, vec![ping("calm-wind-1", 70); 2]).await;
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 1);
    drop(once);
    // The same host heard twice is no second host.
    let log = lattice.world.provider.log();
    assert!(!log.contains("under one id"), "{log}");
    let twins = vec![ping("calm-wind-1", 71), ping("red-rain-2", 3)];
    let _twins = respond(&nats, subject, twins).await;
    for _ in 0..3 {
        assert_eq!(lattice.get_hosts().await.unwrap().len(), 1);
    }
    lattice.world.provider.logged("under one id").await;
    let log = lattice.world.provider.log();
    assert!(log.contains(&host), "{log}");
    assert_eq!(log.matches("under one id").count(), 1, "{log}");
}

#[tokio::test]
async fn no_time_for_a_stop_is_the_hosts_own() {
    for timeout in [None, Some(0)] {
        let lattice = Operated::one(G3b).await;
        let host = &lattice.hosts[0];
        accepted(lattice.stop_host(&host.id, timeout).await);
        assert_eq!(host.only(".stop").json().get("timeout"), None);
    }
}

#[tokio::test]
async fn hosts_that_are_gone_do_not_count_as_there() {
    let mut lattice = Operated::one(G2b).await;
    accepted(lattice.advertise_link().await);
    lattice.hosts.clear();
    // The server drops their subscriptions a moment after they have left.
    eventually("nobody to answer", || async {
        lattice.get_hosts().await.unwrap().is_empty().then_some(())
    })
    .await;
    for _ in 0..3 {
        refused(lattice.advertise_link().await, "nobody listens");
    }
}

#[tokio::test]
async fn a_slow_host_among_quick_ones_is_commanded() {
    let lattice = Operated::with(&[(G2b, &[]), (G3b, &[])]).await;
    lattice.hosts[1].answer_after(Duration::from_millis(400));
    accepted(lattice.start_provider(&lattice.hosts[1].id).await);
}
