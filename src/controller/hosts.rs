//! GetHosts, GetHostInventory, StopHost.

use crate::contract::{
    ActorDescription, ActorInstance, GetHostInventoryRequest, Host, HostInventory, Hosts,
    ProviderDescription, StopHostCommand,
};
use crate::controller::execution::Execution;
use crate::error::Error;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::wire::{self, HostPing, Inventory};
use crate::name::HostId;

/// Most instances of one set of annotations that an inventory lists.
const MAX_LISTED: u32 = 1000;
/// Most bytes, about, that an inventory repeats: a host says numbers, and what it
/// says of an instance comes as often.
const MAX_REPEATED: usize = 16 * 1024 * 1024;

/// Every host that answers.
pub(super) async fn list(call: &Execution<'_>, lattice_id: &str) -> Result<Hosts, Error> {
    let lattice = call.connect(call.lattice_id(lattice_id)?).await?;
    let hosts = lattice.hosts().await?;
    Ok(hosts.into_iter().map(host).collect())
}

/// What runs on one host.
pub(super) async fn inventory(
    call: &Execution<'_>,
    arg: &GetHostInventoryRequest,
) -> Result<HostInventory, Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let id = HostId::parse(&arg.host_id)?;
    let lattice = call.connect(lattice).await?;
    let traits = lattice.traits_of(&id).await?;
    let inventory = lattice.inventory(&id).await?;
    Ok(described(&id, &traits, inventory))
}

/// Stops a host; `timeout` is seconds. TinyGo actors send 0 for none, and a host
/// would take it for no time at all.
pub(super) async fn stop(call: &Execution<'_>, arg: &StopHostCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let lattice = call.connect(lattice).await?;
    let seconds = arg.timeout.filter(|seconds| *seconds > 0);
    lattice.stop_host(&host, seconds).await
}

fn host(ping: HostPing) -> Host {
    Host {
        cluster_issuers: ping.cluster_issuers,
        ctl_host: ping.ctl_host,
        id: ping.id,
        js_domain: ping.js_domain.filter(|text| !text.is_empty()),
        labels: ping.labels,
        lattice_prefix: ping
            .lattice_prefix
            .filter(|text| !text.is_empty())
            .or(ping.lattice),
        prov_rpc_host: ping.prov_rpc_host,
        rpc_host: ping.rpc_host,
        uptime_human: ping.uptime_human,
        uptime_seconds: ping.uptime_seconds,
        version: ping.version,
    }
}

/// What a host says of itself, in the contract's words.
pub fn described(id: &HostId, traits: &Traits, inventory: Inventory) -> HostInventory {
    let actors = inventory.actors.into_iter();
    let mut room = MAX_REPEATED;
    HostInventory {
        actors: actors
            .map(|described| actor(traits, described, &mut room))
            .collect(),
        host_id: id.to_string(),
        labels: inventory.labels,
        providers: inventory.providers.into_iter().map(provider).collect(),
    }
}

fn actor(traits: &Traits, actor: wire::Actor, room: &mut usize) -> ActorDescription {
    ActorDescription {
        id: actor.id,
        image_ref: actor.image_ref.filter(|text| !text.is_empty()),
        instances: actor
            .instances
            .into_iter()
            .flat_map(|instance| instances(traits, instance, room))
            .collect(),
        name: actor.name.filter(|text| !text.is_empty()),
    }
}

/// Hosts from 0.79.1 on list one entry for each set of annotations, with the
/// most instances that may run: it is listed that many times, as other hosts
/// do. What runs without limit is listed once.
fn instances(
    traits: &Traits,
    instance: wire::ActorInstance,
    room: &mut usize,
) -> impl Iterator<Item = ActorInstance> + use<> {
    let generation = traits.generation;
    let count = match instance.maximum() {
        Some(count) if generation.counts_maximum() && count < generation.unbounded() => count,
        _ => 1,
    };
    let texts = instance.annotations.iter().flatten();
    let size = texts.fold(instance.instance_id.len() + 100, |size, (name, value)| {
        size + name.len() + value.len()
    });
    let repeated = (*room / size).min(count.clamp(1, MAX_LISTED) as usize - 1);
    *room -= repeated * size;
    (1..=repeated + usize::from(count > 0)).map(move |number| ActorInstance {
        annotations: instance.annotations.clone(),
        instance_id: match number {
            1 => instance.instance_id.clone(),
            _ => format!("{}#{number}", instance.instance_id),
        },
        revision: instance.revision,
    })
}

fn provider(provider: wire::Provider) -> ProviderDescription {
    ProviderDescription {
        annotations: provider.annotations,
        id: provider.id,
        image_ref: provider.image_ref.filter(|text| !text.is_empty()),
        link_name: provider.link_name,
        name: provider.name.filter(|text| !text.is_empty()),
        revision: provider.revision,
    }
}
