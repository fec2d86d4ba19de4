//! StartActor, ScaleActor, StopActor, UpdateActor.

use crate::contract::{
    Counted, ScaleActorCommand, StartActorCommand, StopActorCommand, UpdateActorCommand,
};
use crate::controller::execution::Execution;
use crate::controller::limits::annotations;
use crate::error::Error;
use crate::name::{ComponentId, HostId, required};

/// Starts `count` more instances; 0 starts one.
pub(super) async fn start(
    call: &Execution<'_>,
    counted: &Counted<StartActorCommand>,
) -> Result<(), Error> {
    let arg = &counted.arguments;
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let count = given(counted)?;
    let host = HostId::parse(&arg.host_id)?;
    let image_ref = required("actorRef", &arg.actor_ref)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    // No generation of host makes 0 mean 1
    // (docs/hosts.md#count-zero-is-not-one).
    let count = count.max(1);
    let lattice = call.connect(lattice).await?;
    lattice
        .start_actor(&host, image_ref, &annotations, count)
        .await
}

/// Sets the number of instances; 0 stops them.
pub(super) async fn scale(
    call: &Execution<'_>,
    counted: &Counted<ScaleActorCommand>,
) -> Result<(), Error> {
    let arg = &counted.arguments;
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let count = given(counted)?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ComponentId::parse(&arg.actor_id)?;
    let image_ref = required("actorRef", &arg.actor_ref)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    let lattice = call.connect(lattice).await?;
    lattice
        .scale_actor(&host, &actor, image_ref, &annotations, count)
        .await
}

/// Stops `count` instances; 0 stops all.
pub(super) async fn stop(
    call: &Execution<'_>,
    counted: &Counted<StopActorCommand>,
) -> Result<(), Error> {
    let arg = &counted.arguments;
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let count = given(counted)?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ComponentId::parse(&arg.actor_id)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    let lattice = call.connect(lattice).await?;
    lattice.stop_actor(&host, &actor, &annotations, count).await
}

/// Replaces a running actor by another revision of it.
pub(super) async fn update(call: &Execution<'_>, arg: &UpdateActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ComponentId::parse(&arg.actor_id)?;
    let image_ref = required("newActorRef", &arg.new_actor_ref)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    let lattice = call.connect(lattice).await?;
    lattice
        .update_actor(&host, &actor, image_ref, &annotations)
        .await
}

/// Returns the count of a request.
///
/// # Errors
/// `Invalid` where the caller left it out.
fn given<T>(counted: &Counted<T>) -> Result<u16, Error> {
    counted
        .count
        .ok_or_else(|| Error::invalid("count is missing"))
}
