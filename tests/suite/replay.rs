//! A call is carried out only while it is fresh, and one that changes something
//! only once, whatever a listener on the network does with it.

use crate::support;
use std::collections::BTreeSet;

use crate::support::clock::WallClock;
use crate::support::every_operation::every_operation;
use crate::support::host::Generation;
use crate::support::invocation::{bytes, mint, send};
use crate::support::jwt::now;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::provider::health;
use crate::support::world::{World, ctx};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;
use wasmbus_rpc::core::{Invocation, InvocationResponse};
use wasmcloud_interface_lattice_control::*;

/// Makes a command for a lattice without credentials.
fn stop_host() -> StopHostCommand {
    StopHostCommand {
        lattice_id: "nowhere".into(),
        host_id: nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key(),
        timeout: None,
    }
}

/// Returns whether the call reached its operation.
#[track_caller]
fn carried_out(response: &InvocationResponse) -> bool {
    match &response.error {
        None => {
            let ack: CtlOperationAck = rmp_serde::from_slice(&response.msg).unwrap();
            assert!(ack.error.contains("is unknown"), "{}", ack.error);
            true
        }
        // The answer is no acknowledgement: the outcome of the first call is
        // not known here.
        Some(error) => {
            assert!(error.starts_with("rpc: the invocation"), "{error}");
            false
        }
    }
}

#[tokio::test]
async fn a_recorded_order_is_not_carried_out_again_whatever_is_around_it() {
    let lattice = Operated::one(Generation::G2b).await;
    let world = &lattice.world;
    let nats = world.nats.client().await;
    let mut calls = nats.subscribe(world.identity.subject("")).await.unwrap();
    support::fence(&nats).await;
    let host = &lattice.hosts[0];
    accepted(lattice.start_actor(&host.id, 1, &Annotations::new()).await);
    assert_eq!(host.instances(ACTOR), 1);

    let recorded = calls.next().await.unwrap().payload.to_vec();
    let mut invocation: Invocation = rmp_serde::from_slice(&recorded).unwrap();
    assert_eq!(invocation.operation, "LatticeController.StartActor");
    let response = send(&nats, &world.identity, recorded).await;
    assert_eq!(response.invocation_id, invocation.id);
    let error = response.error.unwrap();
    assert!(error.contains("taken before"), "{error}");
    // Members that are not signed may differ.
    invocation.host_id = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
    let response = send(&nats, &world.identity, bytes(&invocation)).await;
    assert_eq!(response.invocation_id, invocation.id);
    assert!(response.error.unwrap().contains("taken before"));
    // The id is signed.
    let id = std::mem::replace(&mut invocation.id, "another".into());
    let response = send(&nats, &world.identity, bytes(&invocation)).await;
    assert_eq!(response.invocation_id, "another");
    assert!(response.error.unwrap().contains("id is not the one"));
    invocation.id = id;
    // Another signature for the same claims is not valid.
    let (signed, signature) = invocation.encoded_claims.rsplit_once('.').unwrap();
    let last = if signature.ends_with('A') { 'Q' } else { 'A' };
    let signature = &signature[..signature.len() - 1];
    invocation.encoded_claims = format!("{signed}.{signature}{last}");
    let response = send(&nats, &world.identity, bytes(&invocation)).await;
    assert!(response.error.unwrap().contains("signature"));
    assert_eq!(host.instances(ACTOR), 1);
    world.provider.logged("cause=\"repeated\"").await;
    world.provider.logged("outcome=\"repeated\"").await;
}

#[tokio::test]
async fn of_many_copies_at_once_one_is_carried_out() {
    let world = World::start().await;
    let nats = world.nats.client().await;
    for _ in 0..5 {
        let call = bytes(&mint(&world.identity, "StopHost", &stop_host(), |_| {}));
        let copies = (0..20).map(|_| send(&nats, &world.identity, call.clone()));
        let answers = join_all(copies).await;
        let done = answers.iter().filter(|answer| carried_out(answer)).count();
        assert_eq!(done, 1);
    }
}

