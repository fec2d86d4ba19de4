//! Credentials that are set again, set by many at once, or set after their
//! entry has left the bucket: each is accepted, and what changes nothing writes
//! nothing.

use std::time::Duration;

use crate::support::actor::Actor;
use crate::support::eventually;
use crate::support::instances::Instances;
use crate::support::nats::NatsServer;
use crate::support::operator::{accepted, refused};
use crate::support::provider::Identity;
use crate::support::secrets::plant;
use crate::support::store::{KEPT, bucket_of, edit, key, last_written};
use crate::support::time::{SHORTLY, scaled};
use crate::support::world::{self, World, hosts};
use async_nats::jetstream::{self, kv, stream};
use data_encoding::BASE64URL_NOPAD;
use lattice_controller::internals::credentials::vault::bucket;
use nkeys::{KeyPair, KeyPairType};
use serde_json::json;
use wasmcloud_interface_lattice_control::{
    CtlOperationAck, LatticeController as _, SetLatticeCredentialsRequest,
};

/// Removes an entry without leaving a delete marker.
async fn purge_without_mark(bucket: &kv::Store, identity: &Identity, lattice: &str) {
    let subject = format!("{}{}", bucket.prefix, key(identity, lattice));
    let purged = bucket.stream.purge().filter(subject).await.unwrap();
    assert_eq!(purged.purged, 1);
}

async fn set(actor: &Actor, lattice: &str, url: &str) {
    accepted(world::set(actor, lattice, url).await);
}

