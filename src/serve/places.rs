//! Limits how many calls are in flight at once that have something in common: the
//! provider, an actor, a lattice. A few calls that find no place wait for one, shortly;
//! the others are refused at once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::lock::Lock;

/// Longest wait for a place: callers should soon know that there is none, and most calls
/// end sooner than that.
pub const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Places for calls, the same number for each key. It remembers only the keys that are in
/// use, as hashes: of 10^19 pairs of keys, one shares its places.
pub struct Limiter {
    most: usize,
    most_waiting: usize,
    hasher: RandomState,
    keys: Lock<HashMap<u64, InUse>>,
}

/// The places of one key that are in use. While any call waits, every place is taken.
#[derive(Default)]
struct InUse {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// What a call gets that asks for a place.
pub enum Ticket {
    /// A place.
    Place(Place),
    /// A place once another call ends.
    Queue(Queued),
    /// None: enough others wait already.
    Full,
}

/// A place, which is free again when this value is dropped.
pub struct Place {
    limiter: Arc<Limiter>,
    key: u64,
}

/// A call that waits for a place.
pub struct Queued {
    limiter: Arc<Limiter>,
    key: u64,
    place_given: oneshot::Receiver<()>,
    /// Whether it got no place yet.
    waits: bool,
}

impl Limiter {
    /// Makes so many places for each key; a quarter of that number may wait.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_waiting: most / 4,
            hasher: RandomState::new(),
            keys: Lock::default(),
        })
    }

    /// Returns how many places there are for each key.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Asks for a place.
    pub fn enter(self: &Arc<Self>, key: impl Hash) -> Ticket {
        let key = self.hasher.hash_one(key);
        let limiter = self.clone();
        let mut keys = self.keys.lock();
        let in_use = keys.entry(key).or_default();
        if in_use.taken < self.most {
            in_use.taken += 1;
            Ticket::Place(Place { limiter, key })
        } else if in_use.waiting.len() < self.most_waiting {
            let (give, place_given) = oneshot::channel();
            in_use.waiting.push_back(give);
            Ticket::Queue(Queued {
                limiter,
                key,
                place_given,
                waits: true,
            })
        } else {
            Ticket::Full
        }
    }

    /// Asks for a place, and waits for one where that may help.
    pub async fn place(self: &Arc<Self>, key: impl Hash, deadline: Deadline) -> Option<Place> {
        self.enter(key).place(deadline).await
    }

    /// Gives a place that is free to the call that has waited longest.
    fn leave(&self, key: u64) {
        let mut keys = self.keys.lock();
        let Some(in_use) = keys.get_mut(&key) else {
            return;
        };
        while let Some(next) = in_use.waiting.pop_front() {
            // A call that has just given up does not take it.
            if next.send(()).is_ok() {
                return;
            }
        }
        in_use.taken -= 1;
        if in_use.taken == 0 {
            keys.remove(&key);
        }
    }
}

