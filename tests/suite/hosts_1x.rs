//! Operations on hosts of wasmCloud 1.x, and on lattices that have hosts of both kinds.

use crate::support::host::{Generation, SimHost};
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::world::{World, ctx};
use serde_json::{Value, json};
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

/// The id that is derived of the fixtures' actor, and of their provider.
pub const SHOP: &str = "wasmcloud_azurecr_io_kvcounter";
pub const HTTP: &str = "wasmcloud_azurecr_io_httpserver";

/// A lattice of 1.x hosts and a provider that controls it.
pub struct Lattice {
    pub hosts: Vec<SimHostV1>,
    pub of_0x: Operated,
}

impl Lattice {
    pub async fn of(versions: &[Version], others: &[Generation], settings: Value) -> Self {
        let world = World::start_on(NatsServer::start(), |data| {
            data["config_json"] = settings.to_string().into();
        })
        .await;
        let others: Vec<(Generation, &[(&str, &str)])> = others
            .iter()
            .map(|one| (*one, &[("kind", "0.x")][..]))
            .collect();
        let of_0x = Operated::in_world(world, &others).await;
        let mut hosts = Vec::new();
        for version in versions {
            hosts.push(SimHostV1::start(&of_0x.sim, *version, &[("kind", "1.x")]).await);
        }
        let url = of_0x.world.nats.url();
        of_0x.world.set_lattice(LATTICE, &url).await;
        Self { hosts, of_0x }
    }

    pub async fn one(version: Version) -> Self {
        Self::of(&[version], &[], json!({})).await
    }

    pub fn host(&self) -> &SimHostV1 {
        &self.hosts[0]
    }

    pub async fn start(&self, count: u16, annotations: &Annotations) -> RpcResult<CtlOperationAck> {
        self.of_0x
            .start_actor(&self.host().id, count, annotations)
            .await
    }

    pub async fn scale(&self, id: &str, count: u16) -> RpcResult<CtlOperationAck> {
        let host = &self.host().id;
        self.of_0x
            .scale_from(host, id, ACTOR_REF, count, &none())
            .await
    }

    pub async fn stop(&self, id: &str, count: u16) -> RpcResult<CtlOperationAck> {
        let command = StopActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host().id.clone(),
            actor_id: id.into(),
            annotations: None,
            count,
        };
        self.of_0x.client().stop_actor(&ctx(), &command).await
    }

    pub async fn update(&self, id: &str, reference: &str) -> RpcResult<CtlOperationAck> {
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host().id.clone(),
            actor_id: id.into(),
            new_actor_ref: reference.into(),
            annotations: None,
        };
        self.of_0x.client().update_actor(&ctx(), &command).await
    }

    pub async fn start_provider(
        &self,
        link_name: &str,
        config: &str,
    ) -> RpcResult<CtlOperationAck> {
        let command = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host().id.clone(),
            provider_ref: PROVIDER_REF.into(),
            link_name: link_name.into(),
            annotations: None,
            configuration: Some(config.into()),
        };
        self.of_0x.client().start_provider(&ctx(), &command).await
    }

    pub async fn stop_provider(&self, id: &str, link_name: &str) -> RpcResult<CtlOperationAck> {
        let command = StopProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host().id.clone(),
            provider_id: id.into(),
            link_name: link_name.into(),
            contract_id: CONTRACT.into(),
            annotations: None,
        };
        self.of_0x.client().stop_provider(&ctx(), &command).await
    }

    /// Waits until the host has done what it took.
    pub async fn caught_up(&self) {
        self.host().catches_up().await;
        assert_eq!(self.host().harm(), None);
    }
}

