//! How much of the credentials that the provider may hold is taken: in all, and by
//! each actor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::settings::{Isolation, PoolLimits};

/// Lattices, and the bytes of their credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    lattices: usize,
    bytes: usize,
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.lattices += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: usize) {
        self.lattices -= 1;
        self.bytes -= bytes;
    }
}

#[derive(Default)]
struct Taken {
    all: Share,
    of: HashMap<Arc<str>, Share>,
}

/// What is taken, and how much there is.
pub(super) struct Ledger {
    limits: PoolLimits,
    isolation: Isolation,
    taken: Mutex<Taken>,
}

/// The room that the credentials of one lattice take, for as long as this lives.
pub(super) struct Room {
    ledger: Arc<Ledger>,
    owner: Arc<str>,
    bytes: usize,
}

impl Ledger {
    /// Nothing is taken.
    pub(super) fn new(limits: PoolLimits, isolation: Isolation) -> Arc<Self> {
        Arc::new(Self {
            limits,
            isolation,
            taken: Mutex::default(),
        })
    }

    /// Takes room for so many bytes of an actor, in the place of what the lattice
    /// has now, which goes when the caller drops it.
    ///
    /// # Errors
    /// `LimitReached`, which names the setting.
    pub(super) fn room(
        self: &Arc<Self>,
        lattice: &LatticeId,
        owner: &Arc<str>,
        bytes: usize,
        instead_of: Option<&Room>,
    ) -> Result<Room, Error> {
        let mut taken = self.lock();
        let limits = &self.limits;
        let mut all = taken.all;
        let mut own = taken.of.get(owner).copied().unwrap_or_default();
        if let Some(old) = instead_of {
            all.take(old.bytes);
            if old.owner == *owner {
                own.take(old.bytes);
            }
        }
        let (lattice, most) = (lattice.as_str(), limits.lattices);
        let full = |message: String| Err(Error::new(Kind::LimitReached, message));
        if all.lattices >= most {
            return full(format!(
                "lattice {lattice:?}: credentials of {most} lattices are known, and the provider \
                 takes no more (max_lattices)"
            ));
        }
        let most = limits.credentials_bytes;
        if all.bytes + bytes > most {
            return full(format!(
                "lattice {lattice:?}: its credentials have {bytes} bytes beside {} of other \
                 lattices, and the provider holds {most} (max_credentials_bytes)",
                all.bytes
            ));
        }
        if self.isolation == Isolation::Actor {
            let most = limits.of_actor();
            if own.lattices >= most {
                return full(format!(
                    "lattice {lattice:?}: credentials of {most} lattices are known of actor \
                     {owner}, which may have no more (max_actor_lattices)"
                ));
            }
            let most = limits.credentials_bytes_of_actor();
            if own.bytes + bytes > most {
                return full(format!(
                    "lattice {lattice:?}: its credentials have {bytes} bytes beside {} of other \
                     lattices of actor {owner}, which may have {most} \
                     (max_actor_credentials_bytes)",
                    own.bytes
                ));
            }
        }
        taken.all.add(bytes);
        taken.of.entry(owner.clone()).or_default().add(bytes);
        Ok(Room {
            ledger: self.clone(),
            owner: owner.clone(),
            bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = self.ledger.lock();
        taken.all.take(self.bytes);
        if let Some(own) = taken.of.get_mut(&self.owner) {
            own.take(self.bytes);
            if own.lattices == 0 {
                taken.of.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(isolation: Isolation) -> Arc<Ledger> {
        let limits = PoolLimits {
            lattices: 4,
            credentials_bytes: 100,
            ..PoolLimits::default()
        };
        Ledger::new(limits, isolation)
    }

    fn take(ledger: &Arc<Ledger>, owner: &str, bytes: usize) -> Result<Room, String> {
        let x = LatticeId::parse("x").unwrap();
        let room = ledger.room(&x, &owner.into(), bytes, None);
        room.map_err(|error| error.to_string())
    }

    #[test]
    fn there_is_room_for_so_many_lattices_and_bytes() {
        let ledger = ledger(Isolation::None);
        let four: Vec<_> = (0..4).map(|_| take(&ledger, "M", 10).unwrap()).collect();
        assert!(
            take(&ledger, "M", 1)
                .err()
                .unwrap()
                .contains("(max_lattices)")
        );
        drop(four);
        let most = take(&ledger, "M", 100).unwrap();
        let full = take(&ledger, "N", 1).err().unwrap();
        assert!(full.contains("(max_credentials_bytes)"), "{full}");
        drop(most);
        assert!(take(&ledger, "N", 100).is_ok());
        let taken = ledger.lock();
        assert!(taken.of.is_empty() && taken.all == Share::default());
    }

    #[test]
    fn under_isolation_nobody_has_more_than_a_share() {
        let ledger = ledger(Isolation::Actor);
        let two = [
            take(&ledger, "M", 10).unwrap(),
            take(&ledger, "M", 10).unwrap(),
        ];
        let full = take(&ledger, "M", 1).err().unwrap();
        assert!(full.contains("(max_actor_lattices)"), "{full}");
        let full = take(&ledger, "N", 51).err().unwrap();
        assert!(full.contains("(max_actor_credentials_bytes)"), "{full}");
        assert!(take(&ledger, "N", 50).is_ok());
        drop(two);
        assert!(take(&ledger, "M", 50).is_ok());
    }

    #[test]
    fn what_is_replaced_makes_room_for_what_replaces_it() {
        let ledger = ledger(Isolation::Actor);
        let x = LatticeId::parse("x").unwrap();
        let old = take(&ledger, "M", 50).unwrap();
        let _one = take(&ledger, "N", 1).unwrap();
        let _two = take(&ledger, "N", 1).unwrap();
        let new = ledger.room(&x, &"M".into(), 48, Some(&old)).unwrap();
        drop(old);
        assert_eq!(ledger.lock().all.bytes, 50);
        // Another's room makes none in the own share.
        let others = ledger.room(&x, &"N".into(), 1, Some(&new));
        assert!(
            others
                .err()
                .unwrap()
                .to_string()
                .contains("max_actor_lattices")
        );
    }
}
