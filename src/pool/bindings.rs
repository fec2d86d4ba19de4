//! Which lattice is bound to which credentials.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::slot::Slot;
use super::store::bucket::Version;
use crate::name::{JsDomain, LatticeId};

/// What a lattice is bound to.
pub(super) struct Binding<K> {
    /// The connection of its credentials.
    pub(super) slot: Arc<Slot>,
    /// JetStream domain of the lattice.
    pub(super) js_domain: Option<JsDomain>,
    /// What is kept for as long as the binding stays the same.
    pub(super) kept: Arc<K>,
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
}

/// What became of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// From now on calls go another way than before.
    Anew,
    /// They go the way that they went.
    Same,
    /// There is a newer one.
    Old,
}

impl<K> Bindings<K> {
    /// No bindings, and at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            table: DashMap::new(),
            most,
        }
    }

    pub(super) fn get(&self, lattice: &LatticeId) -> Option<Binding<K>> {
        // The guard of the table ends with this statement, before any await.
        self.table.get(lattice).map(|binding| binding.clone())
    }

    /// Whether this lattice may be bound.
    pub(super) fn has_room_for(&self, lattice: &LatticeId) -> bool {
        self.table.len() < self.most || self.table.contains_key(lattice)
    }

    /// Binds a lattice, unless it is bound by something newer.
    pub(super) fn put(&self, lattice: LatticeId, mut new: Binding<K>) -> Bound {
        match self.table.entry(lattice) {
            Entry::Vacant(entry) => {
                entry.insert(new);
                Bound::Anew
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get();
                if !new.supersedes(old) {
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

    /// Lets a lattice go, unless it was bound after it was removed; whether it
    /// was bound.
    pub(super) fn remove(&self, lattice: &LatticeId, version: Version) -> bool {
        let older =
            |_: &LatticeId, bound: &Binding<K>| bound.version.is_some_and(|bound| bound < version);
        self.table.remove_if(lattice, older).is_some()
    }

    /// What is bound and not in a bucket in which these lattices are `seen`.
    pub(super) fn not_in(&self, seen: &HashSet<LatticeId>) -> Vec<(LatticeId, Binding<K>)> {
        let all = self.table.iter();
        all.filter(|entry| !seen.contains(entry.key()))
            .map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect()
    }
}
