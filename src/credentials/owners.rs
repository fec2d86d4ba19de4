//! Which actor may use and replace whose credentials (`isolation`).

use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::settings::Isolation;
use crate::telemetry::security::{self, Cause};

/// The rule: every linked actor may use and replace all credentials, or each its
/// own only.
#[derive(Clone, Copy)]
pub(super) struct Owners(pub(super) Isolation);

impl Owners {
    /// Whether an actor may use or replace what another one may have set.
    pub(super) fn may_use(self, actor: &str, owner: &str) -> bool {
        self.0 == Isolation::None || actor == owner
    }

    /// Checks that an actor may use or replace what another one may have set.
    ///
    /// # Errors
    /// `Denied`.
    pub(super) fn check(self, lattice: &LatticeId, actor: &str, owner: &str) -> Result<(), Error> {
        match self.may_use(actor, owner) {
            true => Ok(()),
            false => Err(of_another_actor(lattice, actor)),
        }
    }
}

/// Counts and logs that an actor may not use credentials; returns the error.
pub(super) fn of_another_actor(lattice: &LatticeId, actor: &str) -> Error {
    let what = format!(
        "the credentials of lattice {:?} belong to another actor (isolation)",
        lattice.as_str()
    );
    security::refused(Cause::Owner, actor, &what);
    Error::new(Kind::Denied, what)
}
