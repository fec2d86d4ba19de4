//! What simulated hosts of 1.x do of each operation, for the README's table.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::host::Received;
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::operator::*;

use super::table::{AllSeen, Looks, note, took};

/// The ids under which actors and providers of the tests run, so that the operations that
/// name one by its key reach it.
pub fn ids() -> Value {
    json!({ "component_ids": {
        "wasmcloud.azurecr.io/kvcounter": ACTOR,
        "wasmcloud.azurecr.io/httpserver": PROVIDER,
    } })
}

/// One host in a lattice, and what was seen of it so far. What it does is as in `table`.
struct Watch {
    lattice: Operated,
    host: SimHostV1,
    looks: Looks,
}

/// Has a host of this version go through every operation.
pub async fn see(version: Version) -> AllSeen {
    let lattice = Operated::configured(&[], ids()).await;
    let host = SimHostV1::start(&lattice.sim, version, &[("zone", "eu")]).await;
    let mut watch = Watch {
        lattice,
        host,
        looks: Looks::default(),
    };
    watch.whole_lattice().await;
    watch.auctions().await;
    watch.components().await;
    watch.update().await;
    watch.providers().await;
    watch.stop_host().await;
    watch.looks.all
}

impl Watch {
    fn saw(&mut self, operation: &'static str, works: bool) -> Vec<Received> {
        let received = self.host.received();
        self.looks.saw(operation, works, received, &self.host.id)
    }

    fn note(&mut self, operation: &'static str, note: u8, is_so: bool) {
        self.looks.note(operation, note, is_so);
    }

    async fn whole_lattice(&mut self) {
        let url = self.lattice.world.nats.url();
        let set = self.lattice.world.try_set_lattice(LATTICE, &url).await;
        self.saw("SetLatticeCredentials", took(set));
        let hosts = self.lattice.get_hosts().await.unwrap();
        self.saw("GetHosts", hosts.len() == 1 && hosts[0].version.is_some());
        let claims = self.lattice.claims().await;
        self.saw("GetClaims", claims.is_ok());
        let advertised = took(self.lattice.advertise_link().await);
        self.saw("AdvertiseLink", advertised);
        let listed = self.lattice.links().await.is_ok();
        self.saw("GetLinks", listed);
        let removed = took(self.lattice.remove_link().await);
        self.saw("RemoveLink", removed);
        let set = self.lattice.set_registry("https://ghcr.io/org/x", "oci");
        let set = set.await.is_ok() && self.host.logs_in("ghcr.io");
        let told = self.saw("SetRegistryCredentials", set);
        let told = told.iter().find(|to| to.subject == "registry.put");
        let by_name = told.unwrap().json().get("ghcr.io").is_some();
        let note = note::COMPARES_REGISTRIES_BY_NAME;
        self.note("SetRegistryCredentials", note, by_name);
    }

    async fn auctions(&mut self) {
        let (met, unmet) = (&[("zone", "eu")], &[("zone", "us")]);
        let bids = self.lattice.auction_actor(met).await.unwrap();
        let none = self.lattice.auction_actor(unmet).await.unwrap();
        self.saw("AuctionActor", bids.len() == 1 && none.is_empty());
        let bids = self.lattice.auction_provider(met).await.unwrap();
        let none = self.lattice.auction_provider(unmet).await.unwrap();
        self.saw("AuctionProvider", bids.len() == 1 && none.is_empty());
    }

    /// Starts three without annotations, scales and stops some of them.
    async fn components(&mut self) {
        let id = self.host.id.clone();
        let first = took(self.lattice.start_actor(&id, 2, &none()).await);
        let second = took(self.lattice.start_actor(&id, 1, &none()).await);
        self.host.catches_up().await;
        let runs = self.host.instances(ACTOR) == 3;
        let told = self.saw("StartActor", first && second && runs);
        let other = took(
            self.lattice
                .start_actor(&id, 1, &map(&[("team", "shop")]))
                .await,
        );
        self.note("StartActor", note::KEEPS_ONE_SET, !other);
        let named = told
            .iter()
            .filter(|to| to.subject.starts_with("component.scale"));
        let named = named.map(|to| to.json()["component_id"] == ACTOR);
        self.note(
            "StartActor",
            note::HAS_AN_ID,
            named.into_iter().all(|is| is),
        );

        let listed = self.lattice.listed(&id).await;
        self.saw("GetHostInventory", listed == 3);
        let nats = self.lattice.world.nats.client().await;
        let subject = format!("wasmbus.ctl.v1.{LATTICE}.host.get.{id}");
        let raw = nats.request(subject, "".into()).await.unwrap();
        let raw: Value = serde_json::from_slice(&raw.payload).unwrap();
        let entries = raw["response"]["components"].as_array().unwrap().len();
        self.note("GetHostInventory", note::LISTS_A_MAXIMUM, entries < listed);

        let up = took(self.lattice.scale_actor(&id, 5, &none()).await);
        let down = took(self.lattice.scale_actor(&id, 2, &none()).await);
        self.host.catches_up().await;
        self.saw("ScaleActor", up && down && self.host.instances(ACTOR) == 2);
        let other = took(
            self.lattice
                .scale_actor(&id, 1, &map(&[("team", "shop")]))
                .await,
        );
        self.note("ScaleActor", note::KEEPS_ONE_SET, !other);
        let one = took(self.lattice.stop_actor(&id, 1, &none()).await);
        self.host.catches_up().await;
        self.saw("StopActor", one && self.host.instances(ACTOR) == 1);
        let other = took(
            self.lattice
                .stop_actor(&id, 0, &map(&[("team", "shop")]))
                .await,
        );
        self.note("StopActor", note::KEEPS_ONE_SET, !other);
    }

    async fn update(&mut self) {
        let updated = took(self.lattice.update_actor(&self.host.id, &none()).await);
        self.host.catches_up().await;
        let new = BTreeSet::from_iter(self.host.answers(ACTOR));
        let new = new == BTreeSet::from([NEW_ACTOR_REF.to_owned()]);
        let told = self.saw("UpdateActor", updated && new);
        let stopped = told
            .iter()
            .any(|to| to.subject.starts_with("component.scale"));
        self.note("UpdateActor", note::IS_STOPPED_AND_STARTED, stopped);
    }

    async fn providers(&mut self) {
        let id = self.host.id.clone();
        let started = took(self.lattice.start_provider(&id).await);
        self.host.catches_up().await;
        let runs = self.host.runs_provider(PROVIDER);
        let told = self.saw("StartProvider", started && runs);
        let start = told
            .iter()
            .find(|to| to.subject.starts_with("provider.start"));
        let start = start.unwrap().json();
        let named = start["provider_id"] == PROVIDER;
        self.note("StartProvider", note::HAS_AN_ID, named);
        let config = start["config"]
            .as_array()
            .is_some_and(|names| names.len() == 1);
        self.note("StartProvider", note::HAS_A_CONFIG, config);
        let stopped = took(self.lattice.stop_provider(&id, &none()).await);
        self.host.catches_up().await;
        self.saw(
            "StopProvider",
            stopped && !self.host.runs_provider(PROVIDER),
        );
    }

    async fn stop_host(&mut self) {
        let stopped = took(self.lattice.stop_host(&self.host.id, Some(30)).await);
        self.saw("StopHost", stopped && self.host.stopped());
        let heeded = self.host.ends_within() == Some(Duration::from_secs(30));
        self.note("StopHost", note::IGNORES_THE_TIMEOUT, !heeded);
    }
}
