//! How many connections and dials there may be, and which connection closes to make
//! room for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connections::failure::DialFailure;
use crate::connections::slot::Slot;
use crate::credentials::{Fingerprint, SharedCredentials};
use crate::fair::{Attempt, FairSemaphore, Permit};
use crate::settings::LatticeLimits;

/// New slots between two looks for slots that nobody needs.
const SWEEP_EVERY: usize = 64;
/// Longest wait for the place of a connection that was closed to make room.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
/// The same for the place of a dial that no call waited for.
const SPARE_ENDS_WITHIN: Duration = Duration::from_millis(20);
/// Longest that a dial waits for others to end, where a call waits for it, and where it
/// makes a broken connection again.
const CALL_WAITS: Duration = Duration::from_secs(1);
const REPAIR_WAITS: Duration = Duration::from_secs(10);
/// Most lookups of names at once. Each holds a thread until the resolver of the operating
/// system gives up, whether or not anybody waits for it still.
const LOOKUPS: usize = 32;

/// The limits, what is left of them, and the slots that share them.
pub(super) struct Capacity {
    limits: LatticeLimits,
    connections: Arc<Semaphore>,
    dials: Arc<FairSemaphore>,
    /// Places for what uses connections before any call does.
    pub(super) spares: Arc<FairSemaphore>,
    /// Places for lookups of names.
    pub(super) lookups: Arc<FairSemaphore>,
    /// The slot of each set of credentials.
    slots: DashMap<Fingerprint, Arc<Slot>>,
    added: AtomicUsize,
}

impl Capacity {
    pub(super) fn new(limits: LatticeLimits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections)),
            dials: FairSemaphore::new(limits.dials),
            spares: FairSemaphore::new(limits.dials),
            lookups: FairSemaphore::new(LOOKUPS),
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
    /// call uses closes, unless no call asked for this dial.
    pub(super) async fn reserve_connection(
        &self,
        attempt: &Attempt,
    ) -> Result<OwnedSemaphorePermit, DialFailure> {
        if let Ok(permit) = self.connections.clone().try_acquire_owned() {
            return Ok(permit);
        }
        if attempt.is_spare {
            return Err(DialFailure::Aborted);
        }
        let freed = || self.connections.clone().acquire_owned();
        if self.end_a_spare_dial()
            && let Ok(Ok(permit)) = timeout(SPARE_ENDS_WITHIN, freed()).await
        {
            return Ok(permit);
        }
        self.close_an_idle_one();
        let waited = timeout(ROOM_WITHIN, freed());
        match waited.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DialFailure::Limit(format!(
                "{} connections are in use, and the provider may have no more (max_connections)",
                self.limits.connections
            ))),
        }
    }

    /// Returns the slots. None is looked at, or dropped, under a lock of the table.
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.iter().map(|slot| slot.clone()).collect()
    }

    /// Ends a dial that no call waited for yet; returns whether there is one.
    fn end_a_spare_dial(&self) -> bool {
        self.slots().iter().any(|slot| slot.end_spare_dial())
    }

    /// Closes a connection that no call uses: first one that none ever used; else, of the
    /// actor with the most connections, the one that was not used for the longest time.
    fn close_an_idle_one(&self) {
        let slots = self.slots();
        let connected = slots.iter().filter(|slot| slot.is_connected());
        let connected: Vec<_> = connected.map(|slot| (slot.actor(), slot)).collect();
        let mut of_actor = HashMap::<_, usize>::new();
        for (actor, _) in &connected {
            *of_actor.entry(actor).or_default() += 1;
        }
        let idle = connected.iter().filter_map(|(actor, slot)| {
            let fewer = usize::MAX - of_actor.get(actor).copied().unwrap_or_default();
            Some(((!slot.is_spare(), fewer, slot.idle_since()?), slot))
        });
        if let Some((_, slot)) = idle.min_by_key(|(order, _)| *order) {
            slot.close_if_idle(Duration::ZERO);
        }
    }

    /// Reserves the place of a dial; waits a while for others to end, unless no call asked
    /// for it.
    pub(super) async fn reserve_dial(&self, attempt: &Attempt) -> Result<Permit, DialFailure> {
        if attempt.is_spare {
            let place = self.dials.take_spare(attempt);
            return place.ok_or(DialFailure::Aborted);
        }
        let within = match attempt.is_repair {
            true => REPAIR_WAITS,
            false => CALL_WAITS,
        };
        let permit = self.dials.acquire(attempt, within).await;
        permit.ok_or_else(|| {
            DialFailure::Limit(format!(
                "other connections of the same actor are being dialled, as many as it may have of \
                 {} at once (max_dials)",
                self.limits.dials
            ))
        })
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
