//! What a call must prove; and every call gets an answer that hosts accept.

use crate::support;
use std::sync::Arc;
use std::time::Duration;

use crate::support::actor::Actor;
use crate::support::host::lattice::SimLattice;
use crate::support::nats::NatsServer;
use crate::support::provider::{serve_here, signing_key};
use crate::support::time::timeout;
use crate::support::world::{World, ctx};
use lattice_controller::internals::contract::{Host, Request, Response};
use lattice_controller::internals::error::Error;
use lattice_controller::internals::serve::{Call, Operations};
use serde_json::json;
use wasmbus_rpc::core::{Invocation, InvocationResponse, WasmCloudEntity};
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

/// Sends any bytes as a call and returns the whole response.
async fn send(world: &World, bytes: Vec<u8>) -> InvocationResponse {
    let nats = world.nats.client().await;
    let reply = nats.request(world.identity.subject(""), bytes.into());
    let reply = timeout(Duration::from_secs(5), reply).await;
    rmp_serde::from_slice(&reply.expect("an answer").unwrap().payload).unwrap()
}

#[tokio::test]
async fn a_call_that_does_not_decode_is_answered_under_its_id() {
    let world = World::start().await;
    let bytes = rmp_serde::to_vec_named(&json!({ "id": "the-id", "operation": 5 })).unwrap();
    let response = send(&world, bytes).await;
    // Rust hosts accept no answer under another id or without a length.
    assert_eq!(response.invocation_id, "the-id");
    assert_eq!(response.content_length, Some(0));
    assert!(response.error.unwrap().contains("deserialization"));
    let response = send(&world, b"\xc1garbage".to_vec()).await;
    assert!(response.error.is_some());
    assert_eq!(response.content_length, Some(0));
}

#[tokio::test]
async fn an_unsigned_call_is_refused_under_its_id() {
    let world = World::start().await;
    let mut invocation = Invocation::default();
    invocation.id = "unsigned".into();
    invocation.operation = "LatticeController.GetHosts".into();
    invocation.target = WasmCloudEntity {
        public_key: world.identity.provider_key.clone(),
        link_name: "default".into(),
        contract_id: "wasmcloud:latticecontrol".into(),
    };
    let response = send(&world, rmp_serde::to_vec_named(&invocation).unwrap()).await;
    assert_eq!(response.invocation_id, "unsigned");
    assert!(response.error.unwrap().contains("token of three parts"));
}

#[tokio::test]
async fn a_call_signed_by_no_issuer_of_the_cluster_is_refused() {
    let world = World::with_lattice().await;
    let stranger = Arc::new(signing_key(nkeys::KeyPairType::Cluster));
    let identity = &world.identity;
    let actor = Actor::connect_as(&world.nats.url(), identity, &identity.actor, &stranger).await;
    let error = actor
        .lattice()
        .get_hosts(&ctx(), "default")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("issuer"), "{error}");
}

#[tokio::test]
async fn a_call_for_another_provider_is_refused() {
    let world = World::with_lattice().await;
    let mut identity = world.identity.clone();
    identity.provider_key = nkeys::KeyPair::new(nkeys::KeyPairType::Service).public_key();
    // The published client signs for the other provider, and the call is
    // delivered to this one.
    let nats = world.nats.client().await;
    let theirs = identity.subject("");
    let mut stolen = nats.subscribe(theirs).await.unwrap();
    support::fence(&nats).await;
    let other = Actor::connect(&world.nats.url(), &identity).await;
    tokio::spawn(async move { other.lattice().get_hosts(&ctx(), "default").await });
    let call = futures::StreamExt::next(&mut stolen).await.unwrap();
    let response = send(&world, call.payload.to_vec()).await;
    assert!(response.error.unwrap().contains("another provider"));
}

#[tokio::test]
async fn a_changed_body_is_refused() {
    let world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let mut calls = nats.subscribe(world.identity.subject("")).await.unwrap();
    support::fence(&nats).await;
    world.hosts("default").await.unwrap();
    let call = futures::StreamExt::next(&mut calls).await.unwrap();
    let mut invocation: Invocation = rmp_serde::from_slice(&call.payload).unwrap();
    // The argument is as long as the signed one: the provider would look for
    // the rest of a shorter one in the object store.
    invocation.msg = rmp_serde::to_vec(&"defaulx").unwrap();
    let response = send(&world, rmp_serde::to_vec_named(&invocation).unwrap()).await;
    assert!(
        response
            .error
            .unwrap()
            .contains("not the one that was signed")
    );
    invocation.operation = "LatticeController.GetLinks".into();
    let response = send(&world, rmp_serde::to_vec_named(&invocation).unwrap()).await;
    assert!(response.error.unwrap().contains("target"));
}

// --- large calls and answers ---

#[tokio::test]
async fn calls_and_answers_over_900_kib_go_through_the_object_store() {
    let world = World::with_lattice().await;
    let sim = SimLattice::with_bucket(world.nats.client().await, "default").await;
    let values = json!({ "x": "y".repeat(100_000) });
    sim.put_links(12, &values).await;
    let links = world
        .actor
        .lattice()
        .get_links(&ctx(), "default")
        .await
        .unwrap()
        .links;
    assert_eq!(links.len(), 12);
    assert!(links.iter().all(|link| link.values["x"].len() == 100_000));

    // The reason for the refusal shows that the whole argument arrived.
    let command = StartProviderCommand {
        lattice_id: "default".into(),
        host_id: nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key(),
        provider_ref: "x".into(),
        link_name: "default".into(),
        annotations: None,
        configuration: Some("x".repeat(1_200_000)),
    };
    let ack = world
        .actor
        .lattice()
        .start_provider(&ctx(), &command)
        .await
        .unwrap();
    assert!(ack.error.contains("1200000 bytes"), "{}", ack.error);
}

