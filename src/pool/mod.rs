//! Connections to lattices, keyed by credentials.
//!
//! Two tables: a *binding* says with which credentials a lattice is reached; a
//! *slot* is the one connection of a set of credentials, shared by every lattice
//! bound to them. A slot lives as long as a binding or a call uses it. New
//! credentials swap the binding at once; calls in flight keep the old
//! connection until they end.

mod connection;
mod credentials;
mod failure;
mod refusals;
mod slot;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::time::timeout_at;
use tracing::info;

pub use connection::Connection;
pub use credentials::{Credentials, Fingerprint, FingerprintKey};
pub use refusals::Refusal;
use slot::Slot;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::{JsDomain, LatticeId};

/// Most of a call's time that a dial leaves.
const MOST_TIME_TO_ASK: Duration = Duration::from_millis(200);

/// Lattices and their connections.
pub struct Pool {
    bindings: DashMap<LatticeId, Binding>,
    slots: DashMap<Fingerprint, Weak<Slot>>,
    key: FingerprintKey,
    name: String,
    bound: AtomicU64,
}

#[derive(Clone)]
struct Binding {
    slot: Arc<Slot>,
    js_domain: Option<JsDomain>,
    number: u64,
}

/// A connection to a lattice for the length of one call.
pub struct Lease {
    /// The connection.
    pub connection: Arc<Connection>,
    /// JetStream domain of the lattice.
    pub js_domain: Option<JsDomain>,
    /// Number of the binding: another one means other credentials.
    pub binding: u64,
}

impl Pool {
    /// A pool whose connections show up at servers under `name`.
    pub fn new(name: String) -> Self {
        Self {
            bindings: DashMap::new(),
            slots: DashMap::new(),
            key: FingerprintKey::random(),
            name,
            bound: AtomicU64::new(0),
        }
    }

    /// Binds a lattice to credentials, from the next lease on; whether they are
    /// others than before. The same credentials again change nothing; others
    /// leave the old connection to the calls that use it, and it closes with the
    /// last of them.
    pub fn bind(
        &self,
        lattice: LatticeId,
        credentials: Credentials,
        js_domain: Option<JsDomain>,
    ) -> bool {
        let fingerprint = credentials.fingerprint(&self.key);
        let slot = self.slot(fingerprint, credentials);
        info!(%lattice, server = slot.address(), %fingerprint, "credentials set");
        let same = |old: &Binding| Arc::ptr_eq(&old.slot, &slot) && old.js_domain == js_domain;
        // One look at the table: of two at once, the later one has the higher
        // number.
        let entry = self.bindings.entry(lattice);
        if matches!(&entry, Entry::Occupied(old) if same(old.get())) {
            return false;
        }
        drop(entry.insert(Binding {
            slot,
            js_domain,
            number: self.bound.fetch_add(1, Ordering::Relaxed),
        }));
        self.slots.retain(|_, slot| slot.strong_count() > 0);
        true
    }

    /// A connection to a lattice, dialled where there is none yet.
    ///
    /// # Errors
    /// `UnknownLattice`, `CredentialsRejected`, `NotConnected`.
    pub async fn lease(&self, lattice: &LatticeId, deadline: Deadline) -> Result<Lease, Error> {
        // The guard of the table ends with this statement, before any await.
        let binding = self
            .bindings
            .get(lattice)
            .map(|entry| entry.value().clone());
        let Some(Binding {
            slot,
            js_domain,
            number,
        }) = binding
        else {
            return Err(Error::new(
                Kind::UnknownLattice,
                format!(
                    "lattice {:?} is unknown: set its credentials first (SetLatticeCredentials)",
                    lattice.as_str()
                ),
            ));
        };
        // What is asked over the connection needs time, too.
        let left = deadline.remaining();
        let in_time = deadline.earlier((left / 4).min(MOST_TIME_TO_ASK)).at();
        match timeout_at(in_time, slot.connection(self.name.clone())).await {
            Ok(Ok(connection)) => Ok(Lease {
                connection,
                js_domain,
                binding: number,
            }),
            Ok(Err(failure)) => Err(failure.for_lattice(lattice, slot.address())),
            Err(_) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {:?}: no connection to {} in time; check the URL and the network",
                    lattice.as_str(),
                    slot.address()
                ),
            )),
        }
    }

    fn slot(&self, fingerprint: Fingerprint, credentials: Credentials) -> Arc<Slot> {
        match self.slots.entry(fingerprint) {
            Entry::Occupied(mut entry) => entry.get().upgrade().unwrap_or_else(|| {
                let slot = Arc::new(Slot::new(credentials));
                entry.insert(Arc::downgrade(&slot));
                slot
            }),
            Entry::Vacant(entry) => {
                let slot = Arc::new(Slot::new(credentials));
                entry.insert(Arc::downgrade(&slot));
                slot
            }
        }
    }
}