#[tokio::test]
async fn hosts_of_1x_are_listed_with_what_runs_there() {
    for version in Version::ALL {
        let lattice = Lattice::one(version).await;
        let hosts = lattice.of_0x.get_hosts().await.unwrap();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0].id, lattice.host().id);
        assert_eq!(hosts[0].lattice_prefix.as_deref(), Some(LATTICE));
        accepted(lattice.start(2, &map(&[("a", "b")])).await);
        accepted(
            lattice
                .start_provider("default", r#"{"address":"0.0.0.0"}"#)
                .await,
        );
        lattice.caught_up().await;
        let inventory = lattice.of_0x.inventory(&lattice.host().id).await.unwrap();
        assert_eq!(inventory.actors.len(), 1);
        let actor = &inventory.actors[0];
        assert_eq!(actor.id, SHOP);
        assert_eq!(actor.image_ref.as_deref(), Some(ACTOR_REF));
        assert_eq!(actor.instances.len(), 2);
        assert_ne!(
            actor.instances[0].instance_id,
            actor.instances[1].instance_id
        );
        assert_eq!(actor.instances[0].annotations, Some(map(&[("a", "b")])));
        assert_eq!(inventory.providers.len(), 1);
        assert_eq!(inventory.providers[0].id, HTTP);
        assert_eq!(inventory.providers[0].link_name, "default");
    }
}

#[tokio::test]
async fn auctions_reach_hosts_of_both_kinds() {
    let lattice = Lattice::of(
        &[Version::V192, Version::V100],
        &[Generation::G1b, Generation::G3b],
        json!({}),
    )
    .await;
    let of_1x: Vec<String> = lattice.hosts.iter().map(|host| host.id.clone()).collect();
    let of_0x: Vec<String> = lattice
        .of_0x
        .hosts
        .iter()
        .map(|host| host.id.clone())
        .collect();
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let both = || sorted([of_1x.clone(), of_0x.clone()].concat());
    assert_eq!(lattice.of_0x.get_hosts().await.unwrap().len(), 4);
    for _ in 0..2 {
        assert_eq!(lattice.of_0x.auction_actor(&[]).await.unwrap(), both());
        let bids = lattice.of_0x.auction_actor(&[("kind", "1.x")]).await;
        assert_eq!(bids.unwrap(), sorted(of_1x.clone()));
        let bids = lattice.of_0x.auction_provider(&[("kind", "0.x")]).await;
        assert_eq!(bids.unwrap(), sorted(of_0x.clone()));
        assert_eq!(lattice.of_0x.auction_provider(&[]).await.unwrap(), both());
    }
    accepted(lattice.start_provider("default", "{}").await);
    lattice.caught_up().await;
    let without = sorted([vec![of_1x[1].clone()], of_0x.clone()].concat());
    assert_eq!(lattice.of_0x.auction_provider(&[]).await.unwrap(), without);
}

#[tokio::test]
async fn a_component_is_started_again_scaled_and_stopped() {
    for version in Version::ALL {
        let lattice = Lattice::one(version).await;
        let host = lattice.host();
        accepted(lattice.start(2, &none()).await);
        accepted(lattice.start(3, &none()).await);
        lattice.caught_up().await;
        assert_eq!(host.instances(SHOP), 5, "{version:?}");
        accepted(lattice.scale(SHOP, 7).await);
        lattice.caught_up().await;
        assert_eq!(host.instances(SHOP), 7);
        accepted(lattice.stop(SHOP, 3).await);
        lattice.caught_up().await;
        assert_eq!(host.instances(SHOP), 4);
        accepted(lattice.stop(SHOP, 0).await);
        lattice.caught_up().await;
        assert_eq!(host.instances(SHOP), 0);
        refused(lattice.stop(SHOP, 1).await, "is not running there");
        // An id of the caller's own, and a key as such.
        for id in ["shop", ACTOR] {
            accepted(lattice.scale(id, 1).await);
            lattice.caught_up().await;
            assert_eq!(host.instances(id), 1);
            accepted(lattice.scale(id, 0).await);
            lattice.caught_up().await;
        }
        refused(
            lattice.scale("not an id", 1).await,
            "component or provider id",
        );
    }
}

#[tokio::test]
async fn an_update_runs_the_new_code() {
    for version in Version::ALL {
        let lattice = Lattice::one(version).await;
        accepted(lattice.start(2, &map(&[("a", "b")])).await);
        lattice.caught_up().await;
        let before = lattice.host().answers(SHOP);
        assert_eq!(before, [ACTOR_REF; 1], "{version:?}");
        accepted(lattice.update(SHOP, NEW_ACTOR_REF).await);
        lattice.caught_up().await;
        assert_eq!(
            lattice.host().answers(SHOP),
            [NEW_ACTOR_REF; 1],
            "{version:?}"
        );
        assert_eq!(lattice.host().instances(SHOP), 2);
        assert!(
            lattice
                .host()
                .groups(SHOP)
                .contains_key(&map(&[("a", "b")]).into_iter().collect())
        );
    }
}

