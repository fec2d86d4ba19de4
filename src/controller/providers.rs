//! StartProvider, StopProvider.

use crate::contract::{StartProviderCommand, StopProviderCommand};
use crate::controller::execution::Execution;
use crate::controller::limits;
use crate::error::Error;
use crate::name::{ComponentId, HostId, LinkName, optional, required};

/// Longest configuration, in bytes (the contract's own limit).
const MAX_CONFIGURATION: usize = 500_000;

/// Starts a provider on a host.
pub(super) async fn start(call: &Execution<'_>, arg: &StartProviderCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let link_name = LinkName::parse_new(&arg.link_name)?;
    let configuration = arg.configuration.as_deref().filter(|text| !text.is_empty());
    limits::text("configuration", configuration, MAX_CONFIGURATION)?;
    let annotations = limits::annotations(arg.annotations.as_ref())?;
    let reference = required("providerRef", &arg.provider_ref)?;
    let lattice = call.connect(lattice).await?;
    lattice
        .start_provider(&host, reference, &link_name, configuration, &annotations)
        .await
}

/// Stops a provider on a host. Its contract id may be left out: hosts do not look
/// at it, and no inventory tells it.
pub(super) async fn stop(call: &Execution<'_>, arg: &StopProviderCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let provider = ComponentId::parse(&arg.provider_id)?;
    let link_name = LinkName::parse(&arg.link_name)?;
    let annotations = limits::annotations(arg.annotations.as_ref())?;
    let contract_id = optional("contractId", &arg.contract_id)?;
    let lattice = call.connect(lattice).await?;
    lattice
        .stop_provider(&host, &provider, &link_name, contract_id, &annotations)
        .await
}