#[tokio::test]
async fn an_answer_too_large_without_jetstream_is_an_error_that_says_so() {
    let world = World::start_on(NatsServer::without_jetstream(), |_| {}).await;
    world.set_lattice("default", &world.nats.url()).await;
    let nats = world.nats.client().await;
    let mut requests = nats
        .subscribe("wasmbus.ctl.default.ping.hosts")
        .await
        .unwrap();
    support::fence(&nats).await;
    tokio::spawn(async move {
        while let Some(request) = futures::StreamExt::next(&mut requests).await {
            for _ in 0..3 {
                let id = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
                let body = json!({ "id": id, "version": "x".repeat(400_000) }).to_string();
                let to = request.reply.clone().unwrap();
                nats.publish(to, body.into()).await.unwrap();
            }
            support::fence(&nats).await;
        }
    });
    let error = world.hosts("default").await.unwrap_err();
    assert!(error.contains("needs JetStream"), "{error}");
}

#[tokio::test]
async fn an_answer_over_the_servers_max_payload_is_an_error_that_says_so() {
    let nats = NatsServer::with_config("max_payload: 65536");
    let remote = NatsServer::start();
    let world = World::start_on(nats, |_| {}).await;
    world.set_lattice("default", &remote.url()).await;
    let sim = SimLattice::with_bucket(remote.client().await, "default").await;
    let mut link = json!({ "actor_id": "M", "provider_id": "V", "contract_id": "c:d",
        "link_name": "l", "values": { "x": "y".repeat(100_000) } });
    sim.put_link(&link, link.to_string().as_bytes(), true).await;
    let error = world
        .actor
        .lattice()
        .get_links(&ctx(), "default")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("takes 65536"), "{error}");
    link["values"] = json!({});
    sim.put_link(&link, link.to_string().as_bytes(), true).await;
    let links = world
        .actor
        .lattice()
        .get_links(&ctx(), "default")
        .await
        .unwrap()
        .links;
    assert_eq!(links.len(), 1);
}

// --- failures of our own ---

/// Operations with the faults that operations must not have.
struct Faulty;

impl Operations for Faulty {
    async fn carry_out(&self, _: &Call<'_>, request: Request) -> Result<Response, Error> {
        let Request::GetHosts(fault) = request else {
            panic!("another operation");
        };
        match fault.as_str() {
            "panic" => panic!("as the test asks"),
            "hang" => std::future::pending().await,
            "huge" => Ok(Response::Hosts(huge())),
            _ => Ok(Response::Hosts(Vec::new())),
        }
    }
}

/// Returns more than the provider sends to any actor.
fn huge() -> Vec<Host> {
    vec![Host {
        id: "x".repeat(70_000_000),
        ..Host::default()
    }]
}

/// Calls the operation with this fault.
async fn with_fault(actor: &Actor, fault: &str) -> RpcResult<Vec<u8>> {
    let arguments = rmp_serde::to_vec_named(fault).unwrap();
    actor
        .call_raw("LatticeController.GetHosts", arguments)
        .await
}

/// An empty list of hosts, in MessagePack.
const NO_HOSTS: [u8; 1] = [0x90];

/// Serves with the faulty handler in this process.
async fn faulty() -> (NatsServer, Actor) {
    let (nats, identity) = serve_here(Faulty, r#"{"max_calls":1}"#).await;
    let actor = Actor::connect(&nats.url(), &identity).await;
    (nats, actor)
}

#[tokio::test]
async fn a_panic_in_an_operation_still_sends_an_error() {
    let (_nats, actor) = faulty().await;
    let error = with_fault(&actor, "panic").await.unwrap_err().to_string();
    assert!(error.contains("the provider failed"), "{error}");
    assert_eq!(with_fault(&actor, "fine").await.unwrap(), NO_HOSTS);
}

#[tokio::test]
async fn an_answer_too_large_for_any_actor_is_an_error_that_says_how_large() {
    let (_nats, actor) = faulty().await;
    let error = with_fault(&actor, "huge").await.unwrap_err();
    let bytes = rmp_serde::to_vec_named(&huge()).unwrap().len();
    let said = format!("the answer has {bytes} bytes");
    assert!(error.to_string().contains(&said), "{error}");
}

#[tokio::test]
async fn an_operation_that_never_ends_is_answered_before_the_actor_gives_up() {
    let (_nats, actor) = faulty().await;
    let error = with_fault(&actor, "hang").await.unwrap_err().to_string();
    assert!(error.contains("longer than it may"), "{error}");
}

#[tokio::test]
async fn more_calls_than_may_be_under_way_are_refused_as_busy() {
    let (_nats, actor) = faulty().await;
    let hanging = actor.clone();
    let hang = tokio::spawn(async move {
        loop {
            let ended = with_fault(&hanging, "hang").await.unwrap_err();
            // This call may itself find the only place taken.
            if !ended.to_string().contains("busy") {
                return ended;
            }
        }
    });
    support::eventually("busy", || async {
        let answer = with_fault(&actor, "fine").await;
        answer
            .is_err_and(|error| error.to_string().contains("busy"))
            .then_some(())
    })
    .await;
    let ended = hang.await.unwrap().to_string();
    assert!(ended.contains("longer than it may"), "{ended}");
    assert_eq!(with_fault(&actor, "fine").await.unwrap(), NO_HOSTS);
}
