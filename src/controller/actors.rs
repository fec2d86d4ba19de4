//! StartActor, ScaleActor, StopActor, UpdateActor.

use crate::contract::{ScaleActorCommand, StartActorCommand, StopActorCommand, UpdateActorCommand};
use crate::controller::bounds::annotations;
use crate::controller::call::Call;
use crate::error::Error;
use crate::name::{ActorId, HostId, required};

/// Starts `count` more instances; 0 starts one.
pub(super) async fn start(call: &Call<'_>, arg: &StartActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    call.has_member("count")?;
    let host = HostId::parse(&arg.host_id)?;
    let image_ref = required("actorRef", &arg.actor_ref)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    // No generation of host makes 0 mean 1 (trap T20).
    let count = arg.count.max(1);
    let lattice = call.connect(lattice).await?;
    lattice
        .start_actor(&host, image_ref, &annotations, count)
        .await
}

/// Sets the number of instances; 0 stops them.
pub(super) async fn scale(call: &Call<'_>, arg: &ScaleActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    call.has_member("count")?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ActorId::parse(&arg.actor_id)?;
    let image_ref = required("actorRef", &arg.actor_ref)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    let lattice = call.connect(lattice).await?;
    lattice
        .scale_actor(&host, &actor, image_ref, &annotations, arg.count)
        .await
}

/// Stops `count` instances; 0 stops all.
pub(super) async fn stop(call: &Call<'_>, arg: &StopActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    call.has_member("count")?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ActorId::parse(&arg.actor_id)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    let lattice = call.connect(lattice).await?;
    lattice
        .stop_actor(&host, &actor, &annotations, arg.count)
        .await
}

/// Replaces a running actor by another revision.
pub(super) async fn update(call: &Call<'_>, arg: &UpdateActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ActorId::parse(&arg.actor_id)?;
    let image_ref = required("newActorRef", &arg.new_actor_ref)?;
    let annotations = annotations(arg.annotations.as_ref())?;
    let lattice = call.connect(lattice).await?;
    lattice
        .update_actor(&host, &actor, image_ref, &annotations)
        .await
}
