//! Simulated hosts send the members that the fixtures of their generation have.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};

use super::{Outcome, ask};
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::time::{SHORTLY, timeout};
use crate::support::{self, fixtures};

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b};

/// Returns the names and types of all members, and for lists those of the first
/// item.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(k, v)| (k.clone(), shape(v))).collect())
        }
        Value::Array(items) => json!(items.first().map(shape).into_iter().collect::<Vec<_>>()),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

/// The host has done what it acknowledged.
async fn caught_up(host: &SimHost) {
    let done = || async { host.caught_up().then_some(()) };
    support::eventually("what was acknowledged", done).await;
}

async fn has_the_shape_of(generation: Generation, folder: &str) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let mut sim = match generation {
        G1a => SimLattice::without_bucket(client.clone(), "default"),
        _ => SimLattice::with_bucket(client.clone(), "default").await,
    };
    if generation.is_g3() {
        sim = sim.with_new_claims();
    }
    sim.publish_actor_as(ACTOR_REF, ACTOR, "kvcounter", 1).await;
    sim.publish_provider_as(PROVIDER_REF, PROVIDER, "HTTP Server", CONTRACT)
        .await;
    let sim = Arc::new(sim);
    let host = SimHost::start(&sim, generation, &[]).await;
    let fixture = |name: &str| {
        let path = format!(
            "{}/tests/fixtures/{folder}/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        std::path::Path::new(&path)
            .exists()
            .then(|| fixtures::json(&format!("{folder}/{name}")))
    };
    let ctl = "wasmbus.ctl.default";
    // Starts what the inventory of the fixtures lists.
    let annotations = json!({ "wasmcloud.dev/managed-by": "wadm" });
    let start = json!({ "actor_ref": ACTOR_REF, "actor_id": ACTOR, "count": 2,
        "annotations": annotations });
    let verb = if generation.is_g3() { "scale" } else { "la" };
    let subject = format!("{ctl}.cmd.{}.{verb}", host.id);
    ask(&client, &subject, &start.to_string()).await;
    caught_up(&host).await;
    let start = json!({ "provider_ref": PROVIDER_REF, "link_name": "default" });
    ask(
        &client,
        &format!("{ctl}.cmd.{}.lp", host.id),
        &start.to_string(),
    )
    .await;
    let link = json!({ "actor_id": ACTOR, "provider_id": PROVIDER, "link_name": "default",
        "contract_id": CONTRACT, "values": { "address": "0.0.0.0:8080" } });
    ask(&client, &format!("{ctl}.linkdefs.put"), &link.to_string()).await;
    support::eventually("the link", || async { host.links().pop() }).await;
    let mut compared = 0;
    for (name, rest) in [
        ("GetHosts", "ping.hosts".to_owned()),
        ("GetHostInventory", format!("get.{}.inv", host.id)),
        ("GetClaims", "get.claims".into()),
        ("GetLinks", "get.links".into()),
        ("AuctionActor", "auction.actor".into()),
    ] {
        let Some(expected) = fixture(&format!("{name}.reply.json")) else {
            continue;
        };
        let request = fixture(&format!("{name}.request.json")).unwrap_or_default();
        let Outcome::Reply(mut told) =
            ask(&client, &format!("{ctl}.{rest}"), &request.to_string()).await
        else {
            panic!("{generation:?} {name}: no reply");
        };
        let mut expected = expected;
        if name == "GetClaims" {
            // Optional members depend on the artifact.
            for claims in [&mut told, &mut expected] {
                let list = claims["claims"].as_array_mut().unwrap();
                list.retain(|entry| entry["sub"] == ACTOR);
                for optional in ["capabilities", "contract_id"] {
                    list[0].as_object_mut().unwrap().remove(optional);
                }
            }
        }
        for inventory in [&mut told, &mut expected] {
            if name == "GetHostInventory" {
                let instance = &mut inventory["actors"][0]["instances"][0];
                instance["annotations"] = json!({});
            }
        }
        assert_eq!(shape(&told), shape(&expected), "{generation:?} {name}");
        compared += 1;
    }
    assert!(compared >= 2, "{generation:?}");
}

