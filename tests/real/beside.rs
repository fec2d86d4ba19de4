//! A lattice that has a real host of each kind: each is told in its own words, and what runs
//! on the other stays as it is.

use std::collections::HashMap;

use lattice_controller::internals::lattice::model::Protocol;
use serde_json::{Value, json};
use wasmbus_rpc::core::LinkDefinition;
use wasmcloud_interface_lattice_control::*;

use crate::host::{Binary, RealHost};
use crate::modules::Module;
use crate::orders::run::{Plan, run};
use crate::orders::tally::Tally;
use crate::report::Walked;
use crate::site::{LATTICE, Site, Way};
use crate::support::world::{ctx, set};
use crate::walk::{Checked, accepted, registries, shows, unexpected};

/// Orders a host about beside one of the other kind, and returns the checks of both, and
/// what came of the orders.
pub async fn beside(told: &Binary, other: &Binary, plan: &Plan) -> (Walked, Tally) {
    // The first bid of a host that has just started may be later than the default.
    let patient = json!({ "grace_ms": 500, "stall_ms": 500 });
    let mut site = Site::start_with(told, Way::Alone, &patient).await;
    let url = site.nats.url();
    let ack = set(&site.callers[0], LATTICE, &url).await.unwrap();
    assert!(ack.accepted, "{}", ack.error);
    let protocol = other.protocol;
    let other = RealHost::start(other, &site.another(), &site.control).await;
    let module = match protocol {
        Protocol::V0 => Module::actor(other.folder().into()),
        Protocol::V1 => Module::component(site.registry.clone(), "real/neighbour"),
    };
    let mut checks = Walked::default();
    checks.take("GetHosts", hosts(&site, 2).await);
    checks.take("auctions", auctions(&site, &module).await);
    checks.take("SetRegistryCredentials", registries(&site).await);
    checks.take("links", links(&site).await);
    let started = start(&site, &other, protocol, &module).await;
    checks.take("StartActor on the other host", started);
    let before = runs(&site, &other, protocol).await;
    let tally = run(&mut site, plan).await;
    let after = runs(&site, &other, protocol).await;
    let same = match before == after {
        true => Ok(()),
        false => Err(format!("{before} became {after}")),
    };
    checks.take("what runs on the other host", same);
    checks.take("GetClaims", claims(&site, &module).await);
    checks.take("StopHost", stop_host(&mut site).await);
    checks.take("GetHosts without it", hosts(&site, 1).await);
    (checks, tally)
}

async fn hosts(site: &Site, count: usize) -> Checked {
    let client = site.callers[0].lattice();
    shows(async || match client.get_hosts(&ctx(), LATTICE).await {
        Ok(hosts) if hosts.len() == count => Ok(()),
        other => Err(unexpected(other)),
    })
    .await
}

async fn auctions(site: &Site, module: &Module) -> Checked {
    let client = site.callers[0].lattice();
    let request = ActorAuctionRequest {
        lattice_id: LATTICE.into(),
        actor_ref: module.reference(1),
        constraints: HashMap::from([("hostcore.os".into(), "linux".into())]),
    };
    let of_actor = client.auction_actor(&ctx(), &request).await;
    let request = ProviderAuctionRequest {
        lattice_id: LATTICE.into(),
        provider_ref: site.archive.reference.clone(),
        link_name: "beside".into(),
        constraints: HashMap::new(),
    };
    let of_provider = client.auction_provider(&ctx(), &request).await;
    match (&of_actor, &of_provider) {
        (Ok(of_actor), Ok(of_provider)) if (of_actor.len(), of_provider.len()) == (2, 2) => Ok(()),
        _ => Err(format!("got {of_actor:?} and {of_provider:?}")),
    }
}

/// Links are those of the host of 0.x.
async fn links(site: &Site) -> Checked {
    let client = site.callers[0].lattice();
    let mut link = LinkDefinition::default();
    link.actor_id = Module::actor(site.host.folder().into()).key();
    link.provider_id = "VDHPKGFKDI34Y4RN4PWWZHRYZ6373HYRSNNEM4UTDLLOGO5B37TSVREP".into();
    link.link_name = "beside".into();
    link.contract_id = "wasmcloud:httpserver".into();
    let advertise = AdvertiseLinkRequest {
        lattice_id: LATTICE.into(),
        link: link.clone(),
    };
    accepted(client.advertise_link(&ctx(), &advertise).await)?;
    let listed = client.get_links(&ctx(), LATTICE).await;
    let listed = listed.map_err(|error| error.to_string())?.links;
    if !listed.iter().any(|one| one.actor_id == link.actor_id) {
        return Err(unexpected(listed));
    }
    let remove = RemoveLinkDefinitionRequest {
        lattice_id: LATTICE.into(),
        actor_id: link.actor_id,
        contract_id: link.contract_id,
        link_name: link.link_name,
    };
    accepted(client.remove_link(&ctx(), &remove).await)
}

async fn start(site: &Site, host: &RealHost, protocol: Protocol, module: &Module) -> Checked {
    let command = StartActorCommand {
        lattice_id: LATTICE.into(),
        host_id: host.id.clone(),
        actor_ref: module.reference(1),
        annotations: None,
        count: 2,
    };
    let client = site.callers[0].lattice();
    accepted(client.start_actor(&ctx(), &command).await)?;
    shows(async || {
        let runs = runs(site, host, protocol).await;
        match runs.to_string().contains(&module.id()) {
            true => Ok(()),
            false => Err(unexpected(runs)),
        }
    })
    .await
}

/// Returns what a host itself says that it runs.
async fn runs(site: &Site, host: &RealHost, protocol: Protocol) -> Value {
    let subject = match protocol {
        Protocol::V0 => format!("wasmbus.ctl.{LATTICE}.get.{}.inv", host.id),
        Protocol::V1 => format!("wasmbus.ctl.v1.{LATTICE}.host.get.{}", host.id),
    };
    let reply = site.control.request(subject, "".into()).await.unwrap();
    let said: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
    match protocol {
        Protocol::V0 => json!([said["actors"], said["providers"]]),
        Protocol::V1 => {
            let said = &said["response"];
            json!([said["components"], said["providers"]])
        }
    }
}

async fn claims(site: &Site, module: &Module) -> Checked {
    let client = site.callers[0].lattice();
    shows(async || {
        let response = client.get_claims(&ctx(), LATTICE).await;
        let claims = response.map_err(|error| error.to_string())?.claims;
        let of = |key: String| claims.iter().any(|claims| claims.get("sub") == Some(&key));
        match of(module.key()) && site.modules.iter().all(|module| of(module.key())) {
            true => Ok(()),
            false => Err(unexpected(claims)),
        }
    })
    .await
}

async fn stop_host(site: &mut Site) -> Checked {
    let command = StopHostCommand {
        lattice_id: LATTICE.into(),
        host_id: site.host.id.clone(),
        timeout: Some(5),
    };
    let ack = site.callers[0].lattice().stop_host(&ctx(), &command).await;
    match site.host.ends().await {
        true => accepted(ack),
        false => Err(format!("the host runs on, {ack:?}")),
    }
}
