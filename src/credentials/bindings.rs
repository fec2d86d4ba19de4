//! Which lattice is bound to which credentials.

use std::collections::VecDeque;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::credentials::given::ContentHash;
use crate::credentials::ledger::Reservation;
use crate::credentials::owners::Owners;
use crate::credentials::route::Route;
use crate::credentials::vault::Kept;
use crate::credentials::vault::bucket::Version;
use crate::lock::Lock;
use crate::name::LatticeId;

/// What a lattice is bound to.
#[derive(Clone)]
pub(super) struct Binding {
    pub(super) route: Arc<Route>,
    /// The actor that set it.
    pub(super) owner: Arc<str>,
    /// Hash of what the actor gave.
    pub(super) hash: ContentHash,
    /// When it was set, in milliseconds since 1970.
    pub(super) set_at: u64,
    /// Where it is kept.
    pub(super) kept: Kept,
}

impl Binding {
    /// Whether it replaces an older one.
    fn replaces(&self, old: &Self) -> bool {
        match (self.kept.version, old.kept.version) {
            (Some(new), Some(old)) => new > old,
            // What was set while there was no bucket may be newer than what is
            // found in the bucket.
            (Some(_), None) => self.set_at >= old.set_at,
            (None, _) => true,
        }
    }
}

/// A binding, and what it takes of the limits.
struct Row {
    binding: Binding,
    /// Given back when the row is dropped.
    _reservation: Reservation,
}

/// The bindings of all lattices.
pub(super) struct Bindings {
    table: DashMap<LatticeId, Row>,
    owners: Owners,
    /// The last removals, newest first. Each has the version of the removal.
    removals: Lock<VecDeque<(LatticeId, Version)>>,
}

/// How many removals are remembered: a value that was written before a removal may
/// arrive a moment after it.
const REMOVALS_KEPT: usize = 256;

/// What became of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// It counts, and calls go another way than before.
    NewRoute,
    /// It counts, and calls go the same way as before.
    SameRoute,
    /// It is older than what is bound, and does not count.
    Outdated,
    /// What is bound belongs to another actor.
    OtherOwner,
}

impl Bindings {
    pub(super) fn new(owners: Owners) -> Self {
        Self {
            table: DashMap::new(),
            owners,
            removals: Lock::default(),
        }
    }

    /// Returns what a lattice is bound to.
    pub(super) fn get(&self, lattice: &LatticeId) -> Option<Binding> {
        // The guard of the table ends with this statement, before any await.
        let row = self.table.get(lattice);
        row.map(|row| row.binding.clone())
    }

    /// Binds a lattice, unless it is bound to something newer. Whether an actor may
    /// replace what is in the bucket was decided when it was written there.
    pub(super) fn put(
        &self,
        lattice: LatticeId,
        mut new: Binding,
        reservation: Reservation,
    ) -> Bound {
        match self.table.entry(lattice) {
            Entry::Vacant(entry) => {
                let version = new.kept.version;
                if version.is_some_and(|version| self.is_removed(entry.key(), version)) {
                    return Bound::Outdated;
                }
                entry.insert(Row {
                    binding: new,
                    _reservation: reservation,
                });
                Bound::NewRoute
            }
            Entry::Occupied(mut entry) => {
                let old = &entry.get().binding;
                let is_foreign = !self.owners.may_use(&new.owner, &old.owner);
                if is_foreign && new.kept.version.is_none() {
                    return Bound::OtherOwner;
                }
                // What another actor has in the bucket counts, however old, against
                // what is in memory only.
                let counts = is_foreign && old.kept.version.is_none();
                if !counts && !new.replaces(old) {
                    return Bound::Outdated;
                }
                let is_same = new.route.is_like(&old.route);
                if is_same {
                    new.route = old.route.clone();
                }
                entry.insert(Row {
                    binding: new,
                    _reservation: reservation,
                });
                match is_same {
                    true => Bound::SameRoute,
                    false => Bound::NewRoute,
                }
            }
        }
    }

