//! Answers to health checks tell what is wrong with the provider, and nothing
//! else.

use std::time::Duration;

use crate::support::eventually;
use crate::support::invocation::{bytes, mint};
use crate::support::nats::NatsServer;
use crate::support::time::timeout;
use crate::support::world::World;
use futures::StreamExt as _;
use serde_json::json;
use wasmbus_rpc::core::HealthCheckResponse;

/// Waits until a health check answers `healthy` with this in its message, or
/// without a message where the text is blank.
async fn answers(world: &World, healthy: bool, text: &str) {
    let nats = world.nats.client().await;
    let subject = world.identity.subject("health");
    eventually(&format!("health with {text:?}"), || async {
        // Nothing listens while the provider reconnects.
        let answer = nats.request(subject.clone(), "".into()).await.ok()?;
        let answer: HealthCheckResponse = rmp_serde::from_slice(&answer.payload).unwrap();
        let message = answer.message.unwrap_or_default();
        let told = match text {
            "" => message.is_empty(),
            text => message.contains(text),
        };
        (answer.healthy == healthy && told).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_link_is_told_of_until_it_is_put_right_or_deleted() {
    let world = World::start().await;
    answers(&world, true, "").await;
    let other = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    let bad = json!({ "operations": "Everything" });
    for actor in [&world.identity.actor, &other] {
        world.publish_link("linkdefs.put", actor, bad.clone()).await;
        answers(&world, true, &format!("actor \"{actor}\": operations: ")).await;
    }
    answers(&world, true, "links refused: 2").await;
    world.provider.logged("cause=\"link\"").await;
    let actor = &world.identity.actor;
    world.publish_link("linkdefs.put", actor, json!({})).await;
    answers(&world, true, "links refused: 1").await;
    world.publish_link("linkdefs.del", &other, json!({})).await;
    answers(&world, true, "").await;
}

/// Returns the configuration of a server whose user `provider` may not
/// subscribe to this.
fn denying(subject: &str) -> String {
    format!(
        "no_auth_user: home
        authorization {{ users = [
            {{ user: home, password: pw }}
            {{ user: provider, password: pw, permissions: {{ subscribe: {{ deny: \"{subject}\" }} }} }}
        ] }}"
    )
}

async fn world(config: &str) -> World {
    let nats = NatsServer::with_config(config);
    let url = format!("nats://provider:pw@{}", nats.address());
    World::start_on(nats, |data| data["lattice_rpc_url"] = url.into()).await
}

const NONE: &str = "none.of.ours";

#[tokio::test]
async fn a_subscription_that_is_refused_is_unhealthy_until_permissions_are_mended() {
    let mut world = world(&denying("wasmbus.rpc.*.*.*.linkdefs.put")).await;
    let subject = world.identity.subject("linkdefs.put");
    answers(
        &world,
        false,
        &format!("the provider's NATS user may not subscribe to {subject}"),
    )
    .await;
    // Everything else still works.
    let error = world.hosts("x").await.unwrap_err();
    assert!(error.contains("is unknown"), "{error}");
    world.nats.reload(&denying(NONE)).await;
    answers(&world, true, "").await;
    let actor = &world.identity.actor;
    let values = json!({ "lattices": "other" });
    world.publish_link("linkdefs.put", actor, values).await;
    eventually("the link", || async {
        let error = world.hosts("x").await.unwrap_err();
        error.contains("does not allow").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_a_server_takes_away_is_unhealthy_until_it_is_back() {
    let mut world = world(&denying(NONE)).await;
    answers(&world, true, "").await;
    // Only the subscription for calls is taken away: the others have other
    // subjects.
    world.nats.reload(&denying("wasmbus.rpc.*.*.*")).await;
    let subject = world.identity.subject("");
    answers(&world, false, &format!("may not subscribe to {subject}")).await;
    // This time the provider makes a new connection.
    world.nats.reconfigure(&denying(NONE));
    answers(&world, true, "").await;
    let error = world.hosts("x").await.unwrap_err();
    assert!(error.contains("is unknown"), "{error}");
    world.provider.logged("ERROR").await;
    let log = world.provider.log();
    let lines = log.lines().filter(|line| line.contains("ERROR"));
    assert_eq!(lines.count(), 1, "{log}");
}

#[tokio::test]
async fn no_call_is_lost_while_a_subscription_comes_back() {
    let mut world = world(&denying(NONE)).await;
    answers(&world, true, "").await;
    world.nats.reload(&denying("wasmbus.rpc.*.*.*")).await;
    answers(&world, false, "may not subscribe to").await;
    world.nats.reconfigure(&denying(NONE));
    let nats = world.nats.client().await;
    let call = bytes(&mint(&world.identity, "GetHosts", &"unknown", |_| {}));
    let subject = world.identity.subject("");
    eventually("calls to be heard again", || async {
        nats.request(subject.clone(), call.clone().into())
            .await
            .ok()
    })
    .await;
    // More calls are in flight than the provider takes at a time.
    let inbox = nats.new_inbox();
    let mut replies = nats.subscribe(inbox.clone()).await.unwrap();
    let mut under_way = 0;
    let is_back = || {
        let log = world.provider.log();
        log.contains("the subscription is there again")
    };
    while !is_back() {
        while under_way < 900 {
            nats.publish_with_reply(subject.clone(), inbox.clone(), call.clone().into())
                .await
                .unwrap();
            under_way += 1;
        }
        for _ in 0..300 {
            let reply = timeout(Duration::from_secs(5), replies.next()).await;
            reply.expect("an answer to each").unwrap();
            under_way -= 1;
        }
    }
    for _ in 0..under_way {
        let reply = timeout(Duration::from_secs(5), replies.next()).await;
        reply.expect("an answer to each").unwrap();
    }
}