#[tokio::test]
async fn an_update_that_fails_starts_the_old_revision_again_and_says_so() {
    for version in [Version::V130, Version::V151, Version::V192] {
        let lattice = Lattice::one(version).await;
        accepted(lattice.start(2, &none()).await);
        lattice.caught_up().await;
        let gone = "wasmcloud.azurecr.io/kvcounter:9.9.9";
        let updated = lattice.update(SHOP, gone).await;
        refused(updated, "was started from");
        lattice.caught_up().await;
        assert_eq!(lattice.host().answers(SHOP), [ACTOR_REF; 1], "{version:?}");
    }
}

#[tokio::test]
async fn what_a_host_of_1x_would_do_otherwise_is_refused() {
    let lattice = Lattice::one(Version::V192).await;
    let host = lattice.host();
    accepted(lattice.start(2, &map(&[("a", "b")])).await);
    lattice.caught_up().await;
    let orders = host.received_on("component.").len();
    refused(lattice.start(1, &none()).await, "one set");
    let annotations = map(&[("a", "b")]);
    let other = lattice
        .of_0x
        .start_from(&host.id, NEW_ACTOR_REF, 1, &annotations);
    refused(other.await, "UpdateActor");
    let key = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    refused(
        lattice.stop(&key, 0).await,
        "by the id that they were started with",
    );
    refused(
        lattice.stop_provider(HTTP, "default").await,
        "does not run there",
    );
    assert_eq!(
        host.received_on("component.scale").len() + host.received_on("component.update").len(),
        orders
    );
}

#[tokio::test]
async fn an_order_that_fails_later_is_not_accepted() {
    let lattice = Lattice::one(Version::V192).await;
    let gone = "wasmcloud.azurecr.io/gone:1";
    let none = none();
    let started = lattice.of_0x.start_from(&lattice.host().id, gone, 1, &none);
    refused(started.await, "could not carry it out");
}

#[tokio::test]
async fn a_component_may_keep_its_configuration() {
    for (settings, is_scaled) in [
        (json!({}), false),
        (json!({ "configured_components": "scaled" }), true),
    ] {
        let lattice = Lattice::of(&[Version::V192], &[], settings).await;
        let nats = lattice.of_0x.world.nats.client().await;
        let put = nats.request(
            "wasmbus.ctl.v1.default.config.put.theirs",
            r#"{"a":"b"}"#.into(),
        );
        put.await.unwrap();
        accepted(lattice.start(1, &none()).await);
        lattice.caught_up().await;
        let again = lattice.start(1, &none()).await;
        match is_scaled {
            true => accepted(again),
            false => refused(again, "theirs"),
        }
        // What stops needs none.
        accepted(lattice.stop(SHOP, 0).await);
    }
}

