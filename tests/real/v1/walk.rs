//! All operations of the contract on a real host of 1.x. What such a host would do
//! otherwise than was asked is in [`crate::v1::refusals`].

use std::collections::HashMap;
use std::fmt::Debug;

use serde_json::{Value, json};
use tokio::time::Instant;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use crate::support::actor::Actor;
use crate::support::world::ctx;
use crate::v1::component;
use crate::v1::site::{LATTICE, Site1x};
use crate::walk::{Checked, accepted, shows};

/// How many checks there are.
pub const CHECKS: usize = 28;

/// The component that is walked with.
pub const NAME: &str = "walker";
/// The link name of the provider that is started.
const LINK: &str = "walk";

/// Makes all checks, and returns how many were right and what was wrong with the others.
pub async fn walk(site: &mut Site1x) -> (usize, Vec<String>) {
    let mut walk = Walk {
        client: site.callers[0].lattice(),
        id: site.id(NAME),
        site,
        right: 0,
        wrong: Vec::new(),
    };
    walk.all().await;
    (walk.right, walk.wrong)
}

/// A walk under way.
pub struct Walk<'a> {
    pub client: LatticeControllerSender<Actor>,
    pub site: &'a mut Site1x,
    pub id: String,
    right: usize,
    wrong: Vec<String>,
}

