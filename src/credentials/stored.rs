//! How what is in the bucket becomes a binding, and which bindings are not in it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{info, warn};

use crate::credentials::bindings::Binding;
use crate::credentials::registry::Registry;
use crate::credentials::value::Credentials;
use crate::credentials::vault::Kept;
use crate::credentials::vault::bucket::{Stored, Version};
use crate::credentials::vault::sealed::{Opened, Unopened};
use crate::error::Error;
use crate::name::LatticeId;

/// A binding that should be in the bucket, and is not.
pub(super) struct Unstored {
    pub(super) lattice: LatticeId,
    pub(super) binding: Binding,
    /// What is to be written.
    pub(super) sealed: Bytes,
}

/// Why what is in the bucket is not used.
pub(super) enum NotTaken {
    /// It cannot be opened.
    Unopened(Unopened),
    /// There is no room for what this actor set.
    Full(Error, Arc<str>),
}

impl Registry {
    /// Takes over what the bucket has for a lattice. Returns what it is to be
    /// replaced with there, where an earlier release wrote it.
    ///
    /// # Errors
    /// Why it is not used.
    pub(super) fn take_stored(
        &self,
        lattice: &LatticeId,
        stored: Stored,
    ) -> Result<Option<Bytes>, NotTaken> {
        let Some(sealed) = stored.value else {
            if self.bindings.remove(lattice, stored.version) {
                info!(%lattice, "credentials were removed from the store");
            }
            return Ok(None);
        };
        let opened = self.vault.open(lattice, &sealed);
        let Opened { given, is_placed } = opened.map_err(NotTaken::Unopened)?;
        let credentials = Credentials::from_store(&given);
        let credentials = credentials.map_err(|_| NotTaken::Unopened(Unopened::Malformed))?;
        let owner: Arc<str> = given.actor.as_str().into();
        let reservation = match self.ledger.reserve(lattice, &owner, given.bytes()) {
            Ok(reservation) => reservation,
            Err(error) => {
                // What was replaced in the bucket does not count any more.
                self.bindings.unbind(lattice, stored.version);
                if self.left_out.is_due() {
                    warn!(%error, "credentials were left out");
                }
                return Err(NotTaken::Full(error, owner));
            }
        };
        let placed = match is_placed {
            true => None,
            false => self.vault.seal(&given),
        };
        let kept = Kept {
            sealed: Some(sealed),
            version: Some(stored.version),
        };
        self.bind(given, credentials, kept, reservation);
        Ok(placed)
    }

    /// Returns what is bound and should be in the bucket, and is not: these lattices
    /// were `seen` in it when `newest` was its newest version. What this bucket had
    /// before, and has not any more, was removed, and is unbound.
    pub(super) fn unstored(&self, seen: &HashSet<LatticeId>, newest: Version) -> Vec<Unstored> {
        let mut missing = Vec::new();
        for (lattice, binding) in self.bindings.all() {
            let is_there = seen.contains(&lattice);
            match (binding.kept.version, &binding.kept.sealed) {
                (Some(bound), _) if bound.era == newest.era => {
                    let gone = !is_there && bound <= newest;
                    if gone && self.bindings.remove(&lattice, bound) {
                        info!(%lattice, "credentials were removed from the store");
                    }
                }
                (version, Some(sealed)) if version.is_none() || !is_there => {
                    missing.push(Unstored {
                        lattice,
                        sealed: sealed.clone(),
                        binding,
                    });
                }
                _ => {}
            }
        }
        missing
    }

    /// Whether something was set that should be in the bucket, and never was.
    pub(super) fn has_unstored(&self) -> bool {
        let is_unstored = |bound: &Binding| bound.kept.version.is_none();
        self.bindings
            .any(|bound| is_unstored(bound) && bound.kept.sealed.is_some())
    }

    /// Whether a lattice is bound to this version.
    pub(super) fn is_bound_to(&self, lattice: &LatticeId, version: Version) -> bool {
        let bound = self.bindings.get(lattice);
        bound.is_some_and(|bound| bound.kept.version == Some(version))
    }
}
