//! All 17 operations of the contract on a real host of 0.x, in 20 checks.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wasmbus_rpc::core::LinkDefinition;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use crate::orders::run::Ground as _;
use crate::report::Walked;
use crate::site::{LATTICE, Site, Way};
use crate::support::actor::Actor;
use crate::support::time::scaled;
use crate::support::world::{ctx, set};

const CONTRACT: &str = "wasmcloud:latticecontrol";

/// The link name of the provider that the walk starts.
const LINK: &str = "walk";

/// How long an effect may take until it shows.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);

pub type Checked = Result<(), String>;

/// Makes all checks.
pub async fn walk(site: &mut Site) -> Walked {
    let key = site.new_actor();
    let mut walk = Walk {
        client: site.callers[0].lattice(),
        site,
        key,
        walked: Walked::default(),
    };
    walk.all().await;
    walk.walked
}

struct Walk<'a> {
    client: LatticeControllerSender<Actor>,
    site: &'a mut Site,
    key: String,
    walked: Walked,
}

impl Walk<'_> {
    async fn all(&mut self) {
        let checked = unknown(self.site).await;
        self.walked.take("GetHosts of an unknown lattice", checked);
        let checked = credentials(self.site).await;
        self.walked.take("SetLatticeCredentials", checked);
        let checked = self.hosts().await;
        self.walked.take("GetHosts", checked);
        let checked = registries(self.site).await;
        self.walked.take("SetRegistryCredentials", checked);
        let checked = self.auction_actor().await;
        self.walked.take("AuctionActor", checked);
        let checked = self.auction_provider().await;
        self.walked.take("AuctionProvider", checked);
        let checked = self.start_actor().await;
        self.walked.take("StartActor", checked);
        let checked = self.runs(2, 1).await;
        self.walked.take("GetHostInventory", checked);
        let checked = self.scale_actor().await;
        self.walked.take("ScaleActor", checked);
        let checked = self.update_actor().await;
        self.walked.take("UpdateActor", checked);
        let checked = self.start_provider().await;
        self.walked.take("StartProvider", checked);
        let checked = self.provider_runs(true).await;
        self.walked
            .take("GetHostInventory with the provider", checked);
        let checked = self.advertise_link().await;
        self.walked.take("AdvertiseLink", checked);
        let checked = self.linked(true).await;
        self.walked.take("GetLinks", checked);
        let checked = self.claims().await;
        self.walked.take("GetClaims", checked);
        let checked = self.remove_link().await;
        self.walked.take("RemoveLink", checked);
        let checked = self.stop_provider().await;
        self.walked.take("StopProvider", checked);
        let checked = self.stop_actor().await;
        self.walked.take("StopActor", checked);
        let checked = self.all_gone().await;
        self.walked
            .take("GetLinks and GetHostInventory, all gone", checked);
        let checked = self.stop_host().await;
        self.walked.take("StopHost", checked);
    }

    fn host(&self) -> String {
        self.site.host.id.clone()
    }

    async fn hosts(&self) -> Checked {
        let hosts = self.client.get_hosts(&ctx(), LATTICE).await;
        match hosts {
            Ok(hosts) if hosts.len() == 1 && hosts[0].id == self.host() => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn auction_actor(&self) -> Checked {
        let request = ActorAuctionRequest {
            lattice_id: LATTICE.into(),
            actor_ref: self.site.file(&self.key, 1),
            constraints: HashMap::new(),
        };
        match self.client.auction_actor(&ctx(), &request).await {
            Ok(bids) if bids.len() == 1 && bids[0].host_id == self.host() => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn auction_provider(&self) -> Checked {
        let request = ProviderAuctionRequest {
            lattice_id: LATTICE.into(),
            provider_ref: self.site.archive.reference.clone(),
            link_name: LINK.into(),
            constraints: HashMap::new(),
        };
        match self.client.auction_provider(&ctx(), &request).await {
            Ok(bids) if bids.len() == 1 && bids[0].host_id == self.host() => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn start_actor(&self) -> Checked {
        let command = StartActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_ref: self.site.file(&self.key, 1),
            annotations: noted(),
            count: 2,
        };
        accepted(self.client.start_actor(&ctx(), &command).await)
    }

    async fn scale_actor(&self) -> Checked {
        let command = ScaleActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: self.key.clone(),
            actor_ref: self.site.file(&self.key, 1),
            annotations: noted(),
            count: 3,
        };
        accepted(self.client.scale_actor(&ctx(), &command).await)?;
        self.runs(3, 1).await
    }

    async fn update_actor(&self) -> Checked {
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: self.key.clone(),
            new_actor_ref: self.site.file(&self.key, 2),
            annotations: noted(),
        };
        accepted(self.client.update_actor(&ctx(), &command).await)?;
        self.runs(3, 2).await
    }

    /// Checks that so many instances show, and that only this revision answers
    /// calls.
    async fn runs(&self, count: usize, revision: u32) -> Checked {
        shows(async || {
            let inventory = inventory(&self.client, &self.site.host.id).await?;
            let actors = inventory.actors.iter().filter(|actor| actor.id == self.key);
            let listed: usize = actors.map(|actor| actor.instances.len()).sum();
            let answers = self.site.answers(&self.key).await.unwrap_or_default();
            let should = (count > 0).then(|| format!("R{revision}"));
            match listed == count && answers.keys().eq(should.iter()) {
                true => Ok(()),
                false => Err(format!("{listed} instances, answers {answers:?}")),
            }
        })
        .await
    }

    async fn start_provider(&self) -> Checked {
        let command = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            provider_ref: self.site.archive.reference.clone(),
            link_name: LINK.into(),
            annotations: noted(),
            configuration: None,
        };
        accepted(self.client.start_provider(&ctx(), &command).await)
    }

    async fn provider_runs(&self, should: bool) -> Checked {
        shows(async || {
            let inventory = inventory(&self.client, &self.site.host.id).await?;
            let key = &self.site.archive.key;
            let mut providers = inventory.providers.iter();
            let runs = providers.any(|p| p.id == *key && p.link_name == LINK);
            match runs == should {
                true => Ok(()),
                false => Err(unexpected(inventory.providers)),
            }
        })
        .await
    }

    async fn advertise_link(&self) -> Checked {
        let mut link = LinkDefinition::default();
        link.actor_id = self.key.clone();
        link.provider_id = self.site.archive.key.clone();
        link.link_name = LINK.into();
        link.contract_id = CONTRACT.into();
        let request = AdvertiseLinkRequest {
            lattice_id: LATTICE.into(),
            link,
        };
        accepted(self.client.advertise_link(&ctx(), &request).await)
    }

    async fn linked(&self, should: bool) -> Checked {
        shows(async || {
            let list = self.client.get_links(&ctx(), LATTICE).await;
            let links = list.map_err(|error| error.to_string())?.links;
            match links.iter().any(|link| link.actor_id == self.key) == should {
                true => Ok(()),
                false => Err(unexpected(links)),
            }
        })
        .await
    }

    async fn claims(&self) -> Checked {
        shows(async || {
            let response = self.client.get_claims(&ctx(), LATTICE).await;
            let claims = response.map_err(|error| error.to_string())?.claims;
            let mut actor = claims.iter().filter(|c| c.get("sub") == Some(&self.key));
            match actor.next().and_then(|claims| claims.get("rev")) {
                Some(revision) if revision == "2" => Ok(()),
                _ => Err(unexpected(claims)),
            }
        })
        .await
    }

    async fn remove_link(&self) -> Checked {
        let request = RemoveLinkDefinitionRequest {
            lattice_id: LATTICE.into(),
            actor_id: self.key.clone(),
            contract_id: CONTRACT.into(),
            link_name: LINK.into(),
        };
        accepted(self.client.remove_link(&ctx(), &request).await)
    }

    async fn stop_provider(&self) -> Checked {
        let command = StopProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            provider_id: self.site.archive.key.clone(),
            link_name: LINK.into(),
            contract_id: CONTRACT.into(),
            annotations: None,
        };
        accepted(self.client.stop_provider(&ctx(), &command).await)
    }

    async fn stop_actor(&self) -> Checked {
        let command = StopActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            actor_id: self.key.clone(),
            count: 0,
            annotations: noted(),
        };
        accepted(self.client.stop_actor(&ctx(), &command).await)
    }

    async fn all_gone(&self) -> Checked {
        self.linked(false).await?;
        self.provider_runs(false).await?;
        self.runs(0, 0).await
    }

    async fn stop_host(&mut self) -> Checked {
        let command = StopHostCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            timeout: Some(5),
        };
        let ack = self.client.stop_host(&ctx(), &command).await;
        let ended = self.site.host.ends().await;
        match ack {
            _ if !ended => Err(format!("the host runs on, {ack:?}")),
            // A provider that the host kills with itself may not be able to
            // answer.
            Err(_) if self.site.way == Way::Archive => Ok(()),
            ack => accepted(ack),
        }
    }
}

