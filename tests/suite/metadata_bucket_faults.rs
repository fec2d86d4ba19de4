//! A metadata bucket that refuses writes, that is a mirror of another one, or
//! from which the server itself removes entries; and JetStream that does not
//! answer.

use crate::support::host::Generation::G2b;
use crate::support::host::lattice::bucket;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::provider::Identity;
use crate::support::world::{World, ctx};
use crate::support::{self, eventually};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, External, Source};
use async_nats::jetstream::{self, Context};
use serde_json::{Value, json};
use wasmbus_rpc::core::LinkDefinition;
use wasmcloud_interface_lattice_control::{LatticeController as _, SetLatticeCredentialsRequest};

const BUCKET: &str = "KV_LATTICEDATA_default";

async fn jetstream_of(nats: &NatsServer) -> Context {
    jetstream::new(nats.client().await)
}

/// Makes the metadata bucket with another configuration than hosts do.
type Change = fn(&mut Config);

/// Makes a bucket of this name that is a mirror of another one, which may be in
/// a domain.
fn mirror(of: &str, domain: Option<&str>) -> Config {
    Config {
        subjects: Vec::new(),
        deny_delete: false,
        allow_rollup: false,
        mirror: Some(Source {
            name: format!("KV_{of}"),
            external: domain.map(|domain| External {
                api_prefix: format!("$JS.{domain}.API"),
                delivery_prefix: None,
            }),
            ..Source::default()
        }),
        ..bucket("LATTICEDATA_default")
    }
}

