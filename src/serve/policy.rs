//! What an actor may do: which operations, on which lattices. Its link decides, or else
//! the provider's settings.

use crate::contract::Operation;
use crate::error::{Error, Kind};
use crate::settings::{Decider, LinkSettings, Policy};
use crate::telemetry::security::{self, Cause};

/// Checks that an actor may call an operation.
///
/// # Errors
/// `Denied`.
pub fn check_operation(
    provider: &Policy,
    link: &LinkSettings,
    actor: &str,
    operation: Operation,
) -> Result<(), Error> {
    let allowed = provider.with_link(&link.policy).operation(operation);
    allowed.map_err(|by| denied(Cause::Operation, actor, operation.name(), by))
}

/// Checks that an actor may name a lattice.
///
/// # Errors
/// `Denied`.
pub fn check_lattice(
    provider: &Policy,
    link: &LinkSettings,
    actor: &str,
    lattice: &str,
) -> Result<(), Error> {
    let allowed = provider.with_link(&link.policy).lattice(lattice);
    allowed.map_err(|by| denied(Cause::Lattice, actor, &format!("lattice {lattice:?}"), by))
}

/// Returns the error that says what an actor may not do and which setting decides that.
fn denied(cause: Cause, actor: &str, what: &str, by: Decider) -> Error {
    let setting = match cause {
        Cause::Lattice => "lattices",
        _ => "operations",
    };
    let message = match by {
        Decider::Link => format!("the link of actor {actor} does not allow {what} ({setting})"),
        Decider::Provider => format!(
            "the provider does not allow {what} to actor {actor}, whose link does not say \
             (default_{setting})"
        ),
    };
    security::refused(cause, actor, &message);
    Error::new(Kind::Denied, message)
}
