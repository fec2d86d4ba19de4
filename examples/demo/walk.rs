//! The actor's steps, and the answers that it expects.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use wasmbus_rpc::common::Context;
use wasmbus_rpc::core::LinkDefinition;
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::*;

use super::support::actor::Actor;
use super::table::{pairs, print, short};

/// How long a host may take to start what it accepted.
const STARTED_WITHIN: Duration = Duration::from_secs(3);

pub const LATTICE: &str = "demo";
pub const ACTOR_REF: &str = "registry.example/shop:0.3.0";
pub const NEW_ACTOR_REF: &str = "registry.example/shop:0.4.0";
/// What a host of 1.x calls the shop: the provider derives it from the reference.
const SHOP_ID: &str = "registry_example_shop";
pub const PROVIDER_REF: &str = "registry.example/httpserver:0.17.0";
pub const CONTRACT: &str = "wasmcloud:httpserver";

/// A linked actor, and the keys that it walks with.
pub struct Walk {
    pub client: LatticeControllerSender<Actor>,
    pub url: String,
    pub actor_key: String,
    pub provider_key: String,
}

type Result<T> = std::result::Result<T, String>;

fn expect(ok: bool, problem: impl Into<String>) -> Result<()> {
    if ok { Ok(()) } else { Err(problem.into()) }
}

fn failed(error: RpcError) -> String {
    error.to_string()
}

fn accepted(ack: std::result::Result<CtlOperationAck, RpcError>) -> Result<()> {
    let ack = ack.map_err(failed)?;
    expect(ack.accepted, format!("not accepted: {}", ack.error))?;
    println!("accepted");
    Ok(())
}

fn annotations() -> Option<HashMap<String, String>> {
    Some(HashMap::from([("managed-by".into(), "demo".into())]))
}

impl Walk {
    /// Makes the whole walk, and returns the number of its steps.
    pub async fn all(&self) -> Result<usize> {
        let mut steps = Steps::default();
        steps.next("A lattice is unknown before its credentials are set (GetHosts)");
        self.unknown().await?;
        steps.next("SetLatticeCredentials: anonymous, on this nats-server");
        self.set_credentials().await?;
        steps.next("GetHosts");
        let hosts = self.hosts().await?;
        steps.next("AuctionActor: who would run the shop in Europe?");
        self.auction().await?;
        steps.next("StartActor: two shops on the first host");
        self.start_actor(&hosts[0]).await?;
        steps.next("StartProvider: an HTTP server beside them");
        self.start_provider(&hosts[0]).await?;
        steps.next("GetHostInventory");
        self.inventory(&hosts[0], 2).await?;
        steps.next("AdvertiseLink: the shop to the HTTP server");
        self.advertise_link().await?;
        steps.next("GetLinks");
        self.links(1).await?;
        steps.next("GetClaims");
        self.claims().await?;
        steps.next("StopActor and StopProvider");
        self.stop(&hosts[0]).await?;
        steps.next("RemoveLink");
        self.remove_link().await?;
        steps.next("GetLinks and GetHostInventory: all is gone");
        self.links(0).await?;
        self.inventory(&hosts[0], 0).await?;
        steps.next(
            "StartActor: a shop on the host of wasmCloud 1.x, which has ids in place of keys",
        );
        self.start_actor(&hosts[3]).await?;
        steps.next("ScaleActor: three of them");
        self.scale_actor(&hosts[3], 3).await?;
        steps.next("UpdateActor: the next revision");
        self.update_actor(&hosts[3]).await?;
        steps.next("GetHostInventory");
        self.component(&hosts[3], 3).await?;
        steps.next("StopActor");
        self.stop_actor(&hosts[3], SHOP_ID).await?;
        steps.next("StopHost: the last host");
        self.stop_host(&hosts[3]).await?;
        steps.done();
        Ok(steps.count)
    }

    async fn unknown(&self) -> Result<()> {
        match self.client.get_hosts(&Context::default(), LATTICE).await {
            Err(error) if error.to_string().contains("is unknown") => {
                println!("refused: {error}");
                Ok(())
            }
            other => Err(format!(
                "expected a refusal, got {:?}",
                other.map(|h| h.len())
            )),
        }
    }

    async fn set_credentials(&self) -> Result<()> {
        let request = SetLatticeCredentialsRequest {
            lattice_id: LATTICE.into(),
            nats_url: Some(self.url.clone()),
            ..Default::default()
        };
        let client = &self.client;
        accepted(
            client
                .set_lattice_credentials(&Context::default(), &request)
                .await,
        )
    }

