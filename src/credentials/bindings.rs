//! Which lattice is bound to which credentials.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::connections::slot::Slot;
use crate::credentials::ledger::{Ledger, Room};
use crate::credentials::vault::Mark;
use crate::credentials::vault::bucket::Version;
use crate::error::Error;
use crate::name::{JsDomain, LatticeId};
use crate::settings::{Isolation, PoolLimits};

/// What a lattice is bound to.
pub(crate) struct Binding<K> {
    /// The connection of its credentials.
    pub(crate) slot: Arc<Slot>,
    /// JetStream domain of the lattice.
    pub(crate) js_domain: Option<JsDomain>,
    /// What is kept for as long as the binding stays the same.
    pub(crate) kept: Arc<K>,
    /// The actor that set it.
    pub(crate) owner: Arc<str>,
    /// What the entry is told from others by.
    pub(crate) mark: Mark,
    /// When it was set, in milliseconds since 1970.
    pub(crate) set_at: u64,
    /// The entry of the store, as it stands there or should.
    pub(crate) sealed: Option<Bytes>,
    /// Where it stands in the store, if it does.
    pub(crate) version: Option<Version>,
}

impl<K> Clone for Binding<K> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            js_domain: self.js_domain.clone(),
            kept: self.kept.clone(),
            owner: self.owner.clone(),
            mark: self.mark,
            set_at: self.set_at,
            sealed: self.sealed.clone(),
            version: self.version,
        }
    }
}

impl<K> Binding<K> {
    /// Whether calls go the same way.
    fn leads_where(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot) && self.js_domain == other.js_domain
    }

    /// Whether it counts more than another one that came before it.
    fn supersedes(&self, old: &Self) -> bool {
        match (self.version, old.version) {
            (Some(new), Some(old)) => new > old,
            // What was set while there was no store may be newer than what is
            // found there.
            (Some(_), None) => self.set_at >= old.set_at,
            (None, _) => true,
        }
    }
}

/// A binding, and the room that it takes.
struct Roomed<K> {
    binding: Binding<K>,
    /// Given back with it.
    _room: Room,
}

/// The bindings of all lattices.
pub(crate) struct Bindings<K> {
    table: DashMap<LatticeId, Roomed<K>>,
    ledger: Arc<Ledger>,
    isolation: Isolation,
    /// The last removals, newest first, with what was the newest version then.
    removals: Mutex<VecDeque<(LatticeId, Version)>>,
}

/// Removals that are kept in mind: what was written before them may be heard of
/// a moment later.
const REMOVALS_KEPT: usize = 256;

/// What became of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// From now on calls go another way than before.
    Anew,
    /// They go the way that they went.
    Same,
    /// There is a newer one.
    Old,
    /// What is bound belongs to another actor.
    Foreign,
}

impl<K> Bindings<K> {
    /// No bindings, and room for so many.
    pub(crate) fn new(limits: PoolLimits, isolation: Isolation) -> Self {
        Self {
            table: DashMap::new(),
            ledger: Ledger::new(limits, isolation),
            isolation,
            removals: Mutex::default(),
        }
    }

    /// Whether an actor may use, or replace, what another one may have set.
    pub(crate) fn may(&self, actor: &str, owner: &str) -> bool {
        self.isolation == Isolation::None || actor == owner
    }

    pub(crate) fn get(&self, lattice: &LatticeId) -> Option<Binding<K>> {
        // The guard of the table ends with this statement, before any await.
        let roomed = self.table.get(lattice);
        roomed.map(|roomed| roomed.binding.clone())
    }

    /// Room for an actor's credentials of a lattice, in so many bytes.
    ///
    /// # Errors
    /// `LimitReached`.
    pub(crate) fn room(
        &self,
        lattice: &LatticeId,
        owner: &Arc<str>,
        bytes: usize,
    ) -> Result<Room, Error> {
        self.ledger.room(lattice, owner, bytes)
    }

