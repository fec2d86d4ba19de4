//! The credentials of every lattice that the provider knows.

use std::sync::Arc;

use tracing::debug;

use crate::credentials::bindings::{Binding, Bindings, Bound, Route};
use crate::credentials::fingerprint::FingerprintKey;
use crate::credentials::given::GivenCredentials;
use crate::credentials::ledger::{Ledger, Reservation};
use crate::credentials::locks::LatticeLocks;
use crate::credentials::owners::Owners;
use crate::credentials::shared::SharedTable;
use crate::credentials::value::Credentials;
use crate::credentials::vault::key::SealingKey;
use crate::credentials::vault::{Kept, Vault};
use crate::nats::AllowedServers;
use crate::settings::PoolSettings;
use crate::telemetry::LogLimiter;

/// Which lattice is bound to which credentials, and what is kept of that.
pub struct Registry {
    pub(super) bindings: Bindings,
    pub(super) owners: Owners,
    pub(super) ledger: Arc<Ledger>,
    pub(super) locks: LatticeLocks,
    pub(super) vault: Vault,
    /// Key of fingerprints and content hashes.
    pub(super) key: FingerprintKey,
    /// Servers that lattices may have.
    pub(super) allowed: AllowedServers,
    shared: SharedTable,
    /// Limits the log lines about credentials that were left out for a limit.
    pub(super) left_out: LogLimiter,
}

impl Registry {
    /// Makes a registry without lattices. What it keeps is sealed with `key`.
    ///
    /// # Errors
    /// A sentence where there is no key and the operating system gives no random
    /// numbers.
    pub fn new(settings: &PoolSettings, key: Option<SealingKey>) -> Result<Self, String> {
        let owners = Owners(settings.isolation);
        Ok(Self {
            bindings: Bindings::new(owners),
            owners,
            ledger: Ledger::new(settings.limits, settings.isolation),
            locks: LatticeLocks::default(),
            key: match &key {
                Some(key) => key.fingerprint_key(),
                None => FingerprintKey::random()?,
            },
            vault: Vault::new(settings.store, owners, settings.unplaced, key),
            allowed: settings.allowed.clone(),
            shared: SharedTable::default(),
            left_out: LogLimiter::default(),
        })
    }

    /// Whether credentials are kept where they should be.
    ///
    /// # Errors
    /// Why they are not.
    pub fn health(&self) -> Result<(), String> {
        self.vault.health()
    }

    /// Binds a lattice to credentials, unless it is bound to newer ones.
    pub(super) fn bind(
        &self,
        given: GivenCredentials,
        credentials: Credentials,
        kept: Kept,
        reservation: Reservation,
    ) -> Bound {
        let fingerprint = credentials.fingerprint(&self.key);
        let shared = self.shared.share(fingerprint, credentials);
        let binding = Binding {
            hash: given.content_hash(&self.key),
            owner: given.actor.as_str().into(),
            set_at: given.set_at,
            route: Arc::new(Route::new(shared.clone(), given.js_domain)),
            kept,
        };
        let (lattice, actor) = (given.lattice, given.actor);
        let bound = self.bindings.put(lattice.clone(), binding, reservation);
        if matches!(bound, Bound::NewRoute | Bound::SameRoute) {
            shared.set_again();
        }
        if bound == Bound::NewRoute {
            debug!(%lattice, server = %shared.address(), %fingerprint, actor, "bound");
        }
        bound
    }
}
