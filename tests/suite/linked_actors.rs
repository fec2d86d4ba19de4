//! Which actors may call, and what their links allow.

use crate::support;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::support::actor::Actor;
use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::host::lattice::{SimLattice, link_key};
use crate::support::nats::NatsServer;
use crate::support::operator::{Operated, refused};
use crate::support::provider::{Identity, Provider};
use crate::support::proxy::Proxy;
use crate::support::time::assert_under;
use crate::support::world::{World, ctx};
use serde_json::{Value, json};
use wasmcloud_interface_lattice_control::*;

/// Waits until calls of the actor are answered with this text.
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

/// Encodes a link definition as a list of its members in order.
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
        let told = match json {
            true => "link definition cannot be read",
            false => "link put",
        };
        world.provider.logged(told).await;
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
    answers(&world.actor, "default", "unknown setting \"bogus\"").await;
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
    assert_under(Duration::from_millis(1500), started.elapsed());
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
    // The answer is not "the call took longer than it may".
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
    refused(world.try_set_lattice("default", &url).await, "lattices");
}

/// The metadata bucket of the provider's own lattice.
struct Bucket(SimLattice, Identity);

impl Bucket {
    async fn new(nats: &NatsServer, identity: &Identity) -> Self {
        let lattice = SimLattice::with_bucket(nats.client().await, &identity.lattice).await;
        Self(lattice, identity.clone())
    }

    /// Writes a link as hosts do, after `change`.
    async fn put(&self, actor: &str, change: impl FnOnce(&mut Value)) {
        let mut link = self.1.link(actor, json!({}));
        let key = link_key(&link);
        change(&mut link);
        self.0.write(&key, link.to_string().as_bytes()).await;
    }

    async fn remove(&self, actor: &str, marker: &str) {
        let link = self.1.link(actor, json!({}));
        self.0.remove_link(&link, marker, true).await;
    }
}

/// A provider that reaches its NATS server through a proxy, and actors to link.
struct Away {
    world: World,
    proxy: Proxy,
    actors: Vec<Actor>,
}

impl Away {
    async fn with(actors: usize) -> Self {
        // The permissions that docs/permissions.md names for this, and none
        // beside them for JetStream.
        let identity = Identity::new();
        let lattice = &identity.lattice;
        let nats = NatsServer::with_config(&format!(
            r#"no_auth_user: home
            authorization {{ users = [
                {{ user: home, password: pw }}
                {{ user: provider, password: pw, permissions: {{ subscribe: ">", publish: [
                    "_INBOX.>"
                    "$JS.API.STREAM.INFO.KV_LATTICEDATA_{lattice}"
                    "$JS.API.STREAM.MSG.GET.KV_LATTICEDATA_{lattice}"
                ] }} }}
            ] }}"#,
        ));
        let proxy = Proxy::to(&nats.address()).await;
        let url = proxy.url().replace("nats://", "nats://provider:pw@");
        let provider = Provider::start(&identity.host_data(&url));
        let world = World::around(provider, identity, nats).await;
        world.set_lattice("default", &world.nats.url()).await;
        let mut linked = Vec::new();
        for _ in 0..actors {
            let key = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
            let cluster = &world.identity.cluster;
            let actor = Actor::connect_as(&world.nats.url(), &world.identity, &key, cluster).await;
            linked.push(actor);
        }
        Self {
            world,
            proxy,
            actors: linked,
        }
    }

    async fn link(&self, actor: usize) {
        let actor = self.actors[actor].public_key();
        self.world
            .publish_link("linkdefs.put", actor, json!({}))
            .await;
    }

    /// Waits until the provider has read the bucket's revision after so many
    /// puts.
    async fn known(&self, puts: usize) {
        let line = |line: &str| {
            line.contains("the state of the bucket with links is known")
                && line.contains(&format!("puts={puts} "))
        };
        let found = || async { self.world.provider.log().lines().any(line).then_some(()) };
        eventually("the bucket to be known", found).await;
    }

    /// Cuts the provider off from its NATS server while `then` runs, and waits
    /// until the provider has looked at the bucket after that.
    async fn while_away(&self, then: impl Future<Output = ()>) {
        let looked = || {
            self.world
                .provider
                .log()
                .matches("the state of the bucket with links")
                .count()
        };
        self.proxy.cut();
        self.proxy.freeze();
        self.world
            .provider
            .logged("disconnected from our lattice")
            .await;
        let before = looked();
        then.await;
        self.proxy.heal();
        eventually("a look at the bucket", || async {
            (looked() > before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_link_that_was_removed_while_nats_was_away_is_gone() {
    let away = Away::with(8).await;
    let bucket = Bucket::new(&away.world.nats, &away.world.identity).await;
    let key = |actor: usize| away.actors[actor].public_key();
    let (removed, purged, renewed, changed) = (0, 1, 2, 3);
    let (elsewhere, odd, never, marked) = (4, 5, 6, 7);
    for actor in [removed, purged, renewed, changed, elsewhere, odd] {
        bucket.put(key(actor), |_| {}).await;
        away.link(actor).await;
    }
    // Two actors are linked by hosts that keep no links in the bucket. The
    // bucket has nothing of the first, and an older removal of the second.
    away.link(never).await;
    bucket.put(key(marked), |_| {}).await;
    bucket.remove(key(marked), "DEL").await;
    away.link(marked).await;
    // One link comes from the host data.
    away.known(9).await;
    for actor in &away.actors {
        answers(actor, "default", "0 hosts").await;
    }
    away.while_away(async {
        bucket.remove(key(removed), "DEL").await;
        bucket.remove(key(purged), "PURGE").await;
        bucket.remove(key(renewed), "DEL").await;
        for actor in [renewed, changed] {
            bucket
                .put(key(actor), |link| {
                    link["values"] = json!({ "lattices": "other" })
                })
                .await;
        }
        bucket
            .put(key(elsewhere), |link| link["provider_id"] = "VOTHER".into())
            .await;
        bucket
            .put(key(odd), |link| *link = json!([link["actor_id"]]))
            .await;
    })
    .await;
    for (actor, text) in [
        (removed, "not linked"),
        (purged, "not linked"),
        (renewed, "does not allow"),
        (changed, "does not allow"),
        (elsewhere, "0 hosts"),
        (odd, "0 hosts"),
        (never, "0 hosts"),
        (marked, "0 hosts"),
    ] {
        answers(&away.actors[actor], "default", text).await;
    }
    answers(&away.world.actor, "default", "0 hosts").await;
}

#[tokio::test]
async fn a_bucket_that_is_gone_or_made_anew_removes_no_link() {
    let away = Away::with(1).await;
    let bucket = Bucket::new(&away.world.nats, &away.world.identity).await;
    let actor = &away.actors[0];
    bucket.put(actor.public_key(), |_| {}).await;
    away.link(0).await;
    away.known(2).await;
    let jetstream = async_nats::jetstream::new(away.world.nats.client().await);
    away.while_away(async {
        let name = format!("KV_LATTICEDATA_{}", away.world.identity.lattice);
        jetstream.delete_stream(name).await.unwrap();
        // The delete markers of another bucket, whose revision is beyond the
        // known one.
        let bucket = Bucket::new(&away.world.nats, &away.world.identity).await;
        for _ in 0..5 {
            bucket.remove(actor.public_key(), "DEL").await;
        }
    })
    .await;
    answers(actor, "default", "0 hosts").await;
}
