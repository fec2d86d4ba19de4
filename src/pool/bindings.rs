//! Which lattice is bound to which credentials.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::slot::Slot;
use super::store::bucket::Version;
use crate::name::{JsDomain, LatticeId};
use crate::settings::Isolation;

/// What a lattice is bound to.
pub(super) struct Binding<K> {
    /// The connection of its credentials.
    pub(super) slot: Arc<Slot>,
    /// JetStream domain of the lattice.
    pub(super) js_domain: Option<JsDomain>,
    /// What is kept for as long as the binding stays the same.
    pub(super) kept: Arc<K>,
    /// The actor that set it.
    pub(super) owner: Box<str>,
    /// When it was set, in milliseconds since 1970.
    pub(super) set_at: u64,
    /// The entry of the store, as it stands there or should.
    pub(super) sealed: Option<Bytes>,
    /// Where it stands in the store, if it does.
    pub(super) version: Option<Version>,
}

impl<K> Clone for Binding<K> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            js_domain: self.js_domain.clone(),
            kept: self.kept.clone(),
            owner: self.owner.clone(),
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

/// The bindings of all lattices.
pub(super) struct Bindings<K> {
    table: DashMap<LatticeId, Binding<K>>,
    most: usize,
    isolation: Isolation,
    /// The last removals, with what was the newest version then.
    removals: Mutex<VecDeque<(LatticeId, Version)>>,
}

/// Removals that are kept in mind: what was written before them may be heard of
/// a moment later.
const REMOVALS_KEPT: usize = 256;