impl Ticket {
    /// Waits for the place where that may help.
    pub async fn place(self, deadline: Deadline) -> Option<Place> {
        match self {
            Self::Place(place) => Some(place),
            Self::Queue(queued) => queued.place(deadline).await,
            Self::Full => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limiter.leave(self.key);
    }
}

impl Queued {
    async fn place(mut self, deadline: Deadline) -> Option<Place> {
        let until = deadline.within(LONGEST_WAIT).at();
        timeout_at(until, &mut self.place_given).await.ok()?.ok()?;
        self.waits = false;
        Some(Place {
            limiter: self.limiter.clone(),
            key: self.key,
        })
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        self.place_given.close();
        if self.place_given.try_recv().is_ok() {
            // The place was given at the moment of giving up: the next call gets it.
            self.limiter.leave(self.key);
        } else if let Some(in_use) = self.limiter.keys.lock().get_mut(&self.key) {
            in_use.waiting.retain(|waiting| !waiting.is_closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use proptest::prelude::*;
    use tokio::time::Instant;

    fn later() -> Deadline {
        Deadline::new(Instant::now(), Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_place_waits_shortly_and_never_beyond_the_deadline() {
        let limiter = Limiter::new(4);
        let _places: Vec<_> = (0..4).map(|_| limiter.enter("a")).collect();
        for (budget, expected) in [(5000, 100), (30, 30)] {
            let start = Instant::now();
            let deadline = Deadline::new(start, Duration::from_millis(budget));
            assert!(limiter.place("a", deadline).await.is_none());
            let waited = start.elapsed().as_millis();
            assert!((expected..expected + 5).contains(&waited), "{waited}");
        }
        // Other keys have places of their own.
        assert!(limiter.place("b", later()).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_goes_to_the_call_that_has_waited_longest() {
        let limiter = Limiter::new(8);
        let mut places: Vec<_> = (0..8).map(|_| limiter.enter(1)).collect();
        let mut first = Box::pin(limiter.place(1, later()));
        let mut second = Box::pin(limiter.place(1, later()));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        // As many wait as may wait.
        assert!(matches!(limiter.enter(1), Ticket::Full));
        places.pop();
        assert!((&mut second).now_or_never().is_none());
        let place = (&mut first).now_or_never().unwrap();
        assert!(place.is_some());
        drop(place);
        assert!(second.now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_given_to_a_call_that_gives_up_goes_to_the_next() {
        let limiter = Limiter::new(8);
        let mut places: Vec<_> = (0..8).map(|_| limiter.enter(1)).collect();
        let (Ticket::Queue(gives_up), Ticket::Queue(waits)) = (limiter.enter(1), limiter.enter(1))
        else {
            panic!("no place in the queue");
        };
        places.pop();
        drop(gives_up);
        assert!(waits.place(later()).now_or_never().unwrap().is_some());
        drop(places);
        assert!(limiter.keys.lock().is_empty());
    }

    proptest! {
        /// In whatever order calls come and go, there are never more than may be, and
        /// nothing is left behind.
        #[test]
        fn no_place_is_taken_twice_or_lost(
            most in 1_usize..9,
            steps in proptest::collection::vec((0_u8..3, any::<bool>(), 0_usize..20), 0..200),
        ) {
            let limiter = Limiter::new(most);
            let mut inside: Vec<(u8, Ticket)> = Vec::new();
            for (key, comes, which) in steps {
                if comes {
                    let entry = limiter.enter(key);
                    let of_key = |kind: fn(&Ticket) -> bool| {
                        inside.iter().filter(|(k, e)| *k == key && kind(e)).count()
                    };
                    let places = of_key(|e| matches!(e, Ticket::Place(_)));
                    let queued = of_key(|e| matches!(e, Ticket::Queue(_)));
                    match &entry {
                        Ticket::Place(_) => prop_assert!(places < most),
                        Ticket::Queue(_) => prop_assert!(places + queued >= most),
                        Ticket::Full => prop_assert!(places + queued >= most + most / 4),
                    }
                    if !matches!(entry, Ticket::Full) {
                        inside.push((key, entry));
                    }
                } else if !inside.is_empty() {
                    drop(inside.swap_remove(which % inside.len()));
                }
                // A call that was given a place takes it.
                for (key, entry) in std::mem::take(&mut inside) {
                    let entry = match entry {
                        Ticket::Queue(mut queued) => match queued.place_given.try_recv() {
                            Ok(()) => {
                                queued.waits = false;
                                Ticket::Place(Place { limiter: limiter.clone(), key: queued.key })
                            }
                            Err(_) => Ticket::Queue(queued),
                        },
                        entry => entry,
                    };
                    inside.push((key, entry));
                }
                for in_use in limiter.keys.lock().values() {
                    prop_assert!(in_use.taken <= most && in_use.waiting.len() <= most / 4);
                }
            }
            drop(inside);
            prop_assert!(limiter.keys.lock().is_empty());
        }
    }
}
