//! What a call finds for its lattice.

use std::sync::Arc;

use crate::credentials::bindings::Binding;
use crate::credentials::owners::of_another_actor;
use crate::credentials::registry::Registry;
use crate::credentials::route::Route;
use crate::credentials::stored::NotTaken;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;

impl Registry {
    /// Finds the credentials of a lattice for an actor; looks into the bucket where
    /// they are not known yet.
    ///
    /// # Errors
    /// `Denied` where they belong to another actor, `UnknownLattice`,
    /// `LimitReached`, `StoreUnavailable`.
    pub async fn find(
        &self,
        lattice: &LatticeId,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Arc<Route>, Error> {
        let binding = match self.bindings.get(lattice) {
            Some(binding) => binding,
            None => Box::pin(self.look_up(lattice, actor, deadline)).await?,
        };
        self.owners.check(lattice, actor, &binding.owner)?;
        Ok(binding.route)
    }

    /// Looks into the bucket: another instance may have set the lattice a moment
    /// ago.
    async fn look_up(
        &self,
        lattice: &LatticeId,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Binding, Error> {
        let stored = self.vault.get(lattice, deadline).await?;
        let taken = stored.map(|stored| self.take_stored(lattice, stored));
        if let Some(binding) = self.bindings.get(lattice) {
            return Ok(binding);
        }
        let hint = match taken {
            // An actor does not learn how much another one has.
            Some(Err(NotTaken::Full(_, owner))) if !self.owners.may_use(actor, &owner) => {
                return Err(of_another_actor(lattice, actor));
            }
            Some(Err(NotTaken::Full(error, _))) => return Err(error),
            Some(Err(NotTaken::Unopened(_))) => {
                "; what the store has for it cannot be opened (credentials_key)"
            }
            _ => "",
        };
        Err(Error::new(
            Kind::UnknownLattice,
            format!(
                "lattice {:?} is unknown: set its credentials first (SetLatticeCredentials){hint}",
                lattice.as_str()
            ),
        ))
    }
}