    /// Removes the binding of a lattice, unless it is newer than this removal;
    /// returns whether there was one. An older version that arrives later does
    /// not bind the lattice again.
    pub(super) fn remove(&self, lattice: &LatticeId, version: Version) -> bool {
        {
            let mut removals = self.removals.lock();
            removals.truncate(REMOVALS_KEPT - 1);
            removals.push_front((lattice.clone(), version));
        }
        self.unbind(lattice, version)
    }

    /// Drops a binding, unless it is newer than this version. That is no removal:
    /// the same version may be bound later.
    pub(super) fn unbind(&self, lattice: &LatticeId, version: Version) -> bool {
        let is_older = |_: &LatticeId, row: &Row| {
            let bound = row.binding.kept.version;
            bound.is_some_and(|bound| bound <= version)
        };
        self.table.remove_if(lattice, is_older).is_some()
    }

    /// Whether this version of a lattice was removed a moment ago.
    fn is_removed(&self, lattice: &LatticeId, version: Version) -> bool {
        let removals = self.removals.lock();
        let covers = |(of, removed): &(LatticeId, Version)| of == lattice && *removed >= version;
        removals.iter().any(covers)
    }

    /// Whether any binding is like this.
    pub(super) fn any(&self, is: impl Fn(&Binding) -> bool) -> bool {
        self.table.iter().any(|row| is(&row.binding))
    }

