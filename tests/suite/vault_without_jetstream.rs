//! JetStream is missing or goes away. What was acknowledged is kept as well as
//! possible, and nothing is acknowledged that is not.

use crate::support::eventually;
use crate::support::instances::Instances;
use crate::support::nats::NatsServer;
use crate::support::operator::refused;
use crate::support::provider::health;
use crate::support::store::{IN_MEMORY, KEPT, bucket_of, key};
use crate::support::world::{World, hosts, none_fails, set_acknowledged as set};
use async_nats::jetstream;
use lattice_controller::internals::credentials::vault::bucket;
use serde_json::json;

#[tokio::test]
async fn without_jetstream_credentials_are_in_memory_with_one_warning_until_there_is_one() {
    let mut world = World::start_on(NatsServer::without_jetstream(), |_| {}).await;
    let remote = NatsServer::start();
    world.provider.logged(IN_MEMORY).await;
    world.set_lattice("x", &remote.url()).await;
    assert!(hosts(&world.actor, "x").await.unwrap().is_empty());
    assert!(
        health(&world.nats.client().await, &world.identity)
            .await
            .healthy
    );
    // What was set meanwhile is stored as soon as possible.
    world.nats.restart_with_jetstream();
    world
        .provider
        .logged("credentials are now kept in JetStream")
        .await;
    assert_eq!(world.provider.log().matches(IN_MEMORY).count(), 1);
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    assert!(
        bucket
            .get(key(&world.identity, "x"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn what_was_acknowledged_without_a_store_outlives_what_the_store_had_before() {
    let (old, new) = (NatsServer::start(), NatsServer::start());
    let mut world = Instances::start(1, |_, _| {}).await;
    world.logged(KEPT).await;
    for lattice in ["x", "removed"] {
        assert!(set(&world.actor, lattice, &old.url()).await.accepted);
    }
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    bucket.purge(key(&world.identity, "removed")).await.unwrap();
    world
        .logged("credentials were removed from the store")
        .await;
    world.nats.restart_without_jetstream();
    world.restart().await;
    world.logged(IN_MEMORY).await;
    for lattice in ["x", "removed"] {
        let taken = || async {
            let ack = set(&world.actor, lattice, &new.url()).await;
            ack.accepted.then_some(())
        };
        eventually("credentials to be taken", taken).await;
    }
    world.nats.restart_with_jetstream();
    let kept = "credentials are now kept in JetStream";
    let both = || async { (world.providers[0].log().matches(kept).count() == 2).then_some(()) };
    eventually("both to be kept", both).await;
    world.restart().await;
    let before = new.open_connections("for lattices");
    for lattice in ["x", "removed"] {
        hosts(&world.actor, lattice).await.unwrap();
    }
    assert_eq!((old.open_connections("for lattices"), before), (0, 0));
    assert_eq!(new.open_connections("for lattices"), 1);
}

#[tokio::test]
async fn of_what_instances_took_without_a_store_the_later_stays() {
    let (old, new) = (NatsServer::start(), NatsServer::start());
    let nats = NatsServer::without_jetstream();
    let mut two = Instances::start_on(nats, 2, |_, _| {}).await;
    two.logged(IN_MEMORY).await;
    // This goes on until each instance has its own credentials and the new ones
    // are the latest.
    let told = |log: &str| {
        let sets = log
            .lines()
            .filter(|line| line.contains(": credentials set "));
        sets.map(|line| line.contains(&new.address())).next_back()
    };
    let set_until_apart = || async {
        assert!(set(&two.actor, "x", &old.url()).await.accepted);
        assert!(set(&two.actor, "x", &new.url()).await.accepted);
        let logs: Vec<_> = two.providers.iter().map(|p| told(&p.log())).collect();
        (logs.contains(&Some(true)) && logs.contains(&Some(false))).then_some(())
    };
    eventually("each to have its own", set_until_apart).await;
    two.nats.restart_with_jetstream();
    two.logged(KEPT).await;
    let bucket = bucket_of(&two.nats, &two.identity.lattice).await;
    let kept = || async { bucket.get(key(&two.identity, "x")).await.ok().flatten() };
    eventually("the bucket to have them", kept).await;
    two.restart().await;
    none_fails(&two.actor, "x", 40).await;
    let closed = || async { (old.open_connections("for lattices") == 0).then_some(()) };
    eventually("no connection to the old server", closed).await;
}

#[tokio::test]
async fn a_store_that_is_required_and_missing_takes_no_credentials_and_is_unhealthy() {
    let required = |data: &mut serde_json::Value| {
        data["config_json"] = json!({ "credentials_store": "jetstream" })
            .to_string()
            .into();
    };
    let mut world = World::start_on(NatsServer::without_jetstream(), required).await;
    let nats = world.nats.client().await;
    let unhealthy = || async {
        let health = health(&nats, &world.identity).await;
        health.message.filter(|_| !health.healthy)
    };
    let why = eventually("it to be unhealthy", unhealthy).await;
    assert!(why.contains("credentials_store"), "{why}");
    refused(
        world.try_set_lattice("x", &world.nats.url()).await,
        "credentials_store",
    );
    let error = hosts(&world.actor, "x").await.unwrap_err();
    assert!(error.contains("credentials_store"), "{error}");
    world.nats.restart_with_jetstream();
    let heals = || async {
        let ack = world.try_set_lattice("x", &world.nats.url()).await.ok()?;
        ack.accepted.then_some(())
    };
    eventually("it to heal", heals).await;
    let nats = world.nats.client().await;
    assert!(health(&nats, &world.identity).await.healthy);
    // When the store is lost again, the provider is unhealthy again.
    world.nats.restart_without_jetstream();
    let back = || async { world.try_set_lattice("y", "nats://h").await.ok() };
    eventually("our lattice to be back", back).await;
    let nats = world.nats.client().await;
    let unhealthy = || async {
        let health = health(&nats, &world.identity).await;
        (!health.healthy).then_some(())
    };
    eventually("it to be unhealthy again", unhealthy).await;
}

#[tokio::test]
async fn credentials_for_memory_are_nowhere_else() {
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = json!({ "credentials_store": "memory" }).to_string().into();
    })
    .await;
    world.set_lattice("x", &world.nats.url()).await;
    assert!(hosts(&world.actor, "x").await.is_ok());
    let jetstream = jetstream::new(world.nats.client().await);
    let stream = format!("KV_{}", bucket::name(&world.identity.lattice));
    assert!(jetstream.get_stream(stream).await.is_err());
    assert!(!world.provider.log().contains(IN_MEMORY));
}

#[tokio::test]
async fn a_bucket_that_is_lost_is_made_again_from_what_instances_know() {
    let mut world = Instances::start(1, |_, _| {}).await;
    world.logged(KEPT).await;
    assert!(set(&world.actor, "x", &world.nats.url()).await.accepted);
    let jetstream = jetstream::new(world.nats.client().await);
    let stream = format!("KV_{}", bucket::name(&world.identity.lattice));
    jetstream.delete_stream(&stream).await.unwrap();
    // The next credentials are not accepted, and make the provider look for the
    // bucket.
    let taken = || async {
        let ack = set(&world.actor, "y", &world.nats.url()).await;
        ack.accepted.then_some(())
    };
    eventually("credentials to be taken again", taken).await;
    world.restart().await;
    for lattice in ["x", "y"] {
        assert!(hosts(&world.actor, lattice).await.is_ok(), "{lattice}");
    }
}

#[tokio::test]
async fn credentials_that_jetstream_does_not_take_are_not_acknowledged() {
    let mut world = World::start().await;
    world.provider.logged(KEPT).await;
    world.set_lattice("x", &world.nats.url()).await;
    // The server comes back without JetStream.
    world.nats.restart_without_jetstream();
    let refused = || async {
        let ack = world
            .try_set_lattice("x", "nats://127.0.0.1:1")
            .await
            .ok()?;
        assert!(
            !ack.accepted,
            "acknowledged, and lost with the next restart"
        );
        Some(ack.error)
    };
    let error = eventually("an answer", refused).await;
    assert!(error.contains("JetStream"), "{error}");
    // Known credentials are still used.
    assert!(hosts(&world.actor, "x").await.is_ok());
}
