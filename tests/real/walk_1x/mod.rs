//! All operations of the contract on a real host of 1.x, and what the provider refuses
//! because such a host would do something else.
//!
//! - [`components`], [`providers`]: the operations on these
//! - [`others`]: what others do meanwhile
//! - [`lattice`]: the other operations

mod components;
mod lattice;
mod others;
mod providers;

use std::collections::HashMap;

use serde_json::Value;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use crate::modules::Module;
use crate::orders::run::Ground as _;
use crate::report::Walked;
use crate::site::{LATTICE, Site};
use crate::support::actor::Actor;
use crate::support::world::ctx;
use crate::walk::{credentials, inventory, unknown};

type Annotations = Option<HashMap<String, String>>;

/// Makes all checks.
pub async fn walk(site: &mut Site) -> Walked {
    let shop = site.new_actor();
    let mut walk = Walk {
        client: site.callers[0].lattice(),
        site,
        shop,
        walked: Walked::default(),
    };
    walk.before_anything_runs().await;
    walk.components().await;
    walk.beside_others().await;
    walk.providers().await;
    walk.in_the_end().await;
    walk.walked
}

struct Walk<'a> {
    client: LatticeControllerSender<Actor>,
    site: &'a mut Site,
    /// The id of the component that most checks are about.
    shop: String,
    walked: Walked,
}

impl Walk<'_> {
    async fn before_anything_runs(&mut self) {
        let checked = unknown(self.site).await;
        self.walked.take("GetHosts of an unknown lattice", checked);
        let checked = credentials(self.site).await;
        self.walked.take("SetLatticeCredentials", checked);
        let checked = self.hosts().await;
        self.walked.take("GetHosts", checked);
        let checked = self.nothing_runs().await;
        self.walked
            .take("GetHostInventory of an empty host", checked);
        let checked = self.auction_actor().await;
        self.walked.take("AuctionActor with constraints", checked);
        let checked = self.auction_provider().await;
        self.walked
            .take("AuctionProvider with constraints", checked);
        let checked = self.links_refused().await;
        self.walked
            .take("AdvertiseLink, GetLinks and RemoveLink, refused", checked);
    }

    async fn components(&mut self) {
        let checked = self.start().await;
        self.walked.take("StartActor", checked);
        let checked = self.start_again().await;
        self.walked.take("StartActor, again", checked);
        let checked = self.start_refused().await;
        self.walked.take("StartActor, refused", checked);
        let checked = self.starts_and_stops_at_once().await;
        self.walked
            .take("StartActor and StopActor, eight at once", checked);
        let checked = self.scale_and_update().await;
        self.walked
            .take("ScaleActor, and UpdateActor at once behind it", checked);
        let checked = self.scale_refused().await;
        self.walked.take("ScaleActor, refused", checked);
        let checked = self.update_that_fails().await;
        self.walked.take("UpdateActor that fails", checked);
        let checked = self.update_refused().await;
        self.walked.take("UpdateActor, refused", checked);
        let checked = self.stop_some().await;
        self.walked.take("StopActor of some", checked);
        let checked = self.stop_by_key().await;
        self.walked.take("StopActor by the public key", checked);
        let checked = self.stop_refused().await;
        self.walked.take("StopActor, refused", checked);
        let checked = self.start_that_fails().await;
        self.walked.take("StartActor that fails", checked);
        let checked = self.any_id().await;
        self.walked
            .take("ScaleActor of an id of the caller", checked);
        let checked = self.claims(&self.module().key(), "revision").await;
        self.walked.take("GetClaims of a component", checked);
    }

    async fn beside_others(&mut self) {
        let checked = self.managed_by_wadm().await;
        self.walked
            .take("Orders for what wadm manages, refused", checked);
        let checked = self.config_of_others().await;
        self.walked
            .take("Orders beside a config of nothing known, refused", checked);
        let checked = self.limits_of_others().await;
        self.walked
            .take("Orders for what others gave limits", checked);
        let checked = self.updated_by_others().await;
        self.walked
            .take("Orders for what others updated, refused", checked);
        let checked = self.silent_registry().await;
        self.walked.take("Orders while a host downloads", checked);
        let checked = self.registries().await;
        self.walked.take("SetRegistryCredentials", checked);
        let checked = self.registries_refused().await;
        self.walked.take("SetRegistryCredentials, refused", checked);
    }

    async fn providers(&mut self) {
        let checked = self.start_provider().await;
        self.walked
            .take("StartProvider with configuration", checked);
        let checked = self.start_provider_refused().await;
        self.walked.take("StartProvider, refused", checked);
        let checked = self.start_provider_that_fails().await;
        self.walked.take("StartProvider that fails", checked);
        let checked = self.claims(&self.site.archive.key, "stand-in").await;
        self.walked.take("GetClaims of a provider", checked);
        let checked = self.provider_at_once().await;
        self.walked.take(
            "StartProvider twice at once, and StopProvider behind it",
            checked,
        );
        let checked = self.bids_beside_provider().await;
        self.walked.take("AuctionProvider of what runs", checked);
        let checked = self.scale_beside_provider().await;
        self.walked
            .take("ScaleActor beside a config of a provider", checked);
        let checked = self.stop_provider_refused().await;
        self.walked.take("StopProvider, refused", checked);
        let checked = self.stop_provider().await;
        self.walked.take("StopProvider", checked);
    }

    async fn in_the_end(&mut self) {
        let checked = self.stop_all().await;
        self.walked.take("StopActor of all", checked);
        let checked = self.nothing_runs().await;
        self.walked.take("GetHostInventory, all gone", checked);
        let checked = self.stop_host().await;
        self.walked.take("StopHost", checked);
    }

    fn host(&self) -> String {
        self.site.host.id.clone()
    }

    fn module(&self) -> &Module {
        &self.site.modules[0]
    }

    async fn inventory(&self) -> Result<HostInventory, String> {
        inventory(&self.client, &self.site.host.id).await
    }

    /// Sends an order as somebody else would, which the host must take, and returns the
    /// response.
    async fn somebody(&self, rest: &str, body: &Value) -> Result<Value, String> {
        let subject = format!("wasmbus.ctl.v1.{LATTICE}.{rest}");
        let asked = self.site.control.request(subject, body.to_string().into());
        let reply = asked.await.map_err(|error| error.to_string())?.payload;
        let mut reply: Value = serde_json::from_slice(&reply).map_err(|error| error.to_string())?;
        match reply["success"] == true {
            true => Ok(reply["response"].take()),
            false => Err(format!("{rest}: {reply}")),
        }
    }

    async fn start_of(
        &self,
        reference: &str,
        count: u16,
        annotations: Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = StartActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_ref: reference.into(),
            annotations,
            count,
        };
        self.client.start_actor(&ctx(), &command).await
    }

    async fn scale_of(
        &self,
        id: &str,
        reference: &str,
        count: u16,
        annotations: Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = ScaleActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: id.into(),
            actor_ref: reference.into(),
            annotations,
            count,
        };
        self.client.scale_actor(&ctx(), &command).await
    }

    async fn update_of(
        &self,
        id: &str,
        reference: &str,
        annotations: Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: id.into(),
            new_actor_ref: reference.into(),
            annotations,
        };
        self.client.update_actor(&ctx(), &command).await
    }

    async fn stop_of(
        &self,
        id: &str,
        count: u16,
        annotations: Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = StopActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: id.into(),
            count,
            annotations,
        };
        self.client.stop_actor(&ctx(), &command).await
    }
}
