//! What all connections of a pool share: how many there may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connections::failure::DialFailure;
use crate::connections::slot::Slot;
use crate::credentials::Fingerprint;
use crate::nats::AllowedServers;
use crate::settings::PoolLimits;

/// Bindings between two looks for slots that nobody needs.
const SWEEP_EVERY: usize = 64;
/// Longest wait for the place of a connection that was closed to make room.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
/// Longest that a dial waits for others to end.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// The limits, and what is left of them.
pub(crate) struct Shared {
    pub(crate) limits: PoolLimits,
    /// How connections show up at servers.
    pub(crate) name: String,
    /// Where they may go.
    pub(crate) allowed: AllowedServers,
    connections: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    /// The one slot of each set of credentials.
    pub(crate) slots: DashMap<Fingerprint, Weak<Slot>>,
    /// How often a lattice was bound.
    bound: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(name: String, limits: PoolLimits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections)),
            dials: Arc::new(Semaphore::new(limits.dials)),
            slots: DashMap::new(),
            bound: AtomicUsize::new(0),
            limits,
            name,
            allowed: AllowedServers::default(),
        }
    }

    /// The same, where connections may go to these servers.
    pub(crate) fn within(self, allowed: AllowedServers) -> Self {
        Self { allowed, ..self }
    }

    /// The right to be a connection, for as long as it is one. Where there are
    /// enough, one that nobody uses makes room.
    pub(crate) async fn connection(&self) -> Result<OwnedSemaphorePermit, DialFailure> {
        if let Ok(permit) = self.connections.clone().try_acquire_owned() {
            return Ok(permit);
        }
        self.make_room();
        let waited = timeout(ROOM_WITHIN, self.connections.clone().acquire_owned());
        match waited.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DialFailure::Limit(format!(
                "{} connections are in use, and the provider may have no more (max_connections)",
                self.limits.connections
            ))),
        }
    }

    /// Closes the connection that was not used for the longest time; none that
    /// is in use.
    fn make_room(&self) {
        // Nothing is looked at, or dropped, under a lock of the table.
        let slots: Vec<Weak<Slot>> = self.slots.iter().map(|slot| slot.clone()).collect();
        let slots = slots.iter().filter_map(Weak::upgrade);
        let idle = slots.filter_map(|slot| Some((slot.idle_since()?, slot)));
        if let Some((_, slot)) = idle.min_by_key(|(since, _)| *since) {
            slot.close_if_idle(Duration::ZERO);
        }
    }

    /// Forgets slots that nobody needs, once in a while.
    pub(crate) fn sweep(&self) {
        let bound = self.bound.fetch_add(1, Ordering::Relaxed);
        if bound.is_multiple_of(SWEEP_EVERY) {
            self.slots.retain(|_, slot| slot.strong_count() > 0);
        }
    }

    /// The right to dial; others are waited for, for a while.
    pub(crate) async fn dial(&self) -> Result<OwnedSemaphorePermit, DialFailure> {
        let waited = timeout(WAIT_FOR_OTHERS, self.dials.clone().acquire_owned());
        match waited.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DialFailure::Limit(format!(
                "{} connections are being dialled, and the provider may dial no more at once \
                 (max_dials)",
                self.limits.dials
            ))),
        }
    }
}
