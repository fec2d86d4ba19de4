//! The lattice and the host.

use std::collections::HashMap;

use futures::StreamExt as _;
use serde_json::{Value, json};
use wasmbus_rpc::core::LinkDefinition;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use super::Walk;
use crate::modules::Module;
use crate::registry::{PASSWORD, USER};
use crate::site::LATTICE;
use crate::support::world::{ctx, hosts};
use crate::walk::{Checked, accepted, refused, set_registry, shows, unexpected};

impl Walk<'_> {
    pub async fn hosts(&self) -> Checked {
        let hosts = hosts(&self.site.callers[0], LATTICE).await;
        let says = self.somebody("host.ping", &Value::Null).await?;
        let is_it = |host: &Host| {
            host.id == self.host()
                && host.lattice_prefix.as_deref() == Some(LATTICE)
                && host.version.as_deref() == says["version"].as_str()
                && json!(host.labels) == says["labels"]
                && host.rpc_host.as_deref() == says["rpc_host"].as_str()
        };
        match &hosts {
            Ok(all) if all.len() == 1 && is_it(&all[0]) => Ok(()),
            other => Err(format!("{}, and the host says {says}", unexpected(other))),
        }
    }

    pub async fn nothing_runs(&self) -> Checked {
        let inventory = self.inventory().await?;
        let is_empty = inventory.actors.is_empty() && inventory.providers.is_empty();
        match is_empty && inventory.host_id == self.host() {
            true => Ok(()),
            false => Err(unexpected(inventory)),
        }
    }

    pub async fn auction_actor(&self) -> Checked {
        for (constraints, expected) in self.constraints() {
            let request = ActorAuctionRequest {
                lattice_id: LATTICE.into(),
                actor_ref: self.module().reference(1),
                constraints: constraints.clone(),
            };
            let held = self.client.auction_actor(&ctx(), &request).await;
            let bids = held.map(|bids| bids.into_iter().map(|bid| bid.host_id).collect());
            is_held(bids, &expected).map_err(|error| format!("{constraints:?}: {error}"))?;
        }
        Ok(())
    }

    pub async fn auction_provider(&self) -> Checked {
        for (constraints, expected) in self.constraints() {
            let request = ProviderAuctionRequest {
                lattice_id: LATTICE.into(),
                provider_ref: self.site.archive.reference.clone(),
                link_name: "walk".into(),
                constraints: constraints.clone(),
            };
            let held = self.client.auction_provider(&ctx(), &request).await;
            let bids = held.map(|bids| bids.into_iter().map(|bid| bid.host_id).collect());
            is_held(bids, &expected).map_err(|error| format!("{constraints:?}: {error}"))?;
        }
        Ok(())
    }

    /// Returns constraints, and which hosts they let bid.
    fn constraints(&self) -> Vec<(HashMap<String, String>, Vec<String>)> {
        let os = |name: &str| HashMap::from([("hostcore.os".to_owned(), name.to_owned())]);
        let both = HashMap::from([
            ("hostcore.os".to_owned(), std::env::consts::OS.to_owned()),
            ("zone".to_owned(), "a".to_owned()),
        ]);
        vec![
            (HashMap::new(), vec![self.host()]),
            (os(std::env::consts::OS), vec![self.host()]),
            (os("beos"), Vec::new()),
            (both, Vec::new()),
        ]
    }

    pub async fn links_refused(&self) -> Checked {
        let why = "does not control their links";
        match self.client.get_links(&ctx(), LATTICE).await {
            Err(error) if error.to_string().contains(why) => {}
            other => return Err(unexpected(other)),
        }
        let (actor_id, contract_id) = (self.module().key(), "wasmcloud:httpserver".to_owned());
        let request = RemoveLinkDefinitionRequest {
            lattice_id: LATTICE.into(),
            actor_id: actor_id.clone(),
            contract_id: contract_id.clone(),
            link_name: "default".into(),
        };
        refused(self.client.remove_link(&ctx(), &request).await, why)?;
        let mut link = LinkDefinition::default();
        link.actor_id = actor_id;
        link.provider_id = self.site.archive.key.clone();
        link.link_name = "default".into();
        link.contract_id = contract_id;
        let request = AdvertiseLinkRequest {
            lattice_id: LATTICE.into(),
            link,
        };
        refused(self.client.advertise_link(&ctx(), &request).await, why)
    }

    /// Checks that a key has claims with this name.
    pub async fn claims(&self, key: &str, name: &str) -> Checked {
        shows(async || {
            let response = self.client.get_claims(&ctx(), LATTICE).await;
            let claims = response.map_err(|error| error.to_string())?.claims;
            let has = |one: &HashMap<String, String>, member: &str, value: &str| {
                one.get(member).is_some_and(|found| found == value)
            };
            let mut of_key = claims.iter().filter(|one| has(one, "sub", key));
            match of_key.any(|one| has(one, "name", name)) {
                true => Ok(()),
                false => Err(unexpected(claims)),
            }
        })
        .await
    }

    /// What needs a login starts once the host has it.
    pub async fn registries(&self) -> Checked {
        let private = Module::component(self.site.registry.clone(), "private/shop");
        let started = self.start_of(&private.reference(1), 1, None).await;
        refused(started, "could not carry it out")?;
        self.give_login().await.map_err(|error| error.to_string())?;
        accepted(self.start_of(&private.reference(1), 1, None).await)?;
        shows(async || {
            let actors = self.inventory().await?.actors;
            match actors.iter().any(|actor| actor.id == private.id()) {
                true => Ok(()),
                false => Err(unexpected(actors)),
            }
        })
        .await?;
        accepted(self.stop_of(&private.id(), 0, None).await)
    }

    /// Gives the host the login for its registry.
    pub async fn give_login(&self) -> RpcResult<()> {
        let credential = RegistryCredential {
            username: Some(USER.into()),
            password: Some(PASSWORD.into()),
            registry_type: "oci".into(),
            ..Default::default()
        };
        set_registry(self.site, &self.site.registry.address, credential).await
    }

    pub async fn registries_refused(&self) -> Checked {
        let token = |kind: &str| RegistryCredential {
            token: Some("t".into()),
            registry_type: kind.into(),
            ..Default::default()
        };
        for (registry, kind, why) in [
            ("ghcr.io", "oci", "are a token, which no host uses"),
            (
                "b@https://bindle.example",
                "bindle",
                "know OCI registries only",
            ),
        ] {
            match set_registry(self.site, registry, token(kind)).await {
                Err(error) if error.to_string().contains(why) => {}
                other => return Err(format!("{kind}: {}", unexpected(other))),
            }
        }
        Ok(())
    }

    pub async fn stop_host(&mut self) -> Checked {
        let heard = self.site.control.subscribe("wasmbus.ctl.v1.*.host.stop.*");
        let mut heard = heard.await.map_err(|error| error.to_string())?;
        let flushed = self.site.control.flush().await;
        flushed.map_err(|error| error.to_string())?;
        let command = StopHostCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            timeout: Some(5),
        };
        accepted(self.client.stop_host(&ctx(), &command).await)?;
        let order = heard.next().await.ok_or("nothing was heard")?.payload;
        let order: Value = serde_json::from_slice(&order).map_err(|error| error.to_string())?;
        if order["timeout"] != 5000 {
            return Err(format!("the host was told {order}"));
        }
        match self.site.host.ends().await {
            true => Ok(()),
            false => Err("the host runs on".into()),
        }
    }
}

fn is_held(bids: RpcResult<Vec<String>>, expected: &[String]) -> Checked {
    match bids {
        Ok(hosts) if hosts == expected => Ok(()),
        other => Err(unexpected(other)),
    }
}