/// Returns the annotations that a walk starts things with.
pub fn noted() -> Option<HashMap<String, String>> {
    Some(HashMap::from([("managed-by".into(), "walk".into())]))
}

/// Checks that a lattice without credentials is unknown.
pub async fn unknown(site: &Site) -> Checked {
    let client = site.callers[0].lattice();
    match client.get_hosts(&ctx(), LATTICE).await {
        Err(error) if error.to_string().contains("is unknown") => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// Sets the credentials of the lattice.
pub async fn credentials(site: &Site) -> Checked {
    accepted(set(&site.callers[0], LATTICE, &site.nats.url()).await)
}

/// Sets credentials of a registry that is nowhere.
pub async fn registries(site: &Site) -> Checked {
    let credential = RegistryCredential {
        username: Some("walker".into()),
        password: Some("nowhere".into()),
        registry_type: "oci".into(),
        ..Default::default()
    };
    // It has no acknowledgement: success is all that it tells.
    let set = set_registry(site, "registry.invalid", credential).await;
    set.map_err(|error| error.to_string())
}

/// Sets credentials of a registry.
pub async fn set_registry(
    site: &Site,
    registry: &str,
    credential: RegistryCredential,
) -> RpcResult<()> {
    let request = SetRegistryCredentialsRequest {
        lattice_id: LATTICE.into(),
        credentials: Some(HashMap::from([(registry.to_owned(), credential)])),
    };
    let client = site.callers[0].lattice();
    client.set_registry_credentials(&ctx(), &request).await
}

/// Asks the provider what runs on a host.
///
/// # Errors
/// Where it does not tell.
pub async fn inventory(
    client: &LatticeControllerSender<Actor>,
    host: &str,
) -> Result<HostInventory, String> {
    let request = GetHostInventoryRequest {
        lattice_id: LATTICE.into(),
        host_id: host.into(),
    };
    let inventory = client.get_host_inventory(&ctx(), &request).await;
    inventory.map_err(|error| error.to_string())
}

/// Checks that a command was accepted.
///
/// # Errors
/// Where it was refused or failed.
pub fn accepted(ack: RpcResult<CtlOperationAck>) -> Checked {
    match ack {
        Ok(ack) if ack.accepted => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// Says that something else was expected.
pub fn unexpected(got: impl Debug) -> String {
    format!("got {got:?}")
}

/// Checks that a command was not accepted, for this reason.
///
/// # Errors
/// Where it was accepted, or failed for another reason.
pub fn refused(ack: RpcResult<CtlOperationAck>, reason: &str) -> Checked {
    match ack {
        Ok(ack) if !ack.accepted && ack.error.contains(reason) => Ok(()),
        other => Err(format!(
            "not refused with {reason:?}: {}",
            unexpected(other)
        )),
    }
}

/// Repeats a check until it succeeds or the time is up.
///
/// # Errors
/// What was wrong at last.
pub async fn shows<T>(ask: impl AsyncFn() -> Result<T, String>) -> Result<T, String> {
    let until = Instant::now() + scaled(SHOWS_WITHIN);
    loop {
        match ask().await {
            Err(_) if Instant::now() < until => sleep(Duration::from_millis(50)).await,
            done => return done,
        }
    }
}