    /// Returns every binding.
    pub(super) fn all(&self) -> Vec<(LatticeId, Binding)> {
        let all = self.table.iter();
        all.map(|row| (row.key().clone(), row.binding.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::ledger::Ledger;
    use crate::credentials::shared::SharedCredentials;
    use crate::credentials::shared::tests::shared;
    use crate::name::JsDomain;
    use crate::settings::{Isolation, LatticeLimits};

    fn lattice(id: &str) -> LatticeId {
        LatticeId::parse(id).unwrap()
    }

    fn binding(
        credentials: &Arc<SharedCredentials>,
        set_at: u64,
        revision: Option<u64>,
    ) -> Binding {
        let version = revision.map(version);
        Binding {
            route: Arc::new(Route::new(credentials.clone(), None)),
            owner: "M".into(),
            hash: ContentHash::default(),
            set_at,
            kept: Kept {
                sealed: None,
                version,
            },
        }
    }

    fn version(revision: u64) -> Version {
        Version { era: 7, revision }
    }

    fn bindings(isolation: Isolation) -> Bindings {
        Bindings::new(Owners(isolation))
    }

    impl Bindings {
        fn put_one(&self, lattice: LatticeId, binding: Binding) -> Bound {
            let ledger = Ledger::new(LatticeLimits::default(), self.owners.0);
            let reservation = ledger.reserve(&lattice, &binding.owner, 1).unwrap();
            self.put(lattice, binding, reservation)
        }
    }

    #[test]
    fn a_route_lasts_as_long_as_calls_go_the_same_way() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        let (one, two) = (shared("h1"), shared("h2"));
        assert_eq!(
            bindings.put_one(x.clone(), binding(&one, 1, None)),
            Bound::NewRoute
        );
        let first = bindings.get(&x).unwrap().route.number;
        assert_eq!(
            bindings.put_one(x.clone(), binding(&one, 2, None)),
            Bound::SameRoute
        );
        assert_eq!(bindings.get(&x).unwrap().route.number, first);
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 3, None)),
            Bound::NewRoute
        );
        assert_ne!(bindings.get(&x).unwrap().route.number, first);
        let mut elsewhere = binding(&two, 4, None);
        elsewhere.route = Arc::new(Route::new(two.clone(), JsDomain::parse("hub").ok()));
        assert_eq!(bindings.put_one(x, elsewhere), Bound::NewRoute);
    }

    #[test]
    fn the_newest_in_the_store_counts_in_whatever_order_it_is_heard() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        let (one, two) = (shared("h1"), shared("h2"));
        bindings.put_one(x.clone(), binding(&one, 1, Some(5)));
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 9, Some(4))),
            Bound::Outdated
        );
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 9, Some(5))),
            Bound::Outdated
        );
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 1, Some(6))),
            Bound::NewRoute
        );
        // A bucket that was made anew counts from 1 again.
        let mut anew = binding(&one, 1, Some(1));
        anew.kept.version = Some(Version {
            era: 8,
            revision: 1,
        });
        assert_eq!(bindings.put_one(x, anew), Bound::NewRoute);
    }

    #[test]
    fn what_was_set_without_a_store_stays_unless_the_store_has_newer() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        let (one, two) = (shared("h1"), shared("h2"));
        bindings.put_one(x.clone(), binding(&one, 100, None));
        assert_eq!(
            bindings.put_one(x.clone(), binding(&two, 50, Some(3))),
            Bound::Outdated
        );
        assert_eq!(
            bindings.put_one(x, binding(&two, 150, Some(3))),
            Bound::NewRoute
        );
    }

    #[test]
    fn a_removal_is_older_than_what_was_set_after_it() {
        let (bindings, x) = (bindings(Isolation::None), lattice("x"));
        bindings.put_one(x.clone(), binding(&shared("h"), 1, Some(5)));
        assert!(!bindings.remove(&x, version(4)));
        assert!(bindings.remove(&x, version(5)));
        assert!(bindings.get(&x).is_none());
        // What is heard of late does not come back; what is set anew does.
        let late = binding(&shared("h"), 1, Some(5));
        assert_eq!(bindings.put_one(x.clone(), late), Bound::Outdated);
        let anew = binding(&shared("h"), 1, Some(6));
        assert_eq!(bindings.put_one(x, anew), Bound::NewRoute);
    }

    #[test]
    fn there_is_room_for_so_many_and_for_those_that_are_there() {
        let limits = LatticeLimits {
            lattices: 1,
            ..LatticeLimits::default()
        };
        let bindings = bindings(Isolation::None);
        let ledger = Ledger::new(limits, Isolation::None);
        let reserve = |id: &str| ledger.reserve(&lattice(id), &"M".into(), 1);
        let reserved = reserve("x").ok().unwrap();
        bindings.put(lattice("x"), binding(&shared("h"), 1, Some(1)), reserved);
        assert!(reserve("x").is_ok() && reserve("y").is_err());
        assert!(bindings.remove(&lattice("x"), version(1)));
        assert!(reserve("y").is_ok());
    }

    #[test]
    fn the_last_removals_are_kept_in_mind_and_no_more() {
        let bindings = bindings(Isolation::None);
        for number in 0..10 * REMOVALS_KEPT as u64 {
            bindings.remove(&lattice(&format!("x{number}")), version(number));
        }
        assert_eq!(bindings.removals.lock().len(), REMOVALS_KEPT);
        let last = 10 * REMOVALS_KEPT as u64 - 1;
        let x = lattice(&format!("x{last}"));
        let late = binding(&shared("h"), 1, Some(last));
        assert_eq!(bindings.put_one(x, late), Bound::Outdated);
    }

    #[test]
    fn under_isolation_a_binding_is_its_owners_alone() {
        let (bindings, x) = (bindings(Isolation::Actor), lattice("x"));
        bindings.put_one(x.clone(), binding(&shared("h1"), 1, None));
        let mut others = binding(&shared("h2"), 2, None);
        others.owner = "N".into();
        assert_eq!(
            bindings.put_one(x.clone(), others.clone()),
            Bound::OtherOwner
        );
        assert!(bindings.owners.may_use("M", "M") && !bindings.owners.may_use("N", "M"));
        // The store says whose it is, even where that is older.
        others.set_at = 0;
        others.kept.version = Some(Version {
            era: 7,
            revision: 1,
        });
        assert_eq!(bindings.put_one(x, others), Bound::NewRoute);
    }
}