#[tokio::test]
async fn a_provider_has_a_config_of_its_own_that_goes_with_it() {
    for version in Version::ALL {
        let lattice = Lattice::one(version).await;
        let host = lattice.host();
        accepted(
            lattice
                .start_provider("default", r#"{"address":"a","n":1}"#)
                .await,
        );
        accepted(lattice.start_provider("other", "{}").await);
        lattice.caught_up().await;
        let other = format!("{HTTP}-other");
        assert!(host.runs_provider(HTTP) && host.runs_provider(&other));
        let orders = host.received_on("provider.start");
        let body: Value = serde_json::from_slice(&orders[0].body).unwrap();
        assert_eq!(body["config"], json!([format!("{HTTP}-{}", host.id)]));
        refused(lattice.start_provider("default", "{}").await, HTTP);
        refused(
            lattice.start_provider("third", "no object").await,
            "JSON object of texts",
        );
        // Our own configs keep no component from being scaled.
        accepted(lattice.start(1, &none()).await);
        accepted(lattice.start(1, &none()).await);
        lattice.caught_up().await;
        refused(
            lattice.stop_provider(HTTP, "other").await,
            "does not run there",
        );
        accepted(lattice.stop_provider(HTTP, "default").await);
        accepted(lattice.stop_provider(&other, "other").await);
        lattice.caught_up().await;
        assert!(!host.runs_provider(HTTP) && !host.runs_provider(&other));
        let nats = lattice.of_0x.world.nats.client().await;
        let subject = format!("wasmbus.ctl.v1.default.config.get.{HTTP}-{}", host.id);
        let left = nats.request(subject, "".into()).await.unwrap();
        let left: Value = serde_json::from_slice(&left.payload).unwrap();
        assert!(left["response"].is_null(), "{left}");
    }
}

#[tokio::test]
async fn ids_are_those_of_the_setting_where_it_names_the_repository() {
    let settings = json!({ "component_ids": { "wasmcloud.azurecr.io/kvcounter": "counter" } });
    let lattice = Lattice::of(&[Version::V192], &[], settings).await;
    accepted(lattice.start(1, &none()).await);
    lattice.caught_up().await;
    assert_eq!(lattice.host().instances("counter"), 1);
}

#[tokio::test]
async fn a_host_of_1x_is_stopped_in_milliseconds() {
    let lattice = Lattice::one(Version::V192).await;
    accepted(lattice.of_0x.stop_host(&lattice.host().id, Some(3)).await);
    let order = &lattice.host().received_on("host.stop")[0];
    let body: Value = serde_json::from_slice(&order.body).unwrap();
    assert_eq!(body["timeout"], 3000);
}

#[tokio::test]
async fn a_login_that_may_ping_one_kind_only_works_for_that_kind() {
    for (denied, seen_0x) in [("wasmbus.ctl.v1.>", true), ("wasmbus.ctl.default.>", false)] {
        let config = format!(
            r#"no_auth_user: home
            authorization {{ users = [
                {{ user: home, password: pw }}
                {{ user: lattice, password: pw, permissions: {{ publish: {{ deny: "{denied}" }} }} }}
            ] }}"#
        );
        let world = World::start_on(NatsServer::with_config(&config), |_| {}).await;
        let of_0x = Operated::in_world(world, &[(Generation::G3b, &[])]).await;
        let of_1x = SimHostV1::start(&of_0x.sim, Version::V192, &[]).await;
        let url = format!("nats://lattice:pw@{}", of_0x.world.nats.address());
        of_0x.world.set_lattice(LATTICE, &url).await;
        let expected = match seen_0x {
            true => of_0x.hosts[0].id.clone(),
            false => of_1x.id.clone(),
        };
        for _ in 0..3 {
            let hosts = of_0x.get_hosts().await.unwrap();
            let ids: Vec<&str> = hosts.iter().map(|host| host.id.as_str()).collect();
            assert_eq!(ids, [&expected], "{denied}");
        }
        let log = of_0x.world.provider.log();
        assert_eq!(
            log.matches("may not ping hosts of wasmCloud").count(),
            1,
            "{denied}"
        );
        if seen_0x {
            continue;
        }
        // Whether hosts of 0.x are there, nobody can tell, also when that was said before.
        accepted(of_0x.stop_host(&of_1x.id, None).await);
        for _ in 0..2 {
            let error = of_0x.get_hosts().await.unwrap_err().to_string();
            assert!(
                error.contains("may not publish to wasmbus.ctl.default.ping"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn orders_go_to_each_host_in_its_own_words() {
    let lattice = Lattice::of(&[Version::V192], &[Generation::G2b], json!({})).await;
    let of_0x: &SimHost = &lattice.of_0x.hosts[0];
    accepted(lattice.start(1, &none()).await);
    accepted(lattice.of_0x.start_actor(&of_0x.id, 2, &none()).await);
    lattice.caught_up().await;
    Operated::comes_to_run(of_0x, 2).await;
    assert_eq!(lattice.host().instances(SHOP), 1);
    let login = lattice.of_0x.set_registry("ghcr.io", "oci");
    login.await.unwrap();
    assert!(lattice.host().logs_in("ghcr.io"));
}