    /// Binds a lattice, unless it is bound by something newer. What is in the
    /// store counts whoever set it: that was decided there.
    pub(crate) fn put(&self, lattice: LatticeId, mut new: Binding<K>, room: Room) -> Bound {
        match self.table.entry(lattice) {
            Entry::Vacant(entry) => {
                let version = new.version;
                if version.is_some_and(|version| self.is_removed(entry.key(), version)) {
                    return Bound::Old;
                }
                entry.insert(Roomed {
                    binding: new,
                    _room: room,
                });
                Bound::Anew
            }
            Entry::Occupied(mut entry) => {
                let old = &entry.get().binding;
                let (is_stored, foreign) =
                    (new.version.is_some(), !self.may(&new.owner, &old.owner));
                if foreign && !is_stored {
                    return Bound::Foreign;
                }
                // Nobody's claim in the store is outdone by one that is not there.
                let claimed = foreign && old.version.is_none();
                if !claimed && !new.supersedes(old) {
                    return Bound::Old;
                }
                let same = new.leads_where(old);
                if same {
                    new.kept = old.kept.clone();
                }
                entry.insert(Roomed {
                    binding: new,
                    _room: room,
                });
                match same {
                    true => Bound::Same,
                    false => Bound::Anew,
                }
            }
        }
    }

    /// Lets a lattice go, unless it was bound after this version; whether it was
    /// bound. What was bound before, and is heard of later, does not come back.
    pub(crate) fn remove(&self, lattice: &LatticeId, version: Version) -> bool {
        {
            let mut removals = self.removals();
            removals.truncate(REMOVALS_KEPT - 1);
            removals.push_front((lattice.clone(), version));
        }
        self.let_go(lattice, version)
    }

    /// The same for one that is not removed, but cannot be taken.
    pub(crate) fn let_go(&self, lattice: &LatticeId, version: Version) -> bool {
        let older = |_: &LatticeId, bound: &Roomed<K>| {
            let bound = bound.binding.version;
            bound.is_some_and(|bound| bound <= version)
        };
        self.table.remove_if(lattice, older).is_some()
    }

    /// Whether this version of a lattice was removed a moment ago.
    fn is_removed(&self, lattice: &LatticeId, version: Version) -> bool {
        let removals = self.removals();
        let covers = |(of, removed): &(LatticeId, Version)| of == lattice && *removed >= version;
        removals.iter().any(covers)
    }

    fn removals(&self) -> MutexGuard<'_, VecDeque<(LatticeId, Version)>> {
        let removals = self.removals.lock();
        removals.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this holds for anything that is bound.
    pub(crate) fn any(&self, holds: impl Fn(&Binding<K>) -> bool) -> bool {
        self.table.iter().any(|entry| holds(&entry.binding))
    }