/// Sets credentials so many times at once; each must be accepted.
async fn set_at_once(actor: &Actor, urls: impl Iterator<Item = String>) {
    let sets: Vec<_> = urls
        .map(|url| {
            let actor = actor.clone();
            tokio::spawn(async move { set(&actor, "x", &url).await })
        })
        .collect();
    for one in sets {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing_and_is_accepted_however_many_set_it() {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    let url = world.nats.url();
    let before = last_written(&bucket).await;
    set_at_once(&world.actor, std::iter::repeat_n(url.clone(), 20)).await;
    assert_eq!(last_written(&bucket).await, before + 1);
    for _ in 0..5 {
        set(&world.actor, "x", &url).await;
    }
    assert_eq!(last_written(&bucket).await, before + 1);
    // A change of other members is written.
    let request = SetLatticeCredentialsRequest {
        lattice_id: "x".into(),
        nats_url: Some(url),
        js_domain: Some("hub".into()),
        ..Default::default()
    };
    let ack: CtlOperationAck = world
        .actor
        .call("LatticeController.SetLatticeCredentials", &request)
        .await
        .unwrap();
    assert!(ack.accepted, "{}", ack.error);
    assert_eq!(last_written(&bucket).await, before + 2);
}

/// Starts instances that share their stored credentials, and an actor, all with
/// long time limits.
async fn twenty_instances() -> (Instances, Actor) {
    let twenty = Instances::start(20, |_, data| {
        data["default_rpc_timeout_ms"] = 10_000.into();
    })
    .await;
    twenty.logged(KEPT).await;
    let actor = twenty.actor.clone().with_timeout(Duration::from_secs(10));
    (twenty, actor)
}

#[tokio::test]
async fn twenty_instances_that_set_the_same_at_once_are_all_accepted_and_write_once() {
    let (twenty, actor) = twenty_instances().await;
    let bucket = bucket_of(&twenty.nats, &twenty.identity.lattice).await;
    let before = last_written(&bucket).await;
    set_at_once(&actor, std::iter::repeat_n(twenty.nats.url(), 60)).await;
    assert_eq!(last_written(&bucket).await, before + 1);
}

#[tokio::test]
async fn twenty_instances_that_set_each_something_else_are_all_accepted() {
    let (_twenty, actor) = twenty_instances().await;
    let urls = (1..=60).map(|port| format!("nats://127.0.0.1:{port}"));
    set_at_once(&actor, urls).await;
}

#[tokio::test]
async fn a_conflict_in_a_bucket_with_replicas_is_no_refusal() {
    let [one, two, three] = NatsServer::jetstream_cluster().await;
    let jetstream = jetstream::new(two.client().await);
    let identity = Identity::new();
    let name = bucket::name(&identity.lattice);
    let made = || async {
        let config = stream::Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            num_replicas: 3,
            ..Default::default()
        };
        jetstream.create_stream(config).await.ok()
    };
    eventually("a bucket with replicas", made).await;
    let many = Instances::start_as(identity, one, 6, |_, data| {
        data["default_rpc_timeout_ms"] = 10_000.into();
    })
    .await;
    many.logged(KEPT).await;
    let actor = many.actor.clone().with_timeout(Duration::from_secs(10));
    for round in 0..5 {
        let urls = (1..=30).map(|port| format!("nats://127.0.0.{}:{port}", round + 1));
        set_at_once(&actor, urls).await;
    }
    drop((two, three));
}

#[tokio::test]
async fn one_write_that_fails_does_not_open_the_bucket_again() {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let url = world.nats.url();
    world.set_lattice("x", &url).await;
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    edit(&world.nats, &bucket, |config| config.max_message_size = 10).await;
    for lattice in ["y", "z"] {
        refused(world.try_set_lattice(lattice, &url).await, "did not take");
    }
    edit(&world.nats, &bucket, |config| config.max_message_size = -1).await;
    for lattice in ["y", "z"] {
        world.set_lattice(lattice, &url).await;
        assert!(hosts(&world.actor, lattice).await.is_ok());
    }
    // Opening the bucket again would take less time than this.
    tokio::time::sleep(scaled(SHORTLY)).await;
    let log = world.provider.log();
    assert_eq!(log.matches(KEPT).count(), 1, "{log}");
}

#[tokio::test]
async fn what_was_purged_without_a_mark_is_accepted_the_first_time_it_is_set_again() {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    let url = world.nats.url();
    for (lattice, again) in [("same", url.as_str()), ("other", "nats://127.0.0.1:1")] {
        world.set_lattice(lattice, &url).await;
        purge_without_mark(&bucket, &world.identity, lattice).await;
        world.set_lattice(lattice, again).await;
        let key = key(&world.identity, lattice);
        assert!(bucket.get(key).await.unwrap().is_some(), "{lattice}");
    }
    assert!(hosts(&world.actor, "same").await.is_ok());
    assert!(hosts(&world.actor, "other").await.is_err());
}

#[tokio::test]
async fn what_grew_too_old_is_accepted_the_first_time_it_is_set_again() {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let url = world.nats.url();
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    for lattice in ["same", "other"] {
        world.set_lattice(lattice, &url).await;
    }
    let age = Duration::from_millis(500);
    edit(&world.nats, &bucket, |config| {
        (config.max_age, config.duplicate_window) = (age, age);
    })
    .await;
    let gone = || async {
        let state = bucket.stream.get_info().await.unwrap().state;
        (state.messages == 0).then_some(())
    };
    eventually("the entries to grow too old", gone).await;
    edit(&world.nats, &bucket, |config| {
        config.max_age = Duration::ZERO
    })
    .await;
    world.set_lattice("same", &url).await;
    world.set_lattice("other", "nats://127.0.0.1:1").await;
    assert_eq!(bucket.stream.get_info().await.unwrap().state.messages, 2);
}

#[tokio::test]
async fn a_bucket_that_somebody_made_anew_takes_the_next_credentials() {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let (url, bucket) = (
        world.nats.url(),
        bucket_of(&world.nats, &world.identity.lattice).await,
    );
    for lattice in ["before", "x"] {
        world.set_lattice(lattice, &url).await;
    }
    let jetstream = jetstream::new(world.nats.client().await);
    let config = bucket.stream.get_info().await.unwrap().config;
    jetstream.delete_stream(&config.name).await.unwrap();
    jetstream.create_stream(config).await.unwrap();
    world.set_lattice("x", "nats://127.0.0.1:1").await;
    assert!(
        hosts(&world.actor, "x")
            .await
            .unwrap_err()
            .contains("127.0.0.1:1")
    );
    // A moment later it has what was in the bucket before.
    let all = || async { (last_written(&bucket).await == 2).then_some(()) };
    eventually("both to be kept", all).await;
}

#[tokio::test]
async fn the_same_again_forgets_that_a_login_was_rejected() {
    let mut remote =
        NatsServer::with_config("authorization { users: [ { user: a, password: one } ] }");
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let url = format!("nats://a:another@{}", remote.address());
    world.set_lattice("x", &url).await;
    let error = hosts(&world.actor, "x").await.unwrap_err();
    assert!(error.contains("rejected"), "{error}");
    remote.reconfigure("authorization { users: [ { user: a, password: another } ] }");
    // Without that, the rejection would be the answer for 5 s.
    world.set_lattice("x", &url).await;
    hosts(&world.actor, "x").await.unwrap();
}

/// Makes a JWT of so many bytes for a user, and returns it with the user's
/// seed.
fn user(bytes: usize) -> (String, String) {
    let user = KeyPair::new(KeyPairType::User);
    let jwt = |padding: usize| {
        let claims = json!({ "sub": user.public_key(), "name": "x".repeat(padding) });
        let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
        let part = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
        let signature = BASE64URL_NOPAD.encode(&[7; 64]);
        format!(
            "{}.{}.{signature}",
            part(header.to_string()),
            part(claims.to_string())
        )
    };
    let padding = (bytes - jwt(0).len()) * 3 / 4;
    let padding = (padding..).find(|padding| jwt(*padding).len() >= bytes);
    let (jwt, seed) = (jwt(padding.unwrap()), user.seed().unwrap());
    (plant(jwt), plant(seed))
}

async fn set_user(actor: &Actor, lattice: &str, user: &(String, String)) -> CtlOperationAck {
    let request = SetLatticeCredentialsRequest {
        lattice_id: lattice.into(),
        nats_url: Some("nats://127.0.0.1:1".into()),
        user_jwt: Some(user.0.clone()),
        user_seed: Some(user.1.clone()),
        js_domain: None,
    };
    let client = actor.lattice();
    let ack = client
        .set_lattice_credentials(&world::ctx(), &request)
        .await;
    ack.unwrap()
}

#[tokio::test]
async fn a_jwt_has_16_kib_unless_a_setting_allows_more() {
    let mut one = Instances::start(1, |_, _| {}).await;
    one.logged(KEPT).await;
    let (fits, long) = (user(16 * 1024 - 3), user(16 * 1024 + 1));
    assert!(set_user(&one.actor, "x", &fits).await.accepted);
    let ack = set_user(&one.actor, "y", &long).await;
    assert!(
        !ack.accepted && ack.error.contains("(max_jwt_bytes)"),
        "{}",
        ack.error
    );
    let whole_file = (fits.0.clone(), format!("{}{}", long.0, long.1));
    let ack = set_user(&one.actor, "y", &whole_file).await;
    assert!(ack.error.starts_with("userSeed of"), "{}", ack.error);
    one.configure(json!({ "max_jwt_bytes": 256 * 1024 }));
    one.restart().await;
    one.logged(KEPT).await;
    let longest = user(256 * 1024 - 3);
    assert!(set_user(&one.actor, "y", &longest).await.accepted);
    // It is stored, too, and stays where less is allowed later.
    one.configure(json!({}));
    one.restart().await;
    for lattice in ["x", "y"] {
        let error = hosts(&one.actor, lattice).await.unwrap_err();
        assert!(error.contains("no connection to 127.0.0.1:1"), "{error}");
    }
}