/// What became of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
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
    /// No bindings, and at most so many.
    pub(super) fn new(most: usize, isolation: Isolation) -> Self {
        Self {
            table: DashMap::new(),
            most,
            isolation,
            removals: Mutex::default(),
        }
    }

    /// Whether an actor may use, or replace, what another one may have set.
    pub(super) fn may(&self, actor: &str, owner: &str) -> bool {
        self.isolation == Isolation::None || actor == owner
    }

    pub(super) fn get(&self, lattice: &LatticeId) -> Option<Binding<K>> {
        // The guard of the table ends with this statement, before any await.
        self.table.get(lattice).map(|binding| binding.clone())
    }

    /// Whether this lattice may be bound.
    pub(super) fn has_room_for(&self, lattice: &LatticeId) -> bool {
        self.table.len() < self.most || self.table.contains_key(lattice)
    }

    /// Binds a lattice, unless it is bound by something newer. What is in the
    /// store counts whoever set it: that was decided there.
    pub(super) fn put(&self, lattice: LatticeId, mut new: Binding<K>) -> Bound {
        match self.table.entry(lattice) {
            Entry::Vacant(entry) => {
                let version = new.version;
                if version.is_some_and(|version| self.is_removed(entry.key(), version)) {
                    return Bound::Old;
                }
                entry.insert(new);
                Bound::Anew
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get();
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
                entry.insert(new);
                match same {
                    true => Bound::Same,
                    false => Bound::Anew,
                }
            }
        }
    }

    /// Lets a lattice go, unless it was bound after this version; whether it was
    /// bound. What was bound before, and is heard of later, does not come back.
    pub(super) fn remove(&self, lattice: &LatticeId, version: Version) -> bool {
        self.removals().push_back((lattice.clone(), version));
        let older =
            |_: &LatticeId, bound: &Binding<K>| bound.version.is_some_and(|bound| bound <= version);
        self.table.remove_if(lattice, older).is_some()
    }

    /// Whether this version of a lattice was removed a moment ago.
    fn is_removed(&self, lattice: &LatticeId, version: Version) -> bool {
        let mut removals = self.removals();
        while removals.len() > REMOVALS_KEPT {
            removals.pop_front();
        }
        let covers = |(of, removed): &(LatticeId, Version)| of == lattice && *removed >= version;
        removals.iter().any(covers)
    }

    fn removals(&self) -> MutexGuard<'_, VecDeque<(LatticeId, Version)>> {
        let removals = self.removals.lock();
        removals.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this holds for anything that is bound.
    pub(super) fn any(&self, holds: impl Fn(&Binding<K>) -> bool) -> bool {
        self.table.iter().any(|entry| holds(entry.value()))
    }

    /// Everything that is bound.
    pub(super) fn all(&self) -> Vec<(LatticeId, Binding<K>)> {
        let all = self.table.iter();
        all.map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::limits::Shared;
    use super::super::store::Entry as Set;
    use super::super::{Credentials, FingerprintKey};
    use super::*;
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
        let fingerprint = credentials.fingerprint(&FingerprintKey::random());
        let shared = Arc::new(Shared::new("test".into(), PoolLimits::default()));
        Arc::new(Slot::new(credentials, fingerprint, shared))
    }

    fn binding(slot: &Arc<Slot>, set_at: u64, revision: Option<u64>) -> Binding<Number> {
        Binding {
            slot: slot.clone(),
            js_domain: None,
            kept: Arc::default(),
            owner: "M".into(),
            set_at,
            sealed: None,
            version: revision.map(|revision| Version { era: 7, revision }),
        }
    }

    #[test]
    fn what_is_kept_lasts_as_long_as_calls_go_the_same_way() {
        let (bindings, x) = (Bindings::new(9, Isolation::None), lattice("x"));
        let (one, two) = (slot("h1"), slot("h2"));
        assert_eq!(bindings.put(x.clone(), binding(&one, 1, None)), Bound::Anew);
        let first = bindings.get(&x).unwrap().kept.0;
        assert_eq!(bindings.put(x.clone(), binding(&one, 2, None)), Bound::Same);
        assert_eq!(bindings.get(&x).unwrap().kept.0, first);
        assert_eq!(bindings.put(x.clone(), binding(&two, 3, None)), Bound::Anew);
        assert_ne!(bindings.get(&x).unwrap().kept.0, first);
        let mut elsewhere = binding(&two, 4, None);
        elsewhere.js_domain = Some(JsDomain::parse("hub").unwrap());
        assert_eq!(bindings.put(x, elsewhere), Bound::Anew);
    }

    #[test]
    fn the_newest_in_the_store_counts_in_whatever_order_it_is_heard() {
        let (bindings, x) = (Bindings::new(9, Isolation::None), lattice("x"));
        let (one, two) = (slot("h1"), slot("h2"));
        bindings.put(x.clone(), binding(&one, 1, Some(5)));
        assert_eq!(
            bindings.put(x.clone(), binding(&two, 9, Some(4))),
            Bound::Old
        );
        assert_eq!(
            bindings.put(x.clone(), binding(&two, 9, Some(5))),
            Bound::Old
        );
        assert_eq!(
            bindings.put(x.clone(), binding(&two, 1, Some(6))),
            Bound::Anew
        );
        // A bucket that was made anew counts from 1 again.
        let mut anew = binding(&one, 1, Some(1));
        anew.version = Some(Version {
            era: 8,
            revision: 1,
        });
        assert_eq!(bindings.put(x, anew), Bound::Anew);
    }

    #[test]
    fn what_was_set_without_a_store_stays_unless_the_store_has_newer() {
        let (bindings, x) = (Bindings::new(9, Isolation::None), lattice("x"));
        let (one, two) = (slot("h1"), slot("h2"));
        bindings.put(x.clone(), binding(&one, 100, None));
        assert_eq!(
            bindings.put(x.clone(), binding(&two, 50, Some(3))),
            Bound::Old
        );
        assert_eq!(bindings.put(x, binding(&two, 150, Some(3))), Bound::Anew);
    }

    #[test]
    fn a_removal_is_older_than_what_was_set_after_it() {
        let (bindings, x) = (Bindings::new(9, Isolation::None), lattice("x"));
        bindings.put(x.clone(), binding(&slot("h"), 1, Some(5)));
        let version = |revision| Version { era: 7, revision };
        assert!(!bindings.remove(&x, version(4)));
        assert!(bindings.remove(&x, version(5)));
        assert!(bindings.get(&x).is_none());
        // What is heard of late does not come back; what is set anew does.
        let late = binding(&slot("h"), 1, Some(5));
        assert_eq!(bindings.put(x.clone(), late), Bound::Old);
        let anew = binding(&slot("h"), 1, Some(6));
        assert_eq!(bindings.put(x, anew), Bound::Anew);
    }

    #[test]
    fn there_is_room_for_so_many_and_for_those_that_are_there() {
        let bindings = Bindings::new(1, Isolation::None);
        assert!(bindings.has_room_for(&lattice("x")));
        bindings.put(lattice("x"), binding(&slot("h"), 1, None));
        assert!(bindings.has_room_for(&lattice("x")));
        assert!(!bindings.has_room_for(&lattice("y")));
    }

    #[test]
    fn under_isolation_a_binding_is_its_owners_alone() {
        let (bindings, x) = (Bindings::new(9, Isolation::Actor), lattice("x"));
        bindings.put(x.clone(), binding(&slot("h1"), 1, None));
        let mut others = binding(&slot("h2"), 2, None);
        others.owner = "N".into();
        assert_eq!(bindings.put(x.clone(), others.clone()), Bound::Foreign);
        assert!(bindings.may("M", "M") && !bindings.may("N", "M"));
        // The store says whose it is, even where that is older.
        others.set_at = 0;
        others.version = Some(Version {
            era: 7,
            revision: 1,
        });
        assert_eq!(bindings.put(x, others), Bound::Anew);
    }
}