#[tokio::test]
async fn simulated_hosts_have_the_members_of_the_fixtures() {
    for (generation, folder) in [
        (G1a, "G1-otp-0.54"),
        (G1b, "G1"),
        (G2a, "G2-rust-0.78"),
        (G2b, "G2"),
        (G3a, "G3-rust-0.81"),
        (G3b, "G3"),
    ] {
        has_the_shape_of(generation, folder).await;
    }
}

#[tokio::test]
async fn simulated_hosts_publish_the_events_of_the_fixtures() {
    for (generation, folder, events) in [
        (G1a, "G1-otp-0.54", &["heartbeat"][..]),
        (G1b, "G1", &["started", "heartbeat", "stopped"]),
        (G2b, "G2", &["started", "heartbeat", "stopped"]),
        (G3a, "G3-rust-0.81", &["heartbeat"]),
        (G3b, "G3", &["heartbeat"]),
    ] {
        let nats = NatsServer::start();
        let client = nats.client().await;
        let mut heard = client.subscribe("wasmbus.evt.default").await.unwrap();
        support::fence(&client).await;
        let sim = SimLattice::without_bucket(client.clone(), "default");
        sim.publish_actor_as(ACTOR_REF, ACTOR, "kvcounter", 1).await;
        sim.publish_provider_as(PROVIDER_REF, PROVIDER, "HTTP Server", CONTRACT)
            .await;
        let host = SimHost::start(&Arc::new(sim), generation, &[]).await;
        let verb = if generation.is_g3() { "scale" } else { "la" };
        for (verb, body) in [
            (
                verb,
                json!({ "actor_ref": ACTOR_REF, "actor_id": ACTOR, "count": 1,
                "annotations": { "wasmcloud.dev/managed-by": "wadm" } }),
            ),
            (
                "lp",
                json!({ "provider_ref": PROVIDER_REF, "link_name": "default" }),
            ),
        ] {
            let subject = format!("wasmbus.ctl.default.cmd.{}.{verb}", host.id);
            ask(&client, &subject, &body.to_string()).await;
            caught_up(&host).await;
        }
        host.beat().await;
        let stop = format!("wasmbus.ctl.default.cmd.{}.stop", host.id);
        ask(&client, &stop, r#"{"host_id":""}"#).await;
        for event in events {
            let expected = fixtures::json(&format!("{folder}/events/host_{event}.json"));
            let mut told = Value::Null;
            let what = json!(format!("com.wasmcloud.lattice.host_{event}"));
            // The first heartbeat of old hosts comes before anything runs there.
            let nothing = |told: &Value| told["data"]["actors"] == json!([]);
            while told["type"] != what || (*event == "heartbeat" && nothing(&told)) {
                let message = timeout(Duration::from_secs(5), heard.next());
                told = serde_json::from_slice(&message.await.unwrap().unwrap().payload).unwrap();
            }
            assert_eq!(told["source"], host.id);
            assert_eq!(shape(&told), shape(&expected), "{generation:?} {event}");
        }
    }
}

/// Returns members and their types, without those that an artifact or a command
/// may leave out.
fn shape_of_event(event: &Value) -> Value {
    let mut event = event.clone();
    if event["data"].get("annotations").is_some() {
        event["data"]["annotations"] = json!({});
    }
    if let Some(claims) = event["data"]["claims"].as_object_mut() {
        for optional in ["call_alias", "tags", "caps"] {
            claims.insert(optional.into(), Value::Null);
        }
    }
    shape(&event)
}

#[tokio::test]
async fn simulated_hosts_say_what_orders_did_as_the_fixtures_do() {
    let key = |name: &str| json!({ "actor_ref": name, "count": 1, "annotations": { "a": "1" } });
    let provider = json!({ "provider_ref": PROVIDER_REF, "link_name": "default" });
    for (generation, folder) in [(G1b, "G1"), (G2b, "G2"), (G3b, "G3")] {
        let nats = NatsServer::start();
        let client = nats.client().await;
        let mut heard = client.subscribe("wasmbus.evt.default").await.unwrap();
        support::fence(&client).await;
        let sim = SimLattice::without_bucket(client.clone(), "default");
        sim.publish_actor_as(ACTOR_REF, ACTOR, "kvcounter", 1).await;
        sim.publish_actor_as(NEW_ACTOR_REF, ACTOR, "kvcounter", 2)
            .await;
        sim.publish_provider_as(PROVIDER_REF, PROVIDER, "HTTP Server", CONTRACT)
            .await;
        let host = SimHost::start(&Arc::new(sim), generation, &[]).await;
        let start = if generation.is_g3() { "scale" } else { "la" };
        for (verb, body) in [
            (start, key(ACTOR_REF)),
            (start, key(NEW_ACTOR_REF)),
            (start, key("nowhere")),
            ("lp", provider.clone()),
            ("lp", provider.clone()),
            (
                "sp",
                json!({ "provider_ref": PROVIDER, "link_name": "default" }),
            ),
            ("sa", key(ACTOR)),
        ] {
            let subject = format!("wasmbus.ctl.default.cmd.{}.{verb}", host.id);
            ask(&client, &subject, &body.to_string()).await;
            caught_up(&host).await;
        }
        support::fence(&client).await;
        let mut said = Vec::new();
        while let Some(Some(message)) = heard.next().now_or_never() {
            said.push(serde_json::from_slice::<Value>(&message.payload).unwrap());
        }
        let folder = format!(
            "{}/tests/fixtures/{folder}/events",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut compared = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name.starts_with("host_") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let expected: Value = serde_json::from_str(&text).unwrap();
            let told = said.iter().find(|event| event["type"] == expected["type"]);
            let told = told.unwrap_or_else(|| panic!("{generation:?} does not say {name}"));
            assert_eq!(
                shape_of_event(told),
                shape_of_event(&expected),
                "{generation:?} {name}"
            );
            compared += 1;
        }
        assert!(compared >= 3, "{generation:?}");
    }
}

/// Counts the answers to a request, until none has come for a while.
async fn answers(nats: &Client, subject: &str, body: &str) -> usize {
    let inbox = nats.new_inbox();
    let mut replies = nats.subscribe(inbox.clone()).await.unwrap();
    let body = body.to_owned().into();
    nats.publish_with_reply(subject.to_owned(), inbox, body)
        .await
        .unwrap();
    let mut count = 0;
    while let Ok(Some(_)) = timeout(SHORTLY, replies.next()).await {
        count += 1;
    }
    count
}

#[tokio::test]
async fn of_two_hosts_as_many_answer_as_of_two_real_ones() {
    // The transcripts of two 0.78 and of two 0.82 hosts in one lattice
    // (docs/hosts.md#every-host-answers-and-writes).
    let link =
        r#"{"actor_id":"M","provider_id":"V","contract_id":"a:b","link_name":"l","values":{}}"#;
    for (generation, queued) in [(G2a, 2), (G3b, 1), (G1b, 1)] {
        let nats = NatsServer::start();
        let client = nats.client().await;
        let sim = Arc::new(SimLattice::with_bucket(client.clone(), "default").await);
        let _one = SimHost::start(&sim, generation, &[]).await;
        let _two = SimHost::start(&sim, generation, &[]).await;
        for (rest, body, expected) in [
            ("ping.hosts", "", 2),
            ("registries.put", "{}", 2),
            ("get.claims", "", queued),
            ("get.links", "", queued),
            ("linkdefs.put", link, queued),
            ("linkdefs.del", link, queued),
        ] {
            let subject = format!("wasmbus.ctl.default.{rest}");
            let count = answers(&client, &subject, body).await;
            assert_eq!(count, expected, "{generation:?} {rest}");
        }
    }
}