/// Waits until these are the links: a mirror is a moment behind its origin.
async fn come_to_be(lattice: &Operated, links: &[LinkDefinition]) {
    eventually("the links", || async {
        (lattice.links().await.unwrap() == links).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_link_that_jetstream_has_no_room_for_was_not_accepted() {
    let full = |config: &mut Config| config.max_bytes = 100;
    let small = |config: &mut Config| config.max_message_size = 50;
    let changes: [(Change, &str); 2] = [(full, "10077"), (small, "10054")];
    for (change, code) in changes {
        let lattice = Operated::without_bucket(&[(G2b, &[])]).await;
        let mut config = bucket("LATTICEDATA_default");
        change(&mut config);
        let jetstream = jetstream_of(&lattice.world.nats).await;
        jetstream.create_stream(config).await.unwrap();
        refused(
            lattice.advertise_link().await,
            &format!("error code {code}"),
        );
        assert!(lattice.links().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_bucket_that_takes_no_changes_accepts_none() {
    let new_per_subject = |config: &mut Config| config.discard_new_per_subject = true;
    let sealed = |config: &mut Config| config.sealed = true;
    let changes: [(Change, &str); 2] = [(new_per_subject, "10077"), (sealed, "10109")];
    for (change, code) in changes {
        let lattice = Operated::one(G2b).await;
        accepted(lattice.advertise_link().await);
        let mut config = bucket("LATTICEDATA_default");
        config.allow_direct = true;
        change(&mut config);
        let jetstream = jetstream_of(&lattice.world.nats).await;
        jetstream.update_stream(&config).await.unwrap();
        let code = format!("error code {code}");
        refused(lattice.advertise_link().await, &code);
        refused(lattice.remove_link().await, &code);
        assert_eq!(lattice.links().await.unwrap(), [link()]);
    }
}

#[tokio::test]
async fn hosts_are_asked_where_the_bucket_may_have_no_more_readers() {
    let lattice = Operated::without_bucket(&[(G2b, &[])]).await;
    let known = json!({ "actor_id": ACTOR, "provider_id": PROVIDER, "link_name": "default",
        "contract_id": CONTRACT, "values": { "address": "0.0.0.0:8080" } });
    lattice.sim.put_link(&known, b"", false).await;
    let jetstream = jetstream_of(&lattice.world.nats).await;
    let config = Config {
        max_consumers: 1,
        ..bucket("LATTICEDATA_default")
    };
    let stream = jetstream.create_stream(config).await.unwrap();
    let durable = pull::Config {
        durable_name: Some("other".into()),
        ..pull::Config::default()
    };
    stream.create_consumer(durable).await.unwrap();
    assert_eq!(lattice.links().await.unwrap(), [link()]);
    assert_eq!(lattice.claims().await.unwrap().len(), 2);
}

/// Starts a lattice on a leaf node whose bucket is a mirror of the hub's.
async fn on_a_leaf(leaf: &str, url: impl Fn(&NatsServer) -> String) -> (NatsServer, Operated) {
    let (hub, leaf) = NatsServer::hub_and_leaf(leaf).await;
    let origin = bucket("LATTICEDATA_default");
    jetstream_of(&hub)
        .await
        .create_stream(origin)
        .await
        .unwrap();
    let config = mirror("LATTICEDATA_default", Some("hub"));
    jetstream_of(&leaf)
        .await
        .create_stream(config)
        .await
        .unwrap();
    let url = url(&leaf);
    let world = World::start_on(leaf, |_| {}).await;
    world.set_lattice(LATTICE, &url).await;
    let lattice = Operated::in_world_without_bucket(world, &[(G2b, &[])]).await;
    (hub, lattice)
}

#[tokio::test]
async fn a_mirror_of_another_domain_is_written_where_it_comes_from() {
    let (mut hub, lattice) = on_a_leaf("", NatsServer::url).await;
    accepted(lattice.advertise_link().await);
    let mut origin = jetstream_of(&hub).await.get_stream(BUCKET).await.unwrap();
    assert_eq!(origin.info().await.unwrap().state.messages, 1);
    come_to_be(&lattice, &[link()]).await;
    accepted(lattice.remove_link().await);
    come_to_be(&lattice, &[]).await;
    // The same lattice is reached from the hub.
    let request = SetLatticeCredentialsRequest {
        lattice_id: LATTICE.into(),
        nats_url: Some(hub.url()),
        js_domain: Some("leaf".into()),
        ..Default::default()
    };
    let client = lattice.client();
    accepted(client.set_lattice_credentials(&ctx(), &request).await);
    accepted(lattice.advertise_link().await);
    come_to_be(&lattice, &[link()]).await;
    // This is what is said where the hub cannot be reached.
    let url = lattice.world.nats.url();
    lattice.world.set_lattice(LATTICE, &url).await;
    hub.kill();
    eventually("the leaf to be alone", || async {
        let leaf = &lattice.world.nats;
        (leaf.monitoring("/leafz")["leafnodes"].as_u64() == Some(0)).then_some(())
    })
    .await;
    let reason = "mirrors KV_LATTICEDATA_default of $JS.hub.API cannot be written now";
    refused(lattice.advertise_link().await, reason);
    refused(lattice.remove_link().await, reason);
    assert_eq!(lattice.links().await.unwrap(), [link()]);
}

#[tokio::test]
async fn a_mirror_whose_origin_may_not_be_written_is_said_as_such() {
    let leaf = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: { publish: { deny: "$JS.hub.>" } } }
        ] }"#;
    let url = |leaf: &NatsServer| format!("nats://lattice:pw@{}", leaf.address());
    let (_hub, lattice) = on_a_leaf(leaf, url).await;
    let reason = "may not publish to $JS.hub.API.$KV.LATTICEDATA_default.LINKDEF_";
    refused(lattice.advertise_link().await, reason);
    refused(lattice.remove_link().await, reason);
}

#[tokio::test]
async fn a_mirror_beside_its_origin_is_written_there_and_read_under_its_names() {
    let lattice = Operated::without_bucket(&[(G2b, &[])]).await;
    let jetstream = jetstream_of(&lattice.world.nats).await;
    jetstream.create_stream(bucket("FLEET")).await.unwrap();
    jetstream
        .create_stream(mirror("FLEET", None))
        .await
        .unwrap();
    accepted(lattice.advertise_link().await);
    let mut origin = jetstream.get_stream("KV_FLEET").await.unwrap();
    assert_eq!(origin.info().await.unwrap().state.messages, 1);
    come_to_be(&lattice, &[link()]).await;
    accepted(lattice.remove_link().await);
    come_to_be(&lattice, &[]).await;
    jetstream.delete_stream("KV_FLEET").await.unwrap();
    let reason = "mirrors KV_FLEET cannot be written now";
    refused(lattice.advertise_link().await, reason);
}

/// Returns the message that nats-server writes from 2.11 on where a value has
/// expired or was removed.
async fn mark(nats: &NatsServer, subject: String, reason: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Marker-Reason", reason);
    let jetstream = jetstream_of(nats).await;
    let marked = jetstream.publish_with_headers(subject, headers, "".into());
    marked.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn links_that_the_server_marks_as_removed_are_gone() {
    for reason in ["MaxAge", "Remove", "Purge"] {
        let lattice = Operated::one(G2b).await;
        accepted(lattice.advertise_link().await);
        let key = support::host::lattice::link_key(&json!({ "actor_id": ACTOR,
            "contract_id": CONTRACT, "link_name": "default" }));
        let subject = format!("$KV.LATTICEDATA_default.{key}");
        mark(&lattice.world.nats, subject, reason).await;
        assert!(lattice.links().await.unwrap().is_empty());
        let log = lattice.world.provider.log();
        assert!(!log.contains("cannot be read"), "{reason}: {log}");
    }
}

#[tokio::test]
async fn credentials_that_the_server_marks_as_removed_are_let_go() {
    for reason in ["MaxAge", "Remove", "Purge"] {
        let world = World::start().await;
        let kept = world.provider.logged("credentials are kept in JetStream");
        kept.await;
        world.set_lattice("x", &world.nats.url()).await;
        assert!(world.hosts("x").await.is_ok());
        let bucket = lattice_controller::internals::credentials::vault::bucket::name(
            &world.identity.lattice,
        );
        let (provider, link) = (&world.identity.provider_key, &world.identity.link_name);
        let subject = format!("$KV.{bucket}.{provider}.{link}.x");
        mark(&world.nats, subject, reason).await;
        eventually("the credentials to be let go", || async {
            world.hosts("x").await.is_err().then_some(())
        })
        .await;
        let error = world.hosts("x").await.unwrap_err();
        assert!(error.contains("is unknown"), "{reason}: {error}");
        assert!(
            !world.provider.log().contains("cannot be opened"),
            "{reason}"
        );
    }
}

/// Returns the inboxes of connections whose name contains `name`: those that
/// end in `*` are for many answers, the others for one each while a caller
/// waits.
fn inboxes(nats: &NatsServer, name: &str) -> (usize, usize) {
    let all = nats.subscriptions(name).into_iter();
    let all: Vec<_> = all.filter(|one| one.starts_with("_INBOX.")).collect();
    let shared = all.iter().filter(|one| one.ends_with('*')).count();
    (shared, all.len() - shared)
}

/// async-nats keeps places for answers in a table, which exists once it has
/// subscribed for all answers together. Without that subscription nothing is
/// kept.
#[tokio::test]
async fn questions_that_jetstream_of_a_lattice_does_not_answer_leave_nothing_behind() {
    let nats = NatsServer::without_jetstream();
    let silent = nats.client().await;
    let _silent = support::respond(&silent, "$JS.API.>", Vec::new()).await;
    let world = World::start_on(nats, |_| {}).await;
    world.set_lattice(LATTICE, &world.nats.url()).await;
    let lattice = Operated::in_world_without_bucket(world, &[(G2b, &[])]).await;
    for _ in 0..3 {
        assert!(lattice.links().await.unwrap().is_empty());
        refused(lattice.advertise_link().await, "cannot be looked up");
    }
    let nats = &lattice.world.nats;
    // This inbox is the provider's own, which forgets a caller that no longer
    // waits.
    eventually("no inbox", || async {
        (inboxes(nats, "for lattices") == (1, 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn writes_that_are_not_confirmed_leave_nothing_behind() {
    let lattice = Operated::without_bucket(&[(G2b, &[])]).await;
    let nats = &lattice.world.nats;
    // Makes a stream that confirms no writes.
    let config = Config {
        no_ack: true,
        ..bucket("LATTICEDATA_default")
    };
    jetstream_of(nats)
        .await
        .create_stream(config)
        .await
        .unwrap();
    for _ in 0..2 {
        let error = lattice.advertise_link().await.unwrap_err().to_string();
        assert!(
            error.contains("did not confirm the write in time"),
            "{error}"
        );
        assert!(error.contains("it is unknown whether"), "{error}");
    }
    assert_eq!(lattice.links().await.unwrap(), [link()]);
    eventually("no inbox", || async {
        (inboxes(nats, "for lattices") == (1, 0)).then_some(())
    })
    .await;
}

/// Starts a provider whose own user may do everything except publish to this
/// subject.
async fn at_home_without(identity: Identity, refused: &str) -> World {
    let nats = NatsServer::with_config(&format!(
        "no_auth_user: home
        authorization {{ users = [
            {{ user: home, password: pw }}
            {{ user: provider, password: pw, permissions: {{ publish: {{ deny: [{refused}] }} }} }}
        ] }}"
    ));
    let url = format!("nats://provider:pw@{}", nats.address());
    let user = |data: &mut Value| data["lattice_rpc_url"] = url.into();
    let world = World::start_as(identity, nats, user).await;
    let kept = world.provider.logged("credentials are kept in JetStream");
    kept.await;
    world
}

/// Asserts that no inbox is left but the one for changes of credentials.
async fn nothing_is_left(world: &World) {
    let (provider, link) = (&world.identity.provider_key, &world.identity.link_name);
    let name = format!("lattice-controller {provider} {link}");
    eventually("no inbox but that of changes", || async {
        (inboxes(&world.nats, &name) == (0, 1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn questions_that_our_own_jetstream_does_not_answer_leave_nothing_behind() {
    let (nats, identity) = (NatsServer::start(), Identity::new());
    // A stream that confirms no writes.
    let config = Config {
        no_ack: true,
        ..bucket(&format!("LATTICECREDS_{}", identity.lattice))
    };
    let jetstream = jetstream_of(&nats).await;
    jetstream.create_stream(config).await.unwrap();
    let world = World::start_as(identity, nats, |_| {}).await;
    let kept = world.provider.logged("credentials are kept in JetStream");
    kept.await;
    for lattice in ["x", "y"] {
        let unanswered = world.try_set_lattice(lattice, &world.nats.url()).await;
        let error = unanswered.unwrap_err().to_string();
        assert!(error.contains("it is unknown whether"), "{error}");
    }
    nothing_is_left(&world).await;
}

#[tokio::test]
async fn what_our_own_server_refuses_is_said_at_once_and_leaves_nothing_behind() {
    let world = at_home_without(Identity::new(), r#""$JS.API.STREAM.MSG.GET.>", "$KV.>""#).await;
    let words = "our NATS server said";
    for _ in 0..2 {
        let error = world.hosts("y").await.unwrap_err();
        assert!(
            error.contains("store of credentials cannot be read") && error.contains(words),
            "{error}"
        );
    }
    let ack = world.try_set_lattice("x", &world.nats.url()).await.unwrap();
    assert!(!ack.accepted && ack.error.contains(words), "{}", ack.error);
    nothing_is_left(&world).await;
}

#[tokio::test]
async fn a_large_answer_that_cannot_be_stored_leaves_nothing_behind() {
    let identity = Identity::new();
    let refused = format!(r#""$JS.API.STREAM.INFO.OBJ_{}""#, identity.lattice);
    let world = at_home_without(identity, &refused).await;
    world.set_lattice(LATTICE, &world.nats.url()).await;
    let lattice = Operated::in_world(world, &[(G2b, &[])]).await;
    let values = json!({ "x": "y".repeat(100_000) });
    lattice.sim.put_links(12, &values).await;
    let error = lattice.links().await.unwrap_err().to_string();
    let words = r#"our NATS server said "Permissions Violation for Publish"#;
    assert!(error.contains(words), "{error}");
    nothing_is_left(&lattice.world).await;
}