    async fn hosts(&self) -> Result<Vec<String>> {
        let hosts = self.client.get_hosts(&Context::default(), LATTICE).await;
        let mut hosts = hosts.map_err(failed)?;
        hosts.sort_by_key(|host| (host.version.clone(), zone(host)));
        print(
            ["host", "version", "zone", "up", "control NATS"],
            hosts.iter().map(|host| {
                [
                    short(&host.id),
                    host.version.clone().unwrap_or_default(),
                    zone(host),
                    host.uptime_human.clone().unwrap_or_default(),
                    host.ctl_host.clone().unwrap_or_default(),
                ]
            }),
        );
        expect(hosts.len() == 4, format!("{} hosts, not 4", hosts.len()))?;
        Ok(hosts.into_iter().map(|host| host.id).collect())
    }

    async fn auction(&self) -> Result<()> {
        let request = ActorAuctionRequest {
            lattice_id: LATTICE.into(),
            actor_ref: ACTOR_REF.into(),
            constraints: HashMap::from([("zone".into(), "eu".into())]),
        };
        let bids = self
            .client
            .auction_actor(&Context::default(), &request)
            .await;
        let bids = bids.map_err(failed)?;
        print(
            ["bid of", "for"],
            bids.iter()
                .map(|bid| [short(&bid.host_id), bid.actor_ref.clone()]),
        );
        expect(bids.len() == 2, format!("{} bids, not 2", bids.len()))
    }

