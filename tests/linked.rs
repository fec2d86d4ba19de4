//! Which actors may call, and what their links allow.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::actor::Actor;
use support::eventually;
use support::host::Generation;
use support::nats::NatsServer;
use support::operator::Operated;
use support::world::{World, ctx};
use wasmcloud_interface_lattice_control::*;

/// Waits until calls of the actor are answered with a text.
async fn answers(actor: &Actor, lattice: &str, text: &str) {
    eventually(&format!("an answer with {text:?}"), || async {
        let answer = match actor.lattice().get_hosts(&ctx(), lattice).await {
            Ok(hosts) => format!("{} hosts", hosts.len()),
            Err(error) => error.to_string(),
        };
        answer.contains(text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_linked_actors_may_call() {
    let world = World::with_lattice().await;
    let other = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    let cluster = &world.identity.cluster;
    let actor = Actor::connect_as(&world.nats.url(), &world.identity, &other, cluster).await;
    answers(&actor, "default", "not linked").await;
    world.publish_link("linkdefs.put", &other, json!({})).await;
    answers(&actor, "default", "0 hosts").await;
    world.publish_link("linkdefs.del", &other, json!({})).await;
    answers(&actor, "default", "not linked").await;
    answers(&world.actor, "default", "0 hosts").await;
}

/// A link definition as a list, in the order that its members have.
fn by_position(world: &World, actor: &str) -> serde_json::Value {
    let (us, link_name) = (&world.identity.provider_key, &world.identity.link_name);
    json!([actor, us, link_name, "wasmcloud:latticecontrol", {}])
}

#[tokio::test]
async fn a_list_is_a_link_in_messagepack_and_none_in_json() {
    let other = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    for json in [false, true] {
        let world = World::start_on(NatsServer::start(), |data| {
            if json {
                data["host_id"] = "_TEST_".into();
            }
        })
        .await;
        world.set_lattice("default", &world.nats.url()).await;
        let list = by_position(&world, &other);
        let body = match json {
            true => serde_json::to_vec(&list).unwrap(),
            false => rmp_serde::to_vec(&list).unwrap(),
        };
        let nats = world.nats.client().await;
        let put = world.identity.subject("linkdefs.put");
        nats.publish(put, body.into()).await.unwrap();
        support::fence(&nats).await;
        match json {
            true => drop(
                world
                    .provider
                    .logged("link definition cannot be read")
                    .await,
            ),
            false => drop(world.provider.logged("link put").await),
        }
        let cluster = &world.identity.cluster;
        let actor = Actor::connect_as(&world.nats.url(), &world.identity, &other, cluster).await;
        let expected = if json { "not linked" } else { "0 hosts" };
        answers(&actor, "default", expected).await;
    }
}

#[tokio::test]
async fn changed_link_values_take_effect() {
    let world = World::with_lattice().await;
    let actor = &world.identity.actor;
    answers(&world.actor, "default", "0 hosts").await;
    world
        .publish_link("linkdefs.put", actor, json!({ "lattices": "other-*" }))
        .await;
    answers(&world.actor, "default", "does not allow lattice").await;
    world
        .publish_link("linkdefs.put", actor, json!({ "operations": "StopHost" }))
        .await;
    answers(&world.actor, "default", "does not allow GetHosts").await;
    world
        .publish_link("linkdefs.put", actor, json!({ "bogus": "x" }))
        .await;
    answers(&world.actor, "default", "\"bogus\" is no setting").await;
    world.publish_link("linkdefs.put", actor, json!({})).await;
    answers(&world.actor, "default", "0 hosts").await;
}

#[tokio::test]
async fn a_links_own_budget_shortens_its_calls() {
    let operated = Operated::one(Generation::G2b).await;
    let (world, host) = (&operated.world, &operated.hosts[0]);
    operated.get_hosts().await.unwrap();
    host.fall_silent_on(".inv");
    let values = json!({ "call_budget_ms": "100", "lattices": "default" });
    world
        .publish_link("linkdefs.put", &world.identity.actor, values)
        .await;
    answers(&world.actor, "other", "does not allow lattice").await;
    let request = GetHostInventoryRequest {
        lattice_id: "default".into(),
        host_id: host.id.clone(),
    };
    let started = Instant::now();
    let answer = world
        .actor
        .lattice()
        .get_host_inventory(&ctx(), &request)
        .await;
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .contains("did not answer in time")
    );
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_links_budget_beyond_the_providers_leaves_the_answer_its_time() {
    let operated = Operated::one(Generation::G2b).await;
    let (world, host) = (&operated.world, &operated.hosts[0]);
    host.fall_silent_on("");
    let values = json!({ "call_budget_ms": "600000", "lattices": "default" });
    world
        .publish_link("linkdefs.put", &world.identity.actor, values)
        .await;
    answers(&world.actor, "other", "does not allow lattice").await;
    // Not "the call took longer than it may".
    assert!(operated.get_hosts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_link_is_no_acceptance_for_operations_that_acknowledge() {
    let world = World::with_lattice().await;
    let actor = &world.identity.actor;
    world
        .publish_link("linkdefs.put", actor, json!({ "lattices": " , " }))
        .await;
    answers(&world.actor, "default", "link of actor").await;
    let url = world.nats.url();
    let ack = world.try_set_lattice("default", &url).await.unwrap();
    assert!(
        !ack.accepted && ack.error.contains("lattices"),
        "{}",
        ack.error
    );
}
