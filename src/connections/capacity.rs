//! How many connections and dials there may be, and which connection closes to make
//! room for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connections::failure::DialFailure;
use crate::connections::slot::Slot;
use crate::credentials::{Fingerprint, SharedCredentials};
use crate::settings::LatticeLimits;

/// New slots between two looks for slots that nobody needs.
const SWEEP_EVERY: usize = 64;
/// Longest wait for the place of a connection that was closed to make room.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
/// Longest that a dial waits for others to end.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// The limits, what is left of them, and the slots that share them.
pub(super) struct Capacity {
    limits: LatticeLimits,
    connections: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    /// The slot of each set of credentials.
    slots: DashMap<Fingerprint, Arc<Slot>>,
    added: AtomicUsize,
}

impl Capacity {
    pub(super) fn new(limits: LatticeLimits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections)),
            dials: Arc::new(Semaphore::new(limits.dials)),
            slots: DashMap::new(),
            added: AtomicUsize::new(0),
            limits,
        }
    }

    /// How long a connection that no call uses stays open.
    pub(super) fn idle_limit(&self) -> Duration {
        self.limits.idle
    }

    /// Returns the slot of credentials, or makes it. Slots of credentials that no
    /// lattice is bound to any more leave the table once in a while.
    pub(super) fn slot(&self, credentials: &Arc<SharedCredentials>) -> Arc<Slot> {
        let fingerprint = credentials.fingerprint();
        // The guard of the table ends with this statement.
        let known = self.slots.get(&fingerprint).map(|slot| slot.clone());
        if let Some(slot) = known.filter(|slot| slot.is_of(credentials)) {
            return slot;
        }
        let slot = {
            let mut entry = self
                .slots
                .entry(fingerprint)
                .or_insert_with(|| Arc::new(Slot::new(credentials)));
            if !entry.is_of(credentials) {
                *entry = Arc::new(Slot::new(credentials));
            }
            entry.clone()
        };
        let added = self.added.fetch_add(1, Ordering::Relaxed);
        if added.is_multiple_of(SWEEP_EVERY) {
            self.slots.retain(|_, slot| slot.is_bound());
        }
        slot
    }

    /// Reserves the place of a connection. Where there is none, a connection that no
    /// call uses closes.
    pub(super) async fn reserve_connection(&self) -> Result<OwnedSemaphorePermit, DialFailure> {
        if let Ok(permit) = self.connections.clone().try_acquire_owned() {
            return Ok(permit);
        }
        self.close_longest_idle();
        let waited = timeout(ROOM_WITHIN, self.connections.clone().acquire_owned());
        match waited.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DialFailure::Limit(format!(
                "{} connections are in use, and the provider may have no more (max_connections)",
                self.limits.connections
            ))),
        }
    }

    /// Closes the connection that was not used for the longest time; none that a call
    /// uses.
    fn close_longest_idle(&self) {
        // No slot is looked at, or dropped, under a lock of the table.
        let slots: Vec<Arc<Slot>> = self.slots.iter().map(|slot| slot.clone()).collect();
        let idle = slots
            .iter()
            .filter_map(|slot| Some((slot.idle_since()?, slot)));
        if let Some((_, slot)) = idle.min_by_key(|(since, _)| *since) {
            slot.close_if_idle(Duration::ZERO);
        }
    }

    /// Reserves the place of a dial; waits a while for others to end.
    pub(super) async fn reserve_dial(&self) -> Result<OwnedSemaphorePermit, DialFailure> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::tests::shared;

    #[test]
    fn equal_credentials_get_a_slot_of_their_own_once_the_first_are_gone() {
        let capacity = Capacity::new(LatticeLimits::default());
        let first = shared("h");
        let slot = capacity.slot(&first);
        assert!(Arc::ptr_eq(&slot, &capacity.slot(&first)));
        drop(first);
        assert!(!slot.is_bound());
        assert!(!Arc::ptr_eq(&slot, &capacity.slot(&shared("h"))));
    }

    #[test]
    fn slots_that_nobody_needs_leave_the_table() {
        let capacity = Capacity::new(LatticeLimits::default());
        for number in 0..10 * SWEEP_EVERY {
            capacity.slot(&shared(&format!("h{number}")));
        }
        assert!(capacity.slots.len() <= SWEEP_EVERY);
    }
}