#[tokio::test]
async fn what_only_reads_may_be_repeated_while_it_is_fresh_and_under_its_own_id() {
    let world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let call = mint(&world.identity, "GetHosts", &"default", |_| {});
    for _ in 0..3 {
        let response = send(&nats, &world.identity, bytes(&call)).await;
        assert_eq!(response.error, None);
    }
    let mut other = call.clone();
    other.id = "another".into();
    let response = send(&nats, &world.identity, bytes(&other)).await;
    let error = response.error.unwrap_or_default();
    assert!(error.contains("id is not the one"), "{error}");
    for (iat, why) in [
        (Some(1), "too old"),
        (Some(now() - 65), "too old"),
        (Some(now() + 60), "from the future"),
        (None, "do not say when"),
    ] {
        let call = mint(&world.identity, "GetHosts", &"default", |claims| {
            claims["iat"] = iat.into();
        });
        let response = send(&nats, &world.identity, bytes(&call)).await;
        let error = response.error.unwrap_or_default();
        assert!(error.contains(why), "{iat:?}: {error}");
    }
}

#[tokio::test]
async fn an_order_counts_from_a_minute_after_it_was_made_to_half_a_minute_before() {
    let world = World::start().await;
    let nats = world.nats.client().await;
    let start = now();
    // Some seconds away from the limits, since time passes during the test.
    for (iat, fresh) in [
        (Some(start - 50), true),
        (Some(start - 61), false),
        (Some(start + 25), true),
        (Some(start + 60), false),
        (Some(u64::MAX), false),
        (Some(0), false),
        (None, false),
    ] {
        let call = mint(&world.identity, "StopHost", &stop_host(), |claims| {
            claims["iat"] = iat.into();
        });
        let response = send(&nats, &world.identity, bytes(&call)).await;
        assert_eq!(carried_out(&response), fresh, "{iat:?}: {response:?}");
    }
}

#[tokio::test]
async fn the_window_can_be_set() {
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = json!({ "invocation_window_ms": 3_600_000 })
            .to_string()
            .into();
    })
    .await;
    let nats = world.nats.client().await;
    for (age, fresh) in [(3000, true), (4000, false)] {
        let call = mint(&world.identity, "StopHost", &stop_host(), |claims| {
            claims["iat"] = (now() - age).into();
        });
        let response = send(&nats, &world.identity, bytes(&call)).await;
        assert_eq!(carried_out(&response), fresh, "{age}: {response:?}");
    }
}

/// Sends an order that was made so many seconds from now. Returns why it was not carried out,
/// and the order.
async fn order(world: &World, made: i64) -> (Option<String>, Vec<u8>) {
    let call = bytes(&mint(&world.identity, "StopHost", &stop_host(), |claims| {
        claims["iat"] = now().saturating_add_signed(made).into();
    }));
    let nats = world.nats.client().await;
    let response = send(&nats, &world.identity, call.clone()).await;
    let refused = (!carried_out(&response)).then(|| response.error.unwrap());
    (refused, call)
}

#[tokio::test]
async fn after_the_clock_was_set_back_new_orders_soon_count_and_recorded_ones_do_not() {
    let clock = WallClock::ahead(7200);
    let world = clock.world().await;
    let nats = world.nats.client().await;
    let health = async || health(&nats, &world.identity).await;
    // The hosts' clocks are ahead as well.
    assert_eq!(order(&world, 7200).await.0, None);
    clock.set_ahead(7300);
    let (refused, recorded) = order(&world, 7300).await;
    assert_eq!(refused, None);
    assert!(health().await.healthy);

    clock.set_ahead(0);
    let (refused, _) = order(&world, 0).await;
    let refused = refused.unwrap();
    assert!(refused.contains("was set back"), "{refused}");
    let told = health().await;
    let message = told.message.unwrap();
    assert!(
        !told.healthy && message.contains("set back by 7") && message.contains("do not restart"),
        "{message}"
    );
    let line = "the clock of this machine was set back";
    world.provider.logged(line).await;

    clock.set_ahead(40);
    assert_eq!(order(&world, 40).await.0, None);
    clock.set_ahead(7310);
    let response = send(&nats, &world.identity, recorded).await;
    let error = response.error.unwrap();
    assert!(error.contains("taken before"), "{error}");
    assert!(health().await.healthy);
    assert_eq!(world.provider.log().matches(line).count(), 1);
}

