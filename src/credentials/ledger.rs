//! How many lattices the provider may know, and how many bytes of credentials it may
//! hold: in all, and for each actor.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::lock::Lock;
use crate::name::LatticeId;
use crate::settings::{Isolation, LatticeLimits};

/// Lattices, and the bytes of their credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    lattices: usize,
    bytes: usize,
}

impl Share {
    /// Returns the share where one lattice has `after` instead of `before` bytes;
    /// `None` where it is not in the share.
    fn with(self, before: Option<usize>, after: Option<usize>) -> Self {
        Self {
            lattices: self.lattices + usize::from(after.is_some()) - usize::from(before.is_some()),
            bytes: self.bytes + after.unwrap_or(0) - before.unwrap_or(0),
        }
    }
}

/// Credentials of a lattice that are bound, or about to be.
struct Reserved {
    number: u64,
    owner: Arc<str>,
    bytes: usize,
}

/// Returns the bytes that a lattice counts with, for one owner or for all. Only the
/// largest of its credentials counts, since one replaces the other.
fn size(reserved: &[Reserved], owner: Option<&str>) -> Option<usize> {
    let counts = |one: &&Reserved| owner.is_none_or(|owner| *one.owner == *owner);
    reserved.iter().filter(counts).map(|one| one.bytes).max()
}

#[derive(Default)]
struct Taken {
    all: Share,
    of: HashMap<Arc<str>, Share>,
    lattices: HashMap<LatticeId, Vec<Reserved>>,
    next: u64,
}

impl Taken {
    fn of(&self, owner: &str) -> Share {
        self.of.get(owner).copied().unwrap_or_default()
    }

    /// Changes what a lattice has reserved, and the shares with it.
    fn change(
        &mut self,
        lattice: &LatticeId,
        owner: &Arc<str>,
        act: impl FnOnce(&mut Vec<Reserved>),
    ) {
        let reserved = self.lattices.entry(lattice.clone()).or_default();
        let before = (size(reserved, None), size(reserved, Some(owner)));
        act(reserved);
        let after = (size(reserved, None), size(reserved, Some(owner)));
        if reserved.is_empty() {
            self.lattices.remove(lattice);
        }
        self.all = self.all.with(before.0, after.0);
        let own = self.of(owner).with(before.1, after.1);
        match own.lattices {
            0 => drop(self.of.remove(owner)),
            _ => drop(self.of.insert(owner.clone(), own)),
        }
    }
}

/// The limits, and what is taken of them.
pub(super) struct Ledger {
    limits: LatticeLimits,
    isolation: Isolation,
    taken: Lock<Taken>,
}

/// What the credentials of one lattice take of the limits, until this is dropped.
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    lattice: LatticeId,
    owner: Arc<str>,
    number: u64,
}

impl Ledger {
    pub(super) fn new(limits: LatticeLimits, isolation: Isolation) -> Arc<Self> {
        Arc::new(Self {
            limits,
            isolation,
            taken: Lock::default(),
        })
    }

    /// Reserves so many bytes for an actor's credentials of a lattice. They replace
    /// what the lattice has reserved already, and need no room beside it.
    ///
    /// # Errors
    /// `LimitReached`; the message names the setting.
    pub(super) fn reserve(
        self: &Arc<Self>,
        lattice: &LatticeId,
        owner: &Arc<str>,
        bytes: usize,
    ) -> Result<Reservation, Error> {
        let mut taken = self.taken.lock();
        self.check(&taken, lattice, owner, bytes)?;
        let number = taken.next;
        taken.next += 1;
        taken.change(lattice, owner, |reserved| {
            reserved.push(Reserved {
                number,
                owner: owner.clone(),
                bytes,
            });
        });
        Ok(Reservation {
            ledger: self.clone(),
            lattice: lattice.clone(),
            owner: owner.clone(),
            number,
        })
    }

