//! Threat: an actor uses or replaces the credentials that another actor set.
//! With `isolation: actor` no actor can; without it, all actors share them, as
//! with the predecessor.

use crate::support::actor::Actor;
use crate::support::instances::Instances;
use crate::support::nats::NatsServer;
use crate::support::provider::link_another;
use crate::support::world::{ctx, hosts, set_acknowledged as set};
use crate::support::{self, eventually};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use wasmcloud_interface_lattice_control::*;

/// Starts instances and two linked actors.
async fn two_actors(count: usize, settings: Value) -> (Instances, Actor, Actor) {
    let other = KeyPair::new(KeyPairType::Module).public_key();
    let instances = Instances::start(count, |_, data| {
        link_another(data, &other);
        data["config_json"] = settings.to_string().into();
    })
    .await;
    let identity = &instances.identity;
    let other = Actor::connect_as(&instances.nats.url(), identity, &other, &identity.cluster).await;
    let owner = instances.actor.clone();
    (instances, owner, other)
}

const FOREIGN: &str = "belong to another actor (isolation)";

#[tokio::test]
async fn no_actor_uses_or_replaces_what_another_has_set() {
    let (two, owner, other) = two_actors(2, json!({ "isolation": "actor" })).await;
    let url = two.nats.url();
    assert!(set(&owner, "x", &url).await.accepted);
    // This holds at every instance, as soon as the owner has its answer.
    for _ in 0..20 {
        let error = hosts(&other, "x").await.unwrap_err();
        assert!(error.contains(FOREIGN), "{error}");
        let ack = set(&other, "x", "nats://127.0.0.1:1").await;
        assert!(
            !ack.accepted && ack.error.contains(FOREIGN),
            "{}",
            ack.error
        );
        assert!(hosts(&owner, "x").await.unwrap().is_empty());
    }
    // A command is refused as not carried out.
    let command = StopHostCommand {
        lattice_id: "x".into(),
        host_id: KeyPair::new(KeyPairType::Server).public_key(),
        timeout: None,
    };
    let ack = other.lattice().stop_host(&ctx(), &command).await.unwrap();
    assert!(
        !ack.accepted && ack.error.contains(FOREIGN),
        "{}",
        ack.error
    );
    // The log has the refusal with its cause.
    let logged = || async {
        let log = |p: &support::provider::Provider| p.log().contains("cause=\"owner\"");
        two.providers.iter().any(log).then_some(())
    };
    eventually("a security event", logged).await;
    // Each actor has lattices of its own, and may change their credentials.
    assert!(set(&other, "y", &url).await.accepted);
    assert!(hosts(&other, "y").await.is_ok() && hosts(&owner, "y").await.is_err());
    assert!(set(&owner, "x", &url).await.accepted);
}

#[tokio::test]
async fn an_owner_is_one_after_a_restart_too_until_the_entry_is_purged() {
    let (mut one, owner, other) = two_actors(1, json!({ "isolation": "actor" })).await;
    let url = one.nats.url();
    assert!(set(&owner, "x", &url).await.accepted);
    one.restart().await;
    // The first actor to call after the restart is not the owner.
    assert!(!set(&other, "x", &url).await.accepted);
    assert!(hosts(&other, "x").await.unwrap_err().contains(FOREIGN));
    assert!(hosts(&owner, "x").await.is_ok());
    let jetstream = async_nats::jetstream::new(one.nats.client().await);
    let name =
        lattice_controller::internals::credentials::vault::bucket::name(&one.identity.lattice);
    let bucket = jetstream.get_key_value(name).await.unwrap();
    let (provider, link) = (&one.identity.provider_key, &one.identity.link_name);
    bucket.purge(format!("{provider}.{link}.x")).await.unwrap();
    let taken = || async { set(&other, "x", &url).await.accepted.then_some(()) };
    eventually("the other one to take it over", taken).await;
    assert!(hosts(&owner, "x").await.unwrap_err().contains(FOREIGN));
}

#[tokio::test]
async fn of_two_who_set_a_lattice_at_once_at_two_instances_one_owns_it() {
    let (two, owner, other) = two_actors(2, json!({ "isolation": "actor" })).await;
    let url = two.nats.url();
    for number in 0..30 {
        let lattice = format!("x{number}");
        let (one, two) = tokio::join!(set(&owner, &lattice, &url), set(&other, &lattice, &url));
        assert!(one.accepted != two.accepted, "{} {}", one.error, two.error);
        let (winner, loser) = match one.accepted {
            true => (&owner, &other),
            false => (&other, &owner),
        };
        assert!(hosts(winner, &lattice).await.is_ok());
        assert!(hosts(loser, &lattice).await.unwrap_err().contains(FOREIGN));
    }
}