    async fn start_actor(&self, host: &str) -> Result<()> {
        let command = StartActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_ref: ACTOR_REF.into(),
            annotations: annotations(),
            count: 2,
        };
        accepted(self.client.start_actor(&Context::default(), &command).await)
    }

    async fn start_provider(&self, host: &str) -> Result<()> {
        let command = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            provider_ref: PROVIDER_REF.into(),
            link_name: "default".into(),
            annotations: annotations(),
            configuration: None,
        };
        accepted(
            self.client
                .start_provider(&Context::default(), &command)
                .await,
        )
    }

    /// Waits until so many instances of the shop run, with the HTTP server if
    /// there are any.
    async fn inventory(&self, host: &str, instances: usize) -> Result<()> {
        let request = GetHostInventoryRequest {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
        };
        let until = Instant::now() + STARTED_WITHIN;
        let inventory = loop {
            let asked = self
                .client
                .get_host_inventory(&Context::default(), &request)
                .await;
            let inventory = asked.map_err(failed)?;
            // Hosts accept a command first, and then start what it names.
            let actors = inventory.actors.iter();
            let listed: usize = actors.map(|actor| actor.instances.len()).sum();
            if listed == instances || Instant::now() > until {
                break inventory;
            }
            sleep(Duration::from_millis(10)).await;
        };
        let actors = inventory.actors.iter().flat_map(|actor| {
            actor.instances.iter().map(|instance| {
                let notes = instance.annotations.as_ref().map(pairs).unwrap_or_default();
                let name = actor.name.clone().unwrap_or_default();
                [
                    "actor".into(),
                    short(&actor.id),
                    name,
                    instance.revision.to_string(),
                    notes,
                ]
            })
        });
        let providers = inventory.providers.iter().map(|provider| {
            let notes = provider.annotations.as_ref().map(pairs).unwrap_or_default();
            let name = provider.name.clone().unwrap_or_default();
            [
                "provider".into(),
                short(&provider.id),
                name,
                provider.revision.to_string(),
                notes,
            ]
        });
        print(
            ["runs", "key", "name", "revision", "annotations"],
            actors.chain(providers),
        );
        let running: usize = inventory
            .actors
            .iter()
            .map(|actor| actor.instances.len())
            .sum();
        expect(
            running == instances,
            format!("{running} instances, not {instances}"),
        )?;
        let providers = inventory.providers.len();
        let expected = usize::from(instances > 0);
        expect(
            providers == expected,
            format!("{providers} providers, not {expected}"),
        )
    }

    async fn advertise_link(&self) -> Result<()> {
        let mut link = LinkDefinition::default();
        link.actor_id = self.actor_key.clone();
        link.provider_id = self.provider_key.clone();
        link.link_name = "default".into();
        link.contract_id = CONTRACT.into();
        link.values = HashMap::from([("address".into(), "0.0.0.0:8080".into())]);
        let request = AdvertiseLinkRequest {
            lattice_id: LATTICE.into(),
            link,
        };
        accepted(
            self.client
                .advertise_link(&Context::default(), &request)
                .await,
        )
    }

    async fn links(&self, count: usize) -> Result<()> {
        let list = self.client.get_links(&Context::default(), LATTICE).await;
        let links = list.map_err(failed)?.links;
        print(
            ["actor", "provider", "link name", "contract", "values"],
            links.iter().map(|link| {
                [
                    short(&link.actor_id),
                    short(&link.provider_id),
                    link.link_name.clone(),
                    link.contract_id.clone(),
                    pairs(&link.values),
                ]
            }),
        );
        expect(
            links.len() == count,
            format!("{} links, not {count}", links.len()),
        )
    }

    async fn claims(&self) -> Result<()> {
        let response = self.client.get_claims(&Context::default(), LATTICE).await;
        let mut claims = response.map_err(failed)?.claims;
        claims.sort_by_key(|claims| claims.get("name").cloned());
        let column = |claims: &HashMap<String, String>, name: &str| {
            claims.get(name).cloned().unwrap_or_default()
        };
        print(
            ["subject", "name", "version", "revision", "issuer"],
            claims.iter().map(|claims| {
                [
                    short(&column(claims, "sub")),
                    column(claims, "name"),
                    column(claims, "version"),
                    column(claims, "rev"),
                    short(&column(claims, "iss")),
                ]
            }),
        );
        expect(claims.len() == 2, format!("{} claims, not 2", claims.len()))
    }

    async fn scale_actor(&self, host: &str, count: u16) -> Result<()> {
        let command = ScaleActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_id: SHOP_ID.into(),
            actor_ref: ACTOR_REF.into(),
            annotations: annotations(),
            count,
        };
        accepted(self.client.scale_actor(&Context::default(), &command).await)
    }

    async fn update_actor(&self, host: &str) -> Result<()> {
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_id: SHOP_ID.into(),
            new_actor_ref: NEW_ACTOR_REF.into(),
            annotations: None,
        };
        accepted(
            self.client
                .update_actor(&Context::default(), &command)
                .await,
        )
    }

    /// Checks that so many of the shop's next revision may run on a host of 1.x.
    async fn component(&self, host: &str, count: usize) -> Result<()> {
        let request = GetHostInventoryRequest {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
        };
        let asked = self
            .client
            .get_host_inventory(&Context::default(), &request)
            .await;
        let actors = asked.map_err(failed)?.actors;
        print(
            ["id", "image", "revision", "may run"],
            actors.iter().map(|actor| {
                let revision = actor.instances.first().map(|first| first.revision);
                [
                    actor.id.clone(),
                    actor.image_ref.clone().unwrap_or_default(),
                    revision.unwrap_or_default().to_string(),
                    actor.instances.len().to_string(),
                ]
            }),
        );
        let is_it = |actor: &ActorDescription| {
            actor.id == SHOP_ID
                && actor.image_ref.as_deref() == Some(NEW_ACTOR_REF)
                && actor.instances.len() == count
        };
        expect(actors.len() == 1 && is_it(&actors[0]), "another inventory")
    }

    async fn stop_actor(&self, host: &str, id: &str) -> Result<()> {
        let command = StopActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_id: id.into(),
            count: 0,
            annotations: None,
        };
        accepted(self.client.stop_actor(&Context::default(), &command).await)
    }

    async fn stop(&self, host: &str) -> Result<()> {
        self.stop_actor(host, &self.actor_key).await?;
        let command = StopProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            provider_id: self.provider_key.clone(),
            link_name: "default".into(),
            contract_id: CONTRACT.into(),
            annotations: None,
        };
        accepted(
            self.client
                .stop_provider(&Context::default(), &command)
                .await,
        )
    }

    async fn remove_link(&self) -> Result<()> {
        let request = RemoveLinkDefinitionRequest {
            lattice_id: LATTICE.into(),
            actor_id: self.actor_key.clone(),
            contract_id: CONTRACT.into(),
            link_name: "default".into(),
        };
        accepted(self.client.remove_link(&Context::default(), &request).await)
    }

    async fn stop_host(&self, host: &str) -> Result<()> {
        let command = StopHostCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            timeout: Some(5),
        };
        accepted(self.client.stop_host(&Context::default(), &command).await)
    }
}

fn zone(host: &Host) -> String {
    let labels = host.labels.as_ref();
    labels
        .and_then(|labels| labels.get("zone").cloned())
        .unwrap_or_default()
}

/// Prints the steps with their numbers, and how long each took.
#[derive(Default)]
struct Steps {
    count: usize,
    started: Option<Instant>,
}

impl Steps {
    fn next(&mut self, title: &str) {
        self.done();
        self.count += 1;
        println!("\n{:2}. {title}", self.count);
        self.started = Some(Instant::now());
    }

    fn done(&mut self) {
        if let Some(started) = self.started.take() {
            println!("    ({} ms)", started.elapsed().as_millis());
        }
    }
}
