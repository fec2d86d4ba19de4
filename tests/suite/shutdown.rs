//! The provider ends by its host's command or by a signal, and loses no call.

use crate::support;
use std::time::{Duration, Instant};

use crate::support::drill::{host_on, stop_in_flight};
use crate::support::eventually;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::invocation::{bytes, mint};
use crate::support::nats::NatsServer;
use crate::support::operator::refused;
use crate::support::provider::{Identity, Provider, health};
use crate::support::time::{SHORTLY, assert_under, timeout};
use crate::support::world::World;
use futures::StreamExt as _;
use nix::sys::signal::Signal;
use serde_json::json;
use wasmbus_rpc::core::InvocationResponse;
use wasmcloud_interface_lattice_control::*;

/// Starts a world whose lattice has a host that does not answer stops.
async fn with_silent_host() -> (World, SimHost) {
    let world = World::with_lattice().await;
    let host = host_on(&world.nats, "default").await;
    host.fall_silent_on(".stop");
    (world, host)
}

#[tokio::test]
async fn the_hosts_order_ends_it_within_250_ms_and_calls_in_flight_are_answered() {
    let (mut world, host) = with_silent_host().await;
    let call = stop_in_flight(&world.actor, "default", &host).await;
    let nats = world.nats.client().await;
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let started = Instant::now();
    let ack = nats.request(world.identity.subject("shutdown"), order.into());
    let ack = timeout(Duration::from_secs(2), ack).await.unwrap().unwrap();
    let took = started.elapsed();
    assert!(!ack.payload.is_empty());
    assert!(
        took >= Duration::from_millis(190),
        "calls in flight got {took:?}"
    );
    assert_under(Duration::from_millis(250), took);
    // The answer to the call was sent before the acknowledgement.
    let answer = timeout(Duration::from_millis(200), call)
        .await
        .unwrap()
        .unwrap();
    let error = answer.unwrap_err().to_string();
    assert!(
        error.contains("stopped before the call had ended"),
        "{error}"
    );
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_provider_ends_at_once() {
    let mut world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let started = Instant::now();
    nats.request(world.identity.subject("shutdown"), order.into())
        .await
        .unwrap();
    assert_under(Duration::from_millis(150), started.elapsed());
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_order_without_body_is_for_us() {
    let mut world = World::start().await;
    let nats = world.nats.client().await;
    nats.request(world.identity.subject("shutdown"), "".into())
        .await
        .unwrap();
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn orders_for_others_and_unreadable_ones_are_ignored() {
    let mut world = World::start().await;
    let nats = world.nats.client().await;
    let inbox = nats.new_inbox();
    let mut acks = nats.subscribe(inbox.clone()).await.unwrap();
    for order in [
        r#"{"host_id":"NOTHER"}"#,
        "{}",
        "garbage",
        r#"{"host_id":7}"#,
    ] {
        let subject = world.identity.subject("shutdown");
        nats.publish_with_reply(subject, inbox.clone(), order.into())
            .await
            .unwrap();
    }
    support::fence(&nats).await;
    // A health check after these commands is answered.
    assert!(health(&nats, &world.identity).await.healthy);
    let ack = timeout(SHORTLY, acks.next()).await;
    assert!(ack.is_err(), "{ack:?}");
    assert!(world.provider.running());
}

#[tokio::test]
async fn new_calls_are_refused_at_once_while_it_stops() {
    let (world, host) = with_silent_host().await;
    let call = stop_in_flight(&world.actor, "default", &host).await;
    let nats = world.nats.client().await;
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let subject = world.identity.subject("shutdown");
    let ending = tokio::spawn(async move { nats.request(subject, order.into()).await });
    world.provider.logged("stopping").await;
    let started = Instant::now();
    let error = world.hosts("default").await.unwrap_err();
    assert!(error.contains("the provider is stopping"), "{error}");
    refused(
        world.try_set_lattice("x", "127.0.0.1:4222").await,
        "the provider is stopping",
    );
    assert_under(Duration::from_millis(150), started.elapsed());
    ending.await.unwrap().unwrap();
    drop(call);
}

#[tokio::test]
async fn every_call_that_was_sent_before_the_order_is_answered() {
    // Calls are sent in a row without waiting for answers, and the command to
    // stop comes right behind them.
    let mut world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let mut samples = nats.subscribe(world.identity.subject("")).await.unwrap();
    support::fence(&nats).await;
    world.hosts("unknown").await.unwrap_err();
    let call = samples.next().await.unwrap().payload;
    drop(samples);
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
    let subject = world.identity.subject("");
    const CALLS: usize = 1000;
    for _ in 0..CALLS {
        nats.publish_with_reply(subject.clone(), inbox.clone(), call.clone())
            .await
            .unwrap();
    }
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let ack = nats.request(world.identity.subject("shutdown"), order.into());
    ack.await.unwrap();
    for number in 0..CALLS {
        let answer = timeout(Duration::from_secs(2), answers.next()).await;
        assert!(answer.is_ok(), "{number} of {CALLS} calls were answered");
    }
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_signal_gives_calls_in_flight_the_time_they_have() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut world, host) = with_silent_host().await;
        let call = stop_in_flight(&world.actor, "default", &host).await;
        world.provider.signal(signal);
        // The call ends at its own time limit of 1.8 s, not with the signal.
        let error = call.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("did not answer in time"), "{error}");
        assert_eq!(world.provider.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_signal_cuts_calls_off_after_2_seconds() {
    let nats = NatsServer::start();
    let world = World::start_on(nats, |data| data["default_rpc_timeout_ms"] = 20_000.into()).await;
    world.set_lattice("default", &world.nats.url()).await;
    let sim = SimLattice::without_bucket(world.nats.client().await, "default");
    let host = SimHost::start(&std::sync::Arc::new(sim), Generation::G1b, &[]).await;
    host.fall_silent_on(".la");
    let nats = world.nats.client().await;
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
    support::fence(&nats).await;
    let command = StartActorCommand {
        lattice_id: "default".into(),
        host_id: host.id.clone(),
        actor_ref: "x".into(),
        count: 1,
        annotations: None,
    };
    // The published client would give up before that.
    let call = mint(&world.identity, "StartActor", &command, |_| {});
    let subject = world.identity.subject("");
    nats.publish_with_reply(subject, inbox, bytes(&call).into())
        .await
        .unwrap();
    eventually("the host to hear", || async {
        (host.received_on(".la").len() == 1).then_some(())
    })
    .await;
    let started = Instant::now();
    world.provider.signal(Signal::SIGTERM);
    let answer = timeout(Duration::from_secs(5), answers.next()).await;
    let took = started.elapsed();
    let answer: InvocationResponse =
        rmp_serde::from_slice(&answer.unwrap().unwrap().payload).unwrap();
    assert!(
        answer
            .error
            .unwrap()
            .contains("stopped before the call had ended")
    );
    assert!(took > Duration::from_millis(1900), "{took:?}");
    assert_under(Duration::from_millis(3000), took);
}

#[tokio::test]
async fn a_signal_ends_it_also_when_nats_is_away() {
    let identity = Identity::new();
    for _ in 0..10 {
        let mut provider = Provider::start(&identity.host_data("nats://127.0.0.1:1"));
        // It catches signals before it logs that it starts.
        provider.logged("starting").await;
        provider.signal(Signal::SIGTERM);
        assert_eq!(provider.ended().await.code(), Some(0));
    }
}