impl Walk<'_> {
    async fn all(&mut self) {
        let checked = self.unknown().await;
        self.check("GetHosts of an unknown lattice", checked);
        let checked = self.credentials().await;
        self.check("SetLatticeCredentials", checked);
        let checked = self.hosts().await;
        self.check("GetHosts", checked);
        let checked = self.registries("oci").await;
        self.check("SetRegistryCredentials", checked);
        let checked = self.auctions(&[("hostcore.os", "linux")], 1).await;
        self.check("auctions with constraints that hold", checked);
        let checked = self.auctions(&[("hostcore.os", "plan9")], 0).await;
        self.check("auctions with constraints that do not hold", checked);
        let checked = self.start(2, 2).await;
        self.check("StartActor", checked);
        let checked = self.start(1, 3).await;
        self.check("StartActor again", checked);
        let checked = self.scale_actor().await;
        self.check("ScaleActor", checked);
        let checked = self.update_behind_a_scale().await;
        self.check("UpdateActor at once behind a scale", checked);
        let checked = self.update_that_fails().await;
        self.check("UpdateActor that fails", checked);
        let checked = self.stop_some().await;
        self.check("StopActor of some", checked);
        self.refusals().await;
        let checked = self.stop_all().await;
        self.check("StopActor of all", checked);
        let checked = self.start_provider().await;
        self.check("StartProvider with a configuration", checked);
        let checked = self.claims().await;
        self.check("GetClaims", checked);
        let checked = self.stop_provider().await;
        self.check("StopProvider", checked);
        let checked = self.stop_host().await;
        self.check("StopHost", checked);
    }

    pub fn check(&mut self, name: &str, checked: Checked) {
        match checked {
            Ok(()) => self.right += 1,
            Err(problem) => self.wrong.push(format!("{name}: {problem}")),
        }
    }

    pub fn host(&self) -> String {
        self.site.host.id.clone()
    }

    async fn unknown(&self) -> Checked {
        match self.client.get_hosts(&ctx(), LATTICE).await {
            Err(error) if error.to_string().contains("is unknown") => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn credentials(&self) -> Checked {
        let request = SetLatticeCredentialsRequest {
            lattice_id: LATTICE.into(),
            nats_url: Some(self.site.nats.url()),
            ..Default::default()
        };
        accepted(self.client.set_lattice_credentials(&ctx(), &request).await)
    }

    async fn hosts(&self) -> Checked {
        let hosts = self.client.get_hosts(&ctx(), LATTICE).await;
        let hosts = hosts.map_err(|error| error.to_string())?;
        let raw = self.site.tell("host.ping", &Value::Null).await;
        let raw = &raw["response"];
        let labels = |host: &Host| json!(host.labels.clone().unwrap_or_default());
        match hosts.as_slice() {
            [host]
                if host.id == self.host()
                    && host.version.as_deref() == raw["version"].as_str()
                    && host.lattice_prefix.as_deref() == Some(LATTICE)
                    && labels(host) == raw["labels"] =>
            {
                Ok(())
            }
            other => Err(format!("got {other:?}, and the host says {raw}")),
        }
    }

    /// Sets credentials of a registry of this kind.
    pub async fn registries(&self, kind: &str) -> Checked {
        let credential = RegistryCredential {
            username: Some("walker".into()),
            password: Some("nowhere".into()),
            registry_type: kind.into(),
            ..Default::default()
        };
        let request = SetRegistryCredentialsRequest {
            lattice_id: LATTICE.into(),
            credentials: Some(HashMap::from([("registry.invalid".into(), credential)])),
        };
        let set = self.client.set_registry_credentials(&ctx(), &request).await;
        set.map_err(|error| error.to_string())
    }

    async fn auctions(&self, constraints: &[(&str, &str)], bids: usize) -> Checked {
        let constraints = constraints.iter();
        let constraints: HashMap<String, String> = constraints
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let request = ActorAuctionRequest {
            lattice_id: LATTICE.into(),
            actor_ref: self.site.image(NAME, 1),
            constraints: constraints.clone(),
        };
        let of_actor = self.client.auction_actor(&ctx(), &request).await;
        let of_actor = of_actor.map_err(|error| error.to_string())?;
        let request = ProviderAuctionRequest {
            lattice_id: LATTICE.into(),
            provider_ref: self.site.idle(),
            link_name: LINK.into(),
            constraints,
        };
        let of_provider = self.client.auction_provider(&ctx(), &request).await;
        let of_provider = of_provider.map_err(|error| error.to_string())?;
        match (of_actor.len(), of_provider.len()) == (bids, bids) {
            true => Ok(()),
            false => Err(format!("got {of_actor:?} and {of_provider:?}")),
        }
    }

    /// Starts so many of a reference.
    pub async fn start_from(
        &self,
        reference: &str,
        count: u16,
        annotations: Option<HashMap<String, String>>,
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

    async fn start(&self, count: u16, then: u64) -> Checked {
        let image = self.site.image(NAME, 1);
        accepted(self.start_from(&image, count, noted()).await)?;
        self.runs(then, 1).await
    }

    /// Scales a component.
    pub async fn scale(&self, id: &str, revision: u32, count: u16) -> RpcResult<CtlOperationAck> {
        let command = ScaleActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: id.into(),
            actor_ref: self.site.image(NAME, revision),
            annotations: None,
            count,
        };
        self.client.scale_actor(&ctx(), &command).await
    }

    async fn scale_actor(&self) -> Checked {
        accepted(self.scale(&self.id, 1, 5).await)?;
        self.runs(5, 1).await
    }

    /// Has a component run another revision.
    pub async fn update(&self, id: &str, reference: &str) -> RpcResult<CtlOperationAck> {
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: id.into(),
            new_actor_ref: reference.into(),
            annotations: None,
        };
        self.client.update_actor(&ctx(), &command).await
    }

    async fn update_behind_a_scale(&self) -> Checked {
        accepted(self.scale(&self.id, 1, 4).await)?;
        let image = self.site.image(NAME, 2);
        accepted(self.update(&self.id, &image).await)?;
        self.runs(4, 2).await
    }

    async fn update_that_fails(&self) -> Checked {
        let image = self.site.missing_image(NAME, 404);
        refused(self.update(&self.id, &image).await, "was started from")?;
        self.runs(4, 2).await
    }

    /// Stops so many of a component.
    pub async fn stop(&self, id: &str, count: u16) -> RpcResult<CtlOperationAck> {
        let command = StopActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: id.into(),
            count,
            annotations: None,
        };
        self.client.stop_actor(&ctx(), &command).await
    }

    async fn stop_some(&self) -> Checked {
        accepted(self.stop(&self.id, 1).await)?;
        self.runs(3, 2).await
    }

    async fn stop_all(&self) -> Checked {
        accepted(self.stop(&self.id, 0).await)?;
        self.runs(0, 0).await?;
        refused(self.stop(&self.id, 0).await, "is not running there")
    }

    /// Checks that the host lists so many of the walk's component, with the annotations
    /// that it was started with, and that only this revision answers calls.
    pub async fn runs(&self, count: u64, revision: u32) -> Checked {
        shows(async || {
            let get = format!("host.get.{}", self.host());
            let raw = self.site.tell(&get, &Value::Null).await;
            let components = raw["response"]["components"].as_array();
            let mut components = components.into_iter().flatten();
            let ours = components.find(|component| component["id"] == self.id);
            let listed =
                ours.map(|ours| (ours["max_instances"].clone(), ours["annotations"].clone()));
            let expected = (count > 0).then(|| (json!(count), json!(noted())));
            let mut answers = Vec::new();
            for _ in 0..12 {
                answers.push(component::call(&self.site.control, LATTICE, &self.id).await);
                if count == 0 {
                    break;
                }
            }
            let should = (count > 0).then_some(revision);
            let right = answers.iter().all(|answer| *answer == should);
            let told = self.told().await?;
            match listed == expected && right && told == count as usize {
                true => Ok(()),
                false => Err(format!(
                    "{listed:?} instances, answers {answers:?}, told {told}"
                )),
            }
        })
        .await
    }

    /// Returns how many instances of the walk's component GetHostInventory has.
    async fn told(&self) -> Result<usize, String> {
        let inventory = self.inventory().await?;
        let mut actors = inventory.actors.iter();
        let ours = actors.find(|actor| actor.id == self.id);
        Ok(ours.map_or(0, |actor| actor.instances.len()))
    }

    async fn inventory(&self) -> Result<HostInventory, String> {
        let request = GetHostInventoryRequest {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
        };
        let inventory = self.client.get_host_inventory(&ctx(), &request).await;
        inventory.map_err(|error| error.to_string())
    }

    /// Starts the provider that does nothing.
    pub async fn start_idle(&self, configuration: &str) -> RpcResult<CtlOperationAck> {
        let command = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            provider_ref: self.site.idle(),
            link_name: LINK.into(),
            annotations: noted(),
            configuration: Some(configuration.into()),
        };
        self.client.start_provider(&ctx(), &command).await
    }

    async fn start_provider(&self) -> Checked {
        refused(self.start_idle("address=x").await, "JSON object of texts")?;
        accepted(self.start_idle(r#"{"address":"x","port":8080}"#).await)?;
        let id = self.provider(true).await?;
        let config = self.config(&id).await;
        if config != json!({ "address": "x", "port": "8080" }) {
            return Err(unexpected(config));
        }
        refused(self.start_idle("{}").await, "is already running there")
    }

    /// Returns the id of the walk's provider, once it runs or is gone.
    async fn provider(&self, should: bool) -> Result<String, String> {
        let found = std::cell::RefCell::new(String::new());
        shows(async || {
            let inventory = self.inventory().await?;
            let mut providers = inventory.providers.iter();
            let ours = providers.find(|provider| provider.link_name == LINK);
            if let Some(ours) = ours {
                found.borrow_mut().clone_from(&ours.id);
            }
            match ours.is_some() == should {
                true => Ok(()),
                false => Err(unexpected(inventory.providers)),
            }
        })
        .await?;
        Ok(found.into_inner())
    }

    /// Returns the named config of a provider, or null where there is none.
    async fn config(&self, id: &str) -> Value {
        let get = format!("config.get.{id}-{}", self.host());
        self.site.tell(&get, &Value::Null).await["response"].clone()
    }

    async fn claims(&self) -> Checked {
        shows(async || {
            let response = self.client.get_claims(&ctx(), LATTICE).await;
            let claims = response.map_err(|error| error.to_string())?.claims;
            let key = &self.site.idle_key;
            match claims.iter().any(|claims| claims.get("sub") == Some(key)) {
                true => Ok(()),
                false => Err(unexpected(claims)),
            }
        })
        .await
    }

    async fn stop_provider(&self) -> Checked {
        let id = self.provider(true).await?;
        let stop = |link_name: &str| {
            let command = StopProviderCommand {
                lattice_id: LATTICE.into(),
                host_id: self.host(),
                provider_id: id.clone(),
                link_name: link_name.into(),
                contract_id: "a:b".into(),
                annotations: None,
            };
            async move { self.client.stop_provider(&ctx(), &command).await }
        };
        refused(stop("default").await, "does not run there")?;
        accepted(stop(LINK).await)?;
        self.provider(false).await?;
        match self.config(&id).await {
            Value::Null => refused(stop(LINK).await, "does not run there"),
            left => Err(unexpected(left)),
        }
    }

    async fn stop_host(&mut self) -> Checked {
        let command = StopHostCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            timeout: Some(5),
        };
        let began = Instant::now();
        let ack = self.client.stop_host(&ctx(), &command).await;
        match self.site.host.ends().await {
            true => accepted(ack),
            false => Err(format!(
                "the host runs on after {:?}, {ack:?}",
                began.elapsed()
            )),
        }
    }
}

/// The annotations of what the walk starts.
pub fn noted() -> Option<HashMap<String, String>> {
    Some(HashMap::from([("managed-by".into(), "walk".into())]))
}

/// Checks that a command was refused for this reason.
///
/// # Errors
/// Where it was not.
pub fn refused(ack: RpcResult<CtlOperationAck>, reason: &str) -> Checked {
    match ack {
        Ok(ack) if !ack.accepted && ack.error.contains(reason) => Ok(()),
        other => Err(unexpected(other)),
    }
}

pub fn unexpected(got: impl Debug) -> String {
    format!("got {got:?}")
}