    /// Everything that is bound.
    pub(crate) fn all(&self) -> Vec<(LatticeId, Binding<K>)> {
        let all = self.table.iter();
        all.map(|entry| (entry.key().clone(), entry.binding.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::connections::capacity::Shared;
    use crate::credentials::vault::Entry as Set;
    use crate::credentials::{Credentials, FingerprintKey};
    use crate::settings::PoolLimits;

    /// Tells one from another.
    struct Number(u64);

    impl Default for Number {
        fn default() -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            Self(NEXT.fetch_add(1, Ordering::Relaxed))
        }
    }

    fn lattice(id: &str) -> LatticeId {
        LatticeId::parse(id).unwrap()
    }

    fn slot(url: &str) -> Arc<Slot> {
        let set = Set {
            lattice: lattice("x"),
            actor: "M".into(),
            set_at: 0,
            urls: url.into(),
            jwt: None,
            seed: None,
            js_domain: None,
        };
        let credentials = Credentials::new(&set).unwrap();
        let fingerprint = credentials.fingerprint(&FingerprintKey::new([7; 16]));
        let shared = Arc::new(Shared::new("test".into(), PoolLimits::default()));
        Arc::new(Slot::new(credentials, fingerprint, shared))
    }

    fn binding(slot: &Arc<Slot>, set_at: u64, revision: Option<u64>) -> Binding<Number> {
        Binding {
            slot: slot.clone(),
            js_domain: None,
            kept: Arc::default(),
            owner: "M".into(),
            mark: Mark::default(),
            set_at,
            sealed: None,
            version: revision.map(|revision| Version { era: 7, revision }),
        }
    }

    fn bindings(isolation: Isolation) -> Bindings<Number> {
        Bindings::new(PoolLimits::default(), isolation)
    }

    impl Bindings<Number> {
        fn put_one(&self, lattice: LatticeId, binding: Binding<Number>) -> Bound {
            let room = self.room(&lattice, &binding.owner, 1).unwrap();
            self.put(lattice, binding, room)
        }
    }

    #[test]
    fn what_is_kept_lasts_as_long_as_calls_go_the_same_way() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        let (one, two) = (slot("h1"), slot("h2"));
        assert_eq!(
            bindings.put_one(x.clone(), binding(&one, 1, None)),
            Bound::Anew
        );
        let first = bindings.get(&x).unwrap().kept.0;
        assert_eq!(
            bindings.put_one(x.clone(), binding(&one, 2, None)),
            Bound::Same
        );
        assert_eq!(bindings.get(&x).unwrap().kept.0, first);
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 3, None)),
            Bound::Anew
        );
        assert_ne!(bindings.get(&x).unwrap().kept.0, first);
        let mut elsewhere = binding(&two, 4, None);
        elsewhere.js_domain = Some(JsDomain::parse("hub").unwrap());
        assert_eq!(bindings.put_one(x, elsewhere), Bound::Anew);
    }

    #[test]
    fn the_newest_in_the_store_counts_in_whatever_order_it_is_heard() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        let (one, two) = (slot("h1"), slot("h2"));
        bindings.put_one(x.clone(), binding(&one, 1, Some(5)));
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 9, Some(4))),
            Bound::Old
        );
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 9, Some(5))),
            Bound::Old
        );
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 1, Some(6))),
            Bound::Anew
        );
        // A bucket that was made anew counts from 1 again.
        let mut anew = binding(&one, 1, Some(1));
        anew.version = Some(Version {
            era: 8,
            revision: 1,
        });
        assert_eq!(bindings.put_one(x, anew), Bound::Anew);
    }

    #[test]
    fn what_was_set_without_a_store_stays_unless_the_store_has_newer() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        let (one, two) = (slot("h1"), slot("h2"));
        bindings.put_one(x.clone(), binding(&one, 100, None));
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 50, Some(3))),
            Bound::Old
        );
        assert_eq!(
            bindings.put_one(x, binding(&two, 150, Some(3))),
            Bound::Anew
        );
    }

    #[test]
    fn a_removal_is_older_than_what_was_set_after_it() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        bindings.put_one(x.clone(), binding(&slot("h"), 1, Some(5)));
        let version = |revision| Version { era: 7, revision };
        assert!(!bindings.remove(&x, version(4)));
        assert!(bindings.remove(&x, version(5)));
        assert!(bindings.get(&x).is_none());
        // What is heard of late does not come back; what is set anew does.
        let late = binding(&slot("h"), 1, Some(5));
        assert_eq!(bindings.put_one(x.clone(), late), Bound::Old);
        let anew = binding(&slot("h"), 1, Some(6));
        assert_eq!(bindings.put_one(x, anew), Bound::Anew);
    }

    #[test]
    fn there_is_room_for_so_many_and_for_those_that_are_there() {
        let limits = PoolLimits {
            lattices: 1,
            ..PoolLimits::default()
        };
        let bindings = Bindings::new(limits, Isolation::None);
        let room = |id: &str| bindings.room(&lattice(id), &"M".into(), 1);
        bindings.put_one(lattice("x"), binding(&slot("h"), 1, Some(1)));
        assert!(room("x").is_ok() && room("y").is_err());
        let version = |revision| Version { era: 7, revision };
        assert!(bindings.remove(&lattice("x"), version(1)));
        assert!(room("y").is_ok());
    }

    #[test]
    fn the_last_removals_are_kept_in_mind_and_no_more() {
        let (bindings, version) = (bindings(Isolation::None), |revision| Version {
            era: 7,
            revision,
        });
        for number in 0..10 * REMOVALS_KEPT as u64 {
            bindings.remove(&lattice(&format!("x{number}")), version(number));
        }
        assert_eq!(bindings.removals().len(), REMOVALS_KEPT);
        let last = 10 * REMOVALS_KEPT as u64 - 1;
        let x = lattice(&format!("x{last}"));
        let late = binding(&slot("h"), 1, Some(last));
        assert_eq!(bindings.put_one(x, late), Bound::Old);
    }

    #[test]
    fn under_isolation_a_binding_is_its_owners_alone() {
        let (bindings, x) = (bindings(Isolation::Actor), lattice("x"));
        bindings.put_one(x.clone(), binding(&slot("h1"), 1, None));
        let mut others = binding(&slot("h2"), 2, None);
        others.owner = "N".into();
        assert_eq!(bindings.put_one(x.clone(), others.clone()), Bound::Foreign);
        assert!(bindings.may("M", "M") && !bindings.may("N", "M"));
        // The store says whose it is, even where that is older.
        others.set_at = 0;
        others.version = Some(Version {
            era: 7,
            revision: 1,
        });
        assert_eq!(bindings.put_one(x, others), Bound::Anew);
    }
}
