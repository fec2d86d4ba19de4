//! Connections to lattices, keyed by credentials.
//!
//! Two tables: a *binding* says with which credentials a lattice is reached; a
//! *slot* is the one connection of a set of credentials, shared by every lattice
//! bound to them. A slot lives as long as a binding or a call uses it. New
//! credentials swap the binding at once; calls in flight keep the old
//! connection until they end.
//!
//! - `credentials`: what a lattice is reached with, checked
//! - `bindings`: which lattice is bound to what; `set`: how it comes to be; `turns`:
//!   whose turn it is; `ledger`: how many there may be, and how large
//! - `slot`: a connection through all its states; `keeper` looks after it
//! - `connection`, `uses`, `refusals`: a connection, who uses it, and what its
//!   server does not let it do; `sizes`: what is too large for it; `reports`: what
//!   it tells of itself; `failure`: why there is none
//! - `inbox`: where the answers to its questions arrive
//! - `limits`: how many there may be; `reach`: where they may go
//! - [`store`]: where credentials are kept

mod bindings;
mod ledger;
mod set;
mod turns;
mod value;
pub mod vault;

use std::sync::Arc;
use std::time::Duration;

use dashmap::mapref::entry;
use tokio::time::timeout_at;

use crate::connections::Held;
use crate::connections::capacity::Shared;
use crate::connections::slot::Slot;
use crate::credentials::bindings::{Binding, Bindings};
use crate::credentials::set::NotTaken;
use crate::credentials::turns::Turns;
pub use crate::credentials::value::{Credentials, Fingerprint, FingerprintKey};
use crate::credentials::vault::{Store, StoreKey};

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::{JsDomain, LatticeId};
use crate::nats::OwnLattice;
use crate::nats::Tls;
use crate::settings::PoolSettings;
use crate::telemetry::LogLimiter;
use crate::telemetry::security::{self, Cause};

/// Most of a call's time that a dial leaves.
const MOST_TIME_TO_ASK: Duration = Duration::from_millis(200);

/// Lattices and their connections. With every binding something is kept, `K`,
/// for as long as calls to the lattice go the same way.
pub struct Pool<K> {
    bindings: Bindings<K>,
    turns: Turns,
    key: FingerprintKey,
    shared: Arc<Shared>,
    store: Store,
    tls: Tls,
    full: LogLimiter,
}

/// A connection to a lattice for the length of one call.
pub struct Lease<K> {
    /// The connection.
    pub held: Held,
    /// What its credentials are told from others by.
    pub fingerprint: Fingerprint,
    /// JetStream domain of the lattice.
    pub js_domain: Option<JsDomain>,
    /// What is kept with the binding.
    pub kept: Arc<K>,
}

impl<K: Default + Send + Sync + 'static> Pool<K> {
    /// A pool whose connections show up at servers under `name`, and which keeps
    /// credentials where the settings say, sealed with `key`.
    ///
    /// # Errors
    /// Without a key, that the operating system gives no random numbers.
    pub fn new(
        name: String,
        settings: &PoolSettings,
        tls: Tls,
        key: Option<StoreKey>,
    ) -> Result<Self, String> {
        let (limits, mode) = (settings.limits, settings.store);
        Ok(Self {
            bindings: Bindings::new(limits, settings.isolation),
            turns: Turns::default(),
            key: match &key {
                Some(key) => key.fingerprint_key(),
                None => FingerprintKey::random()?,
            },
            shared: Arc::new(Shared::new(name, limits).within(settings.allowed.clone())),
            store: Store::new(mode, settings.unplaced, key),
            tls,
            full: LogLimiter::default(),
        })
    }

    /// Takes over what is in the store, and what others put there from now on.
    pub fn follow(self: &Arc<Self>, home: OwnLattice) {
        self.store.at(&home);
        tokio::spawn(vault::follow::follow(Arc::downgrade(self), home));
    }

    /// Where credentials are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A connection to a lattice for an actor, dialled where there is none yet.
    ///
    /// # Errors
    /// `Denied` where the lattice is another actor's, `UnknownLattice`, `StoreUnavailable`, `CredentialsRejected`,
    /// `NotConnected`, `LimitReached`.
    pub async fn lease(
        &self,
        lattice: &LatticeId,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Lease<K>, Error> {
        let binding = match self.bindings.get(lattice) {
            Some(binding) => binding,
            None => Box::pin(self.look_up(lattice, actor, deadline)).await?,
        };
        if !self.bindings.may(actor, &binding.owner) {
            return Err(foreign(lattice, actor));
        }
        let slot = binding.slot;
        // What is asked over the connection needs time, too.
        let left = deadline.remaining();
        let in_time = deadline.earlier((left / 4).min(MOST_TIME_TO_ASK)).at();
        match timeout_at(in_time, slot.connection()).await {
            Ok(Ok(held)) => Ok(Lease {
                held,
                fingerprint: slot.fingerprint(),
                js_domain: binding.js_domain,
                kept: binding.kept,
            }),
            Ok(Err(failure)) => Err(failure.for_lattice(lattice, slot.address())),
            Err(_) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {:?}: no connection to {} in time; check the URL and the network, and \
                     tls_first_servers where it expects TLS before anything is said",
                    lattice.as_str(),
                    slot.address()
                ),
            )),
        }
    }

    /// Another instance may have set it a moment ago: the store knows.
    async fn look_up(
        &self,
        lattice: &LatticeId,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Binding<K>, Error> {
        let stored = self.store.get(lattice, deadline).await?;
        let opened = stored.map(|stored| self.take_stored(lattice, stored));
        if let Some(binding) = self.bindings.get(lattice) {
            return Ok(binding);
        }
        let hint = match opened {
            // Whose it is, and how much that actor has, is not for others.
            Some(Err(NotTaken::Full(_, owner))) if !self.bindings.may(actor, &owner) => {
                return Err(foreign(lattice, actor));
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

    fn slot(&self, fingerprint: Fingerprint, credentials: Credentials) -> Arc<Slot> {
        let new = || Arc::new(Slot::new(credentials, fingerprint, self.shared.clone()));
        match self.shared.slots.entry(fingerprint) {
            entry::Entry::Occupied(mut entry) => entry.get().upgrade().unwrap_or_else(|| {
                let slot = new();
                entry.insert(Arc::downgrade(&slot));
                slot
            }),
            entry::Entry::Vacant(entry) => {
                let slot = new();
                entry.insert(Arc::downgrade(&slot));
                slot
            }
        }
    }
}

/// The credentials of a lattice belong to another actor.
fn foreign(lattice: &LatticeId, actor: &str) -> Error {
    let what = format!(
        "the credentials of lattice {:?} belong to another actor (isolation)",
        lattice.as_str()
    );
    security::refused(Cause::Owner, actor, &what);
    Error::new(Kind::Denied, what)
}