#[tokio::test]
async fn every_operation_that_changes_something_counts_once() {
    let lattice = Operated::one(Generation::G2b).await;
    let world = &lattice.world;
    let nats = world.nats.client().await;
    let mut calls = nats.subscribe(world.identity.subject("")).await.unwrap();
    support::fence(&nats).await;
    every_operation(&lattice, &lattice.hosts[0].id).await;
    support::fence(&nats).await;
    let (mut once, mut again) = (BTreeSet::new(), BTreeSet::new());
    let recorded = calls.by_ref().take(16).collect::<Vec<_>>().await;
    for call in recorded {
        let invocation: Invocation = rmp_serde::from_slice(&call.payload).unwrap();
        let (_, name) = invocation.operation.split_once('.').unwrap();
        let response = send(&nats, &world.identity, call.payload.to_vec()).await;
        match response.error.unwrap_or_default() {
            error if error.contains("taken before") => once.insert(name.to_owned()),
            _ => again.insert(name.to_owned()),
        };
    }
    let again: Vec<_> = again.iter().map(String::as_str).collect();
    let reads = [
        "AuctionActor",
        "AuctionProvider",
        "GetClaims",
        "GetHostInventory",
        "GetHosts",
        "GetLinks",
    ];
    assert_eq!(again, reads);
    assert!(once.len() == 10, "{once:?}");
}

#[tokio::test]
async fn an_order_that_was_refused_as_busy_may_be_sent_again() {
    let world = World::start_on(NatsServer::start(), |data| {
        let settings = json!({ "max_actor_calls": 1, "max_calls": 10, "gather_limit_ms": 700 });
        data["config_json"] = settings.to_string().into();
    })
    .await;
    world.set_lattice("silent", &world.nats.url()).await;
    let nats = world.nats.client().await;
    let mut pings = nats
        .subscribe("wasmbus.ctl.silent.ping.hosts")
        .await
        .unwrap();
    support::fence(&nats).await;
    let actor = world.actor.clone();
    let hangs = tokio::spawn(async move { actor.lattice().get_hosts(&ctx(), "silent").await });
    pings.next().await.unwrap();

    let call = bytes(&mint(&world.identity, "StopHost", &stop_host(), |_| {}));
    let response = send(&nats, &world.identity, call.clone()).await;
    let ack: CtlOperationAck = rmp_serde::from_slice(&response.msg).unwrap();
    assert!(
        !ack.accepted && ack.error.contains("(max_actor_calls)"),
        "{}",
        ack.error
    );
    hangs.await.unwrap().unwrap();
    assert!(carried_out(
        &send(&nats, &world.identity, call.clone()).await
    ));
    assert!(!carried_out(&send(&nats, &world.identity, call).await));
}

#[tokio::test]
async fn what_is_in_the_store_stays_there_until_a_call_for_it_is_proved() {
    let world = World::start().await;
    let nats = world.nats.client().await;
    let jetstream = async_nats::jetstream::new(nats.clone());
    let config = async_nats::jetstream::object_store::Config {
        bucket: world.identity.lattice.clone(),
        ..Default::default()
    };
    let store = jetstream.create_object_store(config).await.unwrap();
    let mut body = &b"the body of somebody else's call"[..];
    store.put("theirs", &mut body).await.unwrap();
    // A call that is authentic except for the body that it refers to.
    let theirs = |claims: &mut serde_json::Value| claims["sub"] = "theirs".into();
    let mut call = mint(&world.identity, "GetHosts", &"nowhere", theirs);
    call.id = "theirs".into();
    call.content_length = Some(32);
    call.msg = Vec::new();
    let response = send(&nats, &world.identity, bytes(&call)).await;
    let error = response.error.unwrap();
    assert!(error.contains("not the one that was signed"), "{error}");
    store.get("theirs").await.unwrap();
}
