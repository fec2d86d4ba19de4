//! StartActor, ScaleActor, StopActor, UpdateActor.

use super::call::Call;
use crate::contract::{ScaleActorCommand, StartActorCommand, StopActorCommand, UpdateActorCommand};
use crate::error::Error;
use crate::lattice::subject::Verb;
use crate::lattice::wire;
use crate::name::{ActorId, HostId, required};

/// Starts `count` more instances; 0 starts one.
pub(super) async fn start(call: &Call<'_>, arg: &StartActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    call.has_member("count")?;
    let host = HostId::parse(&arg.host_id)?;
    let body = wire::StartActor {
        actor_ref: required("actorRef", &arg.actor_ref)?,
        annotations: arg.annotations.as_ref(),
        // No generation of host makes 0 mean 1 (trap T20).
        count: arg.count.max(1),
        host_id: &host,
    };
    let lattice = call.connect(lattice).await?;
    lattice.command(&host, Verb::StartActor, &body).await
}

/// Sets the number of instances; 0 stops them.
pub(super) async fn scale(call: &Call<'_>, arg: &ScaleActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    call.has_member("count")?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ActorId::parse(&arg.actor_id)?;
    let body = wire::ScaleActor {
        actor_id: &actor,
        actor_ref: required("actorRef", &arg.actor_ref)?,
        annotations: arg.annotations.as_ref(),
        count: arg.count,
        host_id: &host,
    };
    let lattice = call.connect(lattice).await?;
    lattice.command(&host, Verb::ScaleActor, &body).await
}

/// Stops `count` instances; 0 stops all.
pub(super) async fn stop(call: &Call<'_>, arg: &StopActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    call.has_member("count")?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ActorId::parse(&arg.actor_id)?;
    let body = wire::StopActor {
        actor_ref: &actor,
        annotations: arg.annotations.as_ref(),
        count: arg.count,
        host_id: &host,
    };
    let lattice = call.connect(lattice).await?;
    lattice.command(&host, Verb::StopActor, &body).await
}

/// Replaces a running actor by another revision.
pub(super) async fn update(call: &Call<'_>, arg: &UpdateActorCommand) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let host = HostId::parse(&arg.host_id)?;
    let actor = ActorId::parse(&arg.actor_id)?;
    let body = wire::UpdateActor {
        actor_id: &actor,
        annotations: arg.annotations.as_ref(),
        host_id: &host,
        new_actor_ref: required("newActorRef", &arg.new_actor_ref)?,
    };
    let lattice = call.connect(lattice).await?;
    lattice.command(&host, Verb::UpdateActor, &body).await
}
