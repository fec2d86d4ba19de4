//! GetHosts, GetHostInventory, StopHost.

use crate::connections::Held;
use crate::contract::{
    ActorDescription, ActorInstance, GetHostInventoryRequest, Host, HostInventory, Hosts,
    ProviderDescription, StopHostCommand,
};
use crate::controller::execution::Execution;
use crate::error::Error;
use crate::lattice::dialect::Dialect;
use crate::lattice::model::{self, Inventory};
use crate::name::HostId;

/// Most instances that an inventory lists of one annotation set.
const MAX_LISTED: u32 = 1000;
/// About how many bytes an inventory repeats at most: a host says how many instances there are,
/// and each is listed with all that the host says of it.
const MAX_REPEATED: usize = 16 * 1024 * 1024;

/// Lists the hosts of a lattice.
pub(super) async fn list(call: &Execution<'_>, lattice_id: &str) -> Result<Hosts, Error> {
    let lattice = call.connect(call.lattice_id(lattice_id)?).await?;
    let hosts = call.keep(lattice.hosts(lattice.deadline).await?);
    Ok(hosts.into_iter().map(host).collect())
}

/// Lists what runs on one host.
pub(super) async fn inventory(
    call: &Execution<'_>,
    arg: &GetHostInventoryRequest,
) -> Result<HostInventory, Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let id = HostId::parse(&arg.host_id)?;
    let lattice = call.connect(lattice).await?;
    let dialect = lattice.dialect_of(&id).await?;
    let inventory = lattice.inventory_in(dialect, &id, lattice.deadline).await?;
    let (inventory, mut room) = inventory.into_parts();
    let taken = room.take(repeated(&dialect, &inventory));
    taken.map_err(|full| lattice.no_room(&id, full))?;
    let inventory = call.keep(Held::new(inventory, room));
    Ok(described(&id, &dialect, inventory))
}

/// Stops a host. `timeout` is in seconds. TinyGo actors send 0 where they mean none, which a
/// host would take for no time at all.
pub(super) async fn stop(call: &Execution<'_>, arg: &StopHostCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let lattice = call.connect(lattice).await?;
    let seconds = arg.timeout.filter(|seconds| *seconds > 0);
    lattice.stop_host(&host, seconds).await
}

fn host(ping: model::Host) -> Host {
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

/// Turns the inventory of a host into that of the contract.
pub fn described(id: &HostId, dialect: &Dialect, inventory: Inventory) -> HostInventory {
    let actors = inventory.actors.into_iter();
    let mut room = MAX_REPEATED;
    HostInventory {
        actors: actors
            .map(|described| actor(id, dialect, described, &mut room))
            .collect(),
        host_id: id.to_string(),
        labels: inventory.labels,
        providers: inventory.providers.into_iter().map(provider).collect(),
    }
}

/// Returns how many bytes an inventory repeats.
fn repeated(dialect: &Dialect, inventory: &Inventory) -> usize {
    let instances = inventory.actors.iter().flat_map(|actor| &actor.instances);
    let bytes = instances.map(|instance| {
        let (size, count) = (size_of(instance), dialect.instances_of(instance));
        size.saturating_mul(count.clamp(1, MAX_LISTED) as usize - 1)
    });
    bytes.fold(0, usize::saturating_add).min(MAX_REPEATED)
}

/// Returns about how many bytes an entry of an inventory takes.
fn size_of(instance: &model::ActorInstance) -> usize {
    let texts = instance.annotations.iter().flatten();
    texts.fold(instance.instance_id.len() + 100, |size, (name, value)| {
        size + name.len() + value.len()
    })
}

fn actor(
    host: &HostId,
    dialect: &Dialect,
    actor: model::Actor,
    room: &mut usize,
) -> ActorDescription {
    let mut listed = Vec::with_capacity(actor.instances.len());
    for entry in &actor.instances {
        instances(host, dialect, &actor.id, entry, room, &mut listed);
    }
    ActorDescription {
        id: actor.id,
        image_ref: actor.image_ref.filter(|text| !text.is_empty()),
        instances: listed,
        name: actor.name.filter(|text| !text.is_empty()),
    }
}

/// Turns an entry of an inventory into instances. Some hosts list one entry for each
/// annotation set, with the most instances that may run: the contract's inventory has it that
/// many times, as that of other hosts has.
fn instances(
    host: &HostId,
    dialect: &Dialect,
    actor: &str,
    entry: &model::ActorInstance,
    room: &mut usize,
    listed: &mut Vec<ActorInstance>,
) {
    let (count, size) = (dialect.instances_of(entry), size_of(entry));
    let repeated = (*room / size).min(count.clamp(1, MAX_LISTED) as usize - 1);
    *room -= repeated * size;
    let count = (repeated + usize::from(count > 0)) as u32;
    listed.extend((1..=count).map(|number| ActorInstance {
        annotations: entry.annotations.clone(),
        instance_id: dialect.instance_id(host, actor, entry, number),
        revision: entry.revision,
    }));
}

fn provider(provider: model::Provider) -> ProviderDescription {
    ProviderDescription {
        annotations: provider.annotations,
        id: provider.id,
        image_ref: provider.image_ref.filter(|text| !text.is_empty()),
        link_name: provider.link_name,
        name: provider.name.filter(|text| !text.is_empty()),
        revision: provider.revision,
    }
}
