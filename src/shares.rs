//! Divides a number of places among parties, so that none of them can take all.
//!
//! Nothing is set aside for anybody, and yet a party that had no place finds one: others
//! stop while as many are free as each of them has.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::lock::Lock;

/// Whether a party that has `held` places may take `more`, while so many are free.
///
/// A party may have as many as it leaves free, and one more: one that takes all it can gets
/// half of the places, two get a third each, and `n` of them leave a part of `n + 1` free.
/// It makes no difference whether they are taken one by one.
pub fn may_take(held: usize, more: usize, free: usize) -> bool {
    let left = free.saturating_add(1).saturating_sub(more);
    held.saturating_add(more) <= left
}

/// Places that parties share by [`may_take`]. It remembers only parties that have any.
pub struct Shares<K> {
    most: usize,
    held: Lock<Counts<K>>,
}

struct Counts<K> {
    all: usize,
    by: HashMap<K, usize>,
}

/// The places of one party, which are free again when this value is dropped.
pub struct Share<K: Hash + Eq + Clone> {
    shares: Arc<Shares<K>>,
    party: K,
    places: usize,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Makes so many places.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Lock::new(Counts {
                all: 0,
                by: HashMap::new(),
            }),
        })
    }

    /// Returns a share without places.
    pub fn share(self: &Arc<Self>, party: K) -> Share<K> {
        Share {
            shares: self.clone(),
            party,
            places: 0,
        }
    }

    /// Returns how many places a party has, and how many all have together.
    fn held(&self, party: &K) -> (usize, usize) {
        let held = self.held.lock();
        (held.by.get(party).copied().unwrap_or_default(), held.all)
    }

    fn take(&self, party: &K, more: usize) -> bool {
        let mut held = self.held.lock();
        let own = held.by.get(party).copied().unwrap_or_default();
        if !may_take(own, more, self.most - held.all) {
            return false;
        }
        held.all += more;
        held.by.insert(party.clone(), own + more);
        true
    }

    fn give_back(&self, party: &K, places: usize) {
        let mut held = self.held.lock();
        held.all -= places;
        if let Some(own) = held.by.get_mut(party) {
            *own -= places;
            if *own == 0 {
                held.by.remove(party);
            }
        }
    }
}

impl<K: Hash + Eq + Clone> Share<K> {
    /// Takes more places; returns whether the party may have them.
    pub fn take(&mut self, more: usize) -> bool {
        let taken = more == 0 || self.shares.take(&self.party, more);
        self.places += if taken { more } else { 0 };
        taken
    }

    /// Gives all of its places back.
    pub fn give_back(&mut self) {
        let places = std::mem::take(&mut self.places);
        if places > 0 {
            self.shares.give_back(&self.party, places);
        }
    }

    /// Returns how many places it has.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Returns how many places its party has in all shares, and how many all parties have
    /// together.
    pub fn of_party(&self) -> (usize, usize) {
        self.shares.held(&self.party)
    }
}

impl<K: Hash + Eq + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes places one by one until there are no more; returns how many.
    fn fill(share: &mut Share<u8>) -> usize {
        std::iter::repeat_with(|| share.take(1))
            .take_while(|taken| *taken)
            .count()
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_as_much_for_the_next() {
        let shares = Shares::new(64);
        let mut hogs: Vec<_> = (0..3).map(|party| shares.share(party)).collect();
        let taken: Vec<_> = hogs.iter_mut().map(fill).collect();
        assert_eq!(taken, [32, 16, 8]);
        let mut newcomer = shares.share(9);
        assert!(newcomer.take(1));
        // What one gives back, all others share.
        hogs.remove(0);
        assert!(fill(&mut newcomer) >= 16);
    }

    #[test]
    fn one_place_is_a_place() {
        let shares = Shares::new(1);
        let mut first = shares.share(1);
        assert!(first.take(1) && !first.take(1) && !shares.share(2).take(1));
        drop(first);
        assert!(shares.share(2).take(1) && shares.held.lock().by.is_empty());
    }

    proptest! {
        /// In whatever order parties come and go, nothing is lost and nobody has more
        /// than there is.
        #[test]
        fn places_are_neither_lost_nor_taken_twice(
            steps in proptest::collection::vec((0_u8..4, 0_usize..9, any::<bool>()), 0..200),
        ) {
            let shares = Shares::new(50);
            let mut inside: Vec<Share<u8>> = Vec::new();
            for (party, more, comes) in steps {
                let had = inside.iter().filter(|share| share.party == party);
                let had: usize = had.map(|share| share.places).sum();
                let free = 50 - inside.iter().map(|share| share.places).sum::<usize>();
                if comes {
                    let mut share = shares.share(party);
                    let one_by_one = (0..more).all(|taken| may_take(had + taken, 1, free - taken));
                    prop_assert_eq!(share.take(more), one_by_one);
                    inside.push(share);
                } else if !inside.is_empty() {
                    inside.swap_remove(more % inside.len());
                }
                let all: usize = inside.iter().map(|share| share.places).sum();
                prop_assert_eq!(shares.held.lock().all, all);
            }
            drop(inside);
            prop_assert!(shares.held.lock().by.is_empty());
        }
    }
}
