//! The logic of an actor that keeps a number of instances of another actor in
//! each zone of a lattice. The label `zone` of a host is its zone.
//!
//! A [`run`] has three steps: [`look()`] at the lattice, [`plan()`] what to do
//! about it, and [`carry_out()`] the plan. Nothing is remembered between runs,
//! so any number of them in any order end in the same state: the second one
//! does nothing.
//!
//! - Instances are added where fewest run and stopped where most run. None is
//!   moved.
//! - A host that does not tell its inventory is not counted and gets no
//!   commands; the others of its zone make up for it. Surplus instances are
//!   stopped when it answers again.
//! - Zones that are not named are left alone. To empty a zone, name it with 0.
//! - Instances that others started are left alone, except on hosts before 0.78.
//!   These cannot scale some of an actor's instances, so all of them count
//!   there.
//!
//! The crate compiles for any target and uses no threads, sockets or clocks: it
//! calls through a [`LatticeControllerSender`] over any transport.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod carry_out;
mod desired;
mod error;
mod look;
mod plan;
mod report;

use wasmbus_rpc::common::{Context, Transport};
use wasmcloud_interface_lattice_control::{
    LatticeController as _, LatticeControllerSender, SetLatticeCredentialsRequest,
};

pub use carry_out::carry_out;
pub use desired::{Desired, MOST, Request};
pub use error::Error;
pub use look::{MANAGED_BY, ZONE, look};
pub use plan::{Auction, Lack, Order, Reason, Runner, State, Step, Unseen, Zone, plan};
pub use report::{Failed, Report};

/// Brings a lattice to the desired state, as far as one run can.
///
/// # Errors
/// Where the lattice cannot be looked at. No command was given then.
pub async fn run<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    desired: &Desired,
) -> Result<Report, Error> {
    let state = look(client, ctx, desired).await?;
    let steps = plan(&state, desired);
    Ok(carry_out(client, ctx, desired, state.unseen, steps).await)
}

/// Does what a caller of the actor asks for: sets credentials of the lattice
/// where the request has its URL, and runs.
///
/// # Errors
/// As [`introduce`] and [`run`].
pub async fn serve<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    request: &Request,
) -> Result<Report, Error> {
    if let Some(nats_url) = &request.nats_url {
        introduce(client, ctx, &request.desired.lattice, nats_url).await?;
    }
    run(client, ctx, &request.desired).await
}

/// Sets the credentials of a lattice. Setting the same ones again changes
/// nothing.
///
/// # Errors
/// `Credentials`, where the provider did not accept them.
pub async fn introduce<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    lattice: &str,
    nats_url: &str,
) -> Result<(), Error> {
    let request = SetLatticeCredentialsRequest {
        lattice_id: lattice.into(),
        nats_url: Some(nats_url.into()),
        ..Default::default()
    };
    let why = match client.set_lattice_credentials(ctx, &request).await {
        Ok(ack) if ack.accepted => return Ok(()),
        Ok(ack) => ack.error,
        Err(error) => error.to_string(),
    };
    Err(Error::Credentials {
        lattice: lattice.into(),
        why,
    })
}