    fn check(
        &self,
        taken: &Taken,
        lattice: &LatticeId,
        owner: &Arc<str>,
        bytes: usize,
    ) -> Result<(), Error> {
        let limits = &self.limits;
        let reserved = taken.lattices.get(lattice).map_or(&[][..], Vec::as_slice);
        let lattice = lattice.as_str();
        let full = |message: String| Err(Error::new(Kind::LimitReached, message));
        let grown = |share: Share, before: Option<usize>| {
            let others = share.with(before, None);
            (others, share.with(before, before.max(Some(bytes))))
        };
        let (others, all) = grown(taken.all, size(reserved, None));
        let most = limits.lattices;
        if all.lattices > most {
            return full(format!(
                "lattice {lattice:?}: credentials of {most} lattices are known, and the provider \
                 takes no more (max_lattices)"
            ));
        }
        let most = limits.credentials_bytes;
        if all.bytes > most {
            return full(format!(
                "lattice {lattice:?}: its credentials have {bytes} bytes beside {} of other \
                 lattices, and the provider holds {most} (max_credentials_bytes)",
                others.bytes
            ));
        }
        if self.isolation == Isolation::Actor {
            let (others, own) = grown(taken.of(owner), size(reserved, Some(owner)));
            let most = limits.of_actor();
            if own.lattices > most {
                return full(format!(
                    "lattice {lattice:?}: credentials of {most} lattices are known of actor \
                     {owner}, which may have no more (max_actor_lattices)"
                ));
            }
            let most = limits.credentials_bytes_of_actor();
            if own.bytes > most {
                return full(format!(
                    "lattice {lattice:?}: its credentials have {bytes} bytes beside {} of other \
                     lattices of actor {owner}, which may have {most} \
                     (max_actor_credentials_bytes)",
                    others.bytes
                ));
            }
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let number = self.number;
        let mut taken = self.ledger.taken.lock();
        taken.change(&self.lattice, &self.owner, |reserved| {
            reserved.retain(|one| one.number != number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(isolation: Isolation) -> Arc<Ledger> {
        let limits = LatticeLimits {
            lattices: 4,
            credentials_bytes: 100,
            ..LatticeLimits::default()
        };
        Ledger::new(limits, isolation)
    }

    fn take(
        ledger: &Arc<Ledger>,
        id: &str,
        owner: &str,
        bytes: usize,
    ) -> Result<Reservation, Error> {
        let lattice = LatticeId::parse(id).unwrap();
        ledger.reserve(&lattice, &owner.into(), bytes)
    }

    /// Checks that nothing was reserved, and that the message names the setting.
    fn full(reserved: Result<Reservation, Error>, setting: &str) {
        let problem = reserved.err().unwrap().to_string();
        assert!(problem.contains(&format!("({setting})")), "{problem}");
    }

    #[test]
    fn there_is_room_for_so_many_lattices_and_bytes() {
        let ledger = ledger(Isolation::None);
        let four: Vec<_> = ["a", "b", "c", "d"]
            .map(|id| take(&ledger, id, "M", 10).unwrap())
            .into();
        full(take(&ledger, "e", "M", 1), "max_lattices");
        drop(four);
        let most = take(&ledger, "a", "M", 100).unwrap();
        full(take(&ledger, "b", "N", 1), "max_credentials_bytes");
        drop(most);
        assert!(take(&ledger, "b", "N", 100).is_ok());
        let taken = ledger.taken.lock();
        assert!(taken.of.is_empty() && taken.lattices.is_empty() && taken.all == Share::default());
    }

    #[test]
    fn under_isolation_nobody_has_more_than_a_share() {
        let ledger = ledger(Isolation::Actor);
        let two = ["a", "b"].map(|id| take(&ledger, id, "M", 10).unwrap());
        full(take(&ledger, "c", "M", 1), "max_actor_lattices");
        full(take(&ledger, "c", "N", 51), "max_actor_credentials_bytes");
        assert!(take(&ledger, "c", "N", 50).is_ok());
        drop(two);
        assert!(take(&ledger, "a", "M", 50).is_ok());
    }

    #[test]
    fn what_replaces_something_needs_no_room_beside_it() {
        let ledger = ledger(Isolation::Actor);
        let _b = take(&ledger, "b", "M", 10).unwrap();
        let old = take(&ledger, "a", "M", 40).unwrap();
        // Everybody is at a limit, and replaces all the same: what is heard of the
        // store meanwhile as well.
        let new = take(&ledger, "a", "M", 39).unwrap();
        let heard = take(&ledger, "a", "M", 40).unwrap();
        full(take(&ledger, "a", "M", 41), "max_actor_credentials_bytes");
        drop((old, heard));
        assert_eq!(ledger.taken.lock().all.bytes, 49);
        // Another's room makes none in the own share.
        let _two = ["c", "d"].map(|id| take(&ledger, id, "N", 1).unwrap());
        full(take(&ledger, "a", "N", 1), "max_actor_lattices");
        drop(new);
    }
}