#[tokio::test]
async fn an_entry_that_nobody_can_open_is_nobodys() {
    let (one, _, other) = two_actors(1, json!({ "isolation": "actor" })).await;
    let kept = || async {
        set(&other, "y", &one.nats.url())
            .await
            .accepted
            .then_some(())
    };
    eventually("the store to be there", kept).await;
    let jetstream = async_nats::jetstream::new(one.nats.client().await);
    let name =
        lattice_controller::internals::credentials::vault::bucket::name(&one.identity.lattice);
    let bucket = jetstream.get_key_value(name).await.unwrap();
    let (provider, link) = (&one.identity.provider_key, &one.identity.link_name);
    let key = format!("{provider}.{link}.x");
    bucket.put(key, "of another cluster".into()).await.unwrap();
    assert!(set(&other, "x", &one.nats.url()).await.accepted);
    assert!(hosts(&other, "x").await.is_ok());
}

#[tokio::test]
async fn no_actor_takes_the_room_of_others() {
    let settings = json!({
        "isolation": "actor", "max_lattices": 3, "max_credentials_bytes": 1024,
    });
    let (mut one, owner, other) = two_actors(1, settings).await;
    let url = one.nats.url();
    for lattice in ["a", "b"] {
        assert!(set(&owner, lattice, &url).await.accepted);
    }
    let ack = set(&owner, "c", &url).await;
    assert!(
        !ack.accepted && ack.error.contains("(max_actor_lattices)"),
        "{}",
        ack.error
    );
    // A name of this length is not valid, but its bytes count.
    let long = format!("nats://{}@127.0.0.1:1", "u".repeat(400));
    let ack = set(&owner, "b", &long).await;
    let expected = "(max_actor_credentials_bytes)";
    assert!(
        !ack.accepted && ack.error.contains(expected),
        "{}",
        ack.error
    );
    // Other actors have room left, and an actor without room keeps what it has.
    assert!(set(&other, "d", &url).await.accepted);
    let ack = set(&other, "e", &url).await;
    assert!(
        !ack.accepted && ack.error.contains("(max_lattices)"),
        "{}",
        ack.error
    );
    one.restart().await;
    for (actor, lattice) in [(&owner, "a"), (&owner, "b"), (&other, "d")] {
        assert!(hosts(actor, lattice).await.is_ok(), "{lattice}");
        assert!(set(actor, lattice, &url).await.accepted, "{lattice}");
    }
}

#[tokio::test]
async fn what_the_store_has_beyond_a_share_is_left_out() {
    let free = json!({ "isolation": "actor", "credentials_store": "jetstream" });
    let (mut one, owner, other) = two_actors(1, free).await;
    let url = one.nats.url();
    for lattice in ["a", "b", "c"] {
        assert!(set(&owner, lattice, &url).await.accepted);
    }
    assert!(set(&other, "d", &url).await.accepted);
    one.configure(json!({ "isolation": "actor", "max_lattices": 4, "max_actor_lattices": 2 }));
    one.restart().await;
    one.logged("credentials were left out").await;
    assert!(hosts(&other, "d").await.is_ok());
    let mut left_out = 0;
    for lattice in ["a", "b", "c"] {
        if let Err(error) = hosts(&owner, lattice).await {
            assert!(error.contains("(max_actor_lattices)"), "{error}");
            left_out += 1;
        }
    }
    assert_eq!(left_out, 1);
}

#[tokio::test]
async fn in_memory_an_owner_is_one_too() {
    let settings = json!({ "isolation": "actor", "credentials_store": "memory" });
    let (one, owner, other) = two_actors(1, settings).await;
    let url = one.nats.url();
    assert!(set(&owner, "x", &url).await.accepted);
    assert!(!set(&other, "x", &url).await.accepted);
    assert!(hosts(&other, "x").await.unwrap_err().contains(FOREIGN));
}

#[tokio::test]
async fn without_isolation_all_linked_actors_share() {
    let (one, owner, other) = two_actors(1, json!({})).await;
    let remote = NatsServer::start();
    assert!(set(&owner, "x", &one.nats.url()).await.accepted);
    assert!(hosts(&other, "x").await.is_ok());
    assert!(set(&other, "x", &remote.url()).await.accepted);
    assert!(hosts(&owner, "x").await.is_ok());
    assert_eq!(remote.open_connections("for lattices"), 1);
}
