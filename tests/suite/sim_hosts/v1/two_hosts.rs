//! Several 1.x hosts in one lattice, as their source says.

use std::sync::Arc;

use async_nats::Client;
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;

use super::super::{Outcome, ask};
use crate::support::host::lattice::SimLattice;
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::nats::NatsServer;
use crate::support::time::{SHORTLY, timeout};

use Version::{V110, V192};

/// Starts two hosts in a lattice in which nobody has made a bucket yet.
async fn two(version: Version) -> ([SimHostV1; 2], Client, NatsServer) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let sim = Arc::new(SimLattice::without_bucket(client.clone(), "default"));
    let one = SimHostV1::start(&sim, version, &[]).await;
    let two = SimHostV1::start(&sim, version, &[]).await;
    ([one, two], client, nats)
}

/// Counts the answers to a request, until none has come for a while.
async fn answers(nats: &Client, subject: &str, body: &str) -> usize {
    let inbox = nats.new_inbox();
    let mut replies = nats.subscribe(inbox.clone()).await.unwrap();
    let body = body.to_owned().into();
    let subject = format!("wasmbus.ctl.v1.default.{subject}");
    nats.publish_with_reply(subject, inbox, body).await.unwrap();
    let mut count = 0;
    while let Ok(Some(_)) = timeout(SHORTLY, replies.next()).await {
        count += 1;
    }
    count
}

fn link(source: &str, name: usize) -> String {
    let link = json!({ "source_id": source, "target": "kv", "name": format!("link-{name}"),
        "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"] });
    link.to_string()
}

#[tokio::test]
async fn of_two_1_x_hosts_one_takes_links_claims_and_configs() {
    let (_hosts, client, _nats) = two(V110).await;
    let auction = r#"{"component_ref":"r","component_id":"c","constraints":{}}"#;
    for (subject, body, expected) in [
        ("host.ping", "", 2),
        ("registry.put", "{}", 2),
        ("component.auction", auction, 2),
        ("link.put", &link("a", 0), 1),
        ("link.get", "", 1),
        ("claims.get", "", 1),
        ("config.put.c", "{}", 1),
    ] {
        assert_eq!(answers(&client, subject, body).await, expected, "{subject}");
    }
}

#[tokio::test]
async fn puts_for_one_source_at_the_same_time_lose_links() {
    for (same, lost) in [(true, true), (false, false)] {
        let (hosts, client, _nats) = two(V192).await;
        let puts = (0..30).map(|number| {
            let source = if same {
                "a".into()
            } else {
                format!("a{number}")
            };
            let body = link(&source, number);
            let client = &client;
            async move { ask(client, "wasmbus.ctl.v1.default.link.put", &body).await }
        });
        for told in join_all(puts).await {
            assert!(matches!(told, Outcome::Reply(answer) if answer["success"] == true));
        }
        let harmed = hosts.iter().filter_map(SimHostV1::meant_harm).count();
        assert_eq!(harmed > 0, lost, "one source: {same}");
    }
}

#[tokio::test]
async fn a_host_that_starts_later_knows_the_links() {
    let (hosts, client, _nats) = two(V192).await;
    ask(&client, "wasmbus.ctl.v1.default.link.put", &link("a", 0)).await;
    drop(hosts);
    let sim = Arc::new(SimLattice::without_bucket(client.clone(), "default"));
    let _later = SimHostV1::start(&sim, V192, &[]).await;
    let told = ask(&client, "wasmbus.ctl.v1.default.link.get", "").await;
    let Outcome::Reply(told) = told else {
        panic!("{told:?}");
    };
    assert_eq!(told["response"][0]["name"], "link-0");
}
