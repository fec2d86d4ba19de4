//! Reads the state of a lattice.

use std::collections::HashMap;

use wasmbus_rpc::common::{Context, Transport};
use wasmcloud_interface_lattice_control::{
    ActorAuctionRequest, GetHostInventoryRequest, HostInventory, LatticeController as _,
    LatticeControllerSender,
};

use crate::plan::{Auction, Runner, State, Unseen, Zone};
use crate::{Desired, Error};

/// The label of hosts that has their zone.
pub const ZONE: &str = "zone";

/// The annotation of our own instances, and its value.
pub const MANAGED_BY: (&str, &str) = ("managed-by", "autoscaler");

/// The first release of hosts that scale by annotations: 0.`MINOR`.
const MINOR: u32 = 78;

/// Reads the inventories of hosts in the named zones, and asks which hosts
/// would run more where too few run.
///
/// # Errors
/// `Hosts`, where the hosts cannot be listed. A host that fails is left out.
pub async fn look<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    desired: &Desired,
) -> Result<State, Error> {
    let hosts = client.get_hosts(ctx, &desired.lattice).await;
    let hosts = hosts.map_err(|source| Error::Hosts {
        lattice: desired.lattice.clone(),
        source,
    })?;
    let named = |labels: &HashMap<String, String>| {
        let zone = labels.get(ZONE)?;
        let (zone, _) = desired.zones.get_key_value(zone)?;
        Some(zone.clone())
    };
    let zones = desired.zones.keys();
    let mut state = State {
        zones: zones.map(|zone| (zone.clone(), Zone::default())).collect(),
        unseen: Vec::new(),
    };
    for host in hosts {
        let zone = host.labels.as_ref().map(&named);
        if let Some(None) = zone {
            continue;
        }
        let request = GetHostInventoryRequest {
            lattice_id: desired.lattice.clone(),
            host_id: host.id.clone(),
        };
        let inventory = match client.get_host_inventory(ctx, &request).await {
            Ok(inventory) => inventory,
            Err(error) => {
                state.unseen.push(Unseen {
                    host: host.id,
                    why: error.to_string(),
                });
                continue;
            }
        };
        // Up to 0.54, hosts show their labels in the inventory only.
        let zone = zone.unwrap_or_else(|| named(&inventory.labels));
        let Some(zone) = zone.and_then(|zone| state.zones.get_mut(&zone)) else {
            continue;
        };
        let by_annotations = scales_by_annotations(host.version.as_deref());
        let runner = Runner {
            instances: instances(&inventory, &desired.actor, by_annotations),
            by_annotations,
        };
        zone.runners.insert(host.id, runner);
    }
    for (name, zone) in &mut state.zones {
        let wanted = desired.zones.get(name).copied().unwrap_or_default();
        if zone.running() < u32::from(wanted) && !zone.runners.is_empty() {
            zone.auction = auction(client, ctx, desired, name).await;
        }
    }
    Ok(state)
}

/// Asks which hosts of a zone would run the actor.
async fn auction<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    desired: &Desired,
    zone: &str,
) -> Auction {
    let request = ActorAuctionRequest {
        lattice_id: desired.lattice.clone(),
        actor_ref: desired.image_ref.clone(),
        constraints: HashMap::from([(ZONE.to_owned(), zone.to_owned())]),
    };
    match client.auction_actor(ctx, &request).await {
        Ok(bids) => Auction::Bids(bids.into_iter().map(|bid| bid.host_id).collect()),
        Err(error) => Auction::Failed(error.to_string()),
    }
}

/// Returns whether a host of this version can scale the instances with certain
/// annotations, and not only all of an actor. Up to 0.54, hosts tell no
/// version.
fn scales_by_annotations(version: Option<&str>) -> bool {
    let mut numbers = version.unwrap_or_default().split('.');
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    match (number(), number()) {
        (Some(0), Some(minor)) => minor >= MINOR,
        (Some(_), _) => true,
        (None, _) => false,
    }
}

/// Returns how many instances of an actor count: ours, or all.
fn instances(inventory: &HostInventory, actor: &str, only_ours: bool) -> u16 {
    let (name, value) = MANAGED_BY;
    let is_ours = |annotations: &Option<HashMap<String, String>>| {
        let annotation = annotations.as_ref().and_then(|all| all.get(name));
        annotation.is_some_and(|found| found == value)
    };
    let actors = inventory.actors.iter().filter(|found| found.id == actor);
    let count = actors
        .flat_map(|actor| &actor.instances)
        .filter(|instance| !only_ours || is_ours(&instance.annotations))
        .count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_from_0_78_on_scale_by_annotations() {
        for version in ["0.78.0", "0.82.0", "0.79.0-rc1", "1.0.0"] {
            assert!(scales_by_annotations(Some(version)), "{version}");
        }
        for version in [None, Some("0.63.2"), Some("0.55.1"), Some(""), Some("x.y")] {
            assert!(!scales_by_annotations(version), "{version:?}");
        }
    }
}
