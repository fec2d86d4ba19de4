//! How many calls may be under way at once that have something in common: the
//! provider, an actor, a lattice. Those that find no place wait for one, few and
//! shortly; the others are told at once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::deadline::Deadline;

/// Longest wait for a place: who calls should know soon, and most calls end
/// sooner than that.
pub const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Places for calls, so many for each key. It remembers the keys that are in use
/// and no others, as hashes: two keys share their places once in 10^19 pairs.
pub struct Limiter {
    most: usize,
    queue: usize,
    hasher: RandomState,
    keys: Mutex<HashMap<u64, Uses>>,
}

/// What there is of one key. Where somebody waits, every place is taken.
#[derive(Default)]
struct Uses {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// What became of asking for a place.
pub enum Entry {
    /// Here it is.
    Place(Place),
    /// Somebody must leave first.
    Queue(Queued),
    /// So many wait already that there is no point.
    Full,
}

/// A place, until it is dropped.
pub struct Place {
    limiter: Arc<Limiter>,
    key: u64,
}

/// A place in the queue for one.
pub struct Queued {
    limiter: Arc<Limiter>,
    key: u64,
    called: oneshot::Receiver<()>,
    /// Not called yet.
    waits: bool,
}

impl Limiter {
    /// So many places for each key, and a quarter of that for those who wait.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            queue: most / 4,
            hasher: RandomState::new(),
            keys: Mutex::default(),
        })
    }

    /// How many places there are for each key.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Asks for a place.
    pub fn enter(self: &Arc<Self>, key: impl Hash) -> Entry {
        let key = self.hasher.hash_one(key);
        let limiter = self.clone();
        let mut keys = self.keys();
        let uses = keys.entry(key).or_default();
        if uses.taken < self.most {
            uses.taken += 1;
            Entry::Place(Place { limiter, key })
        } else if uses.waiting.len() < self.queue {
            let (call, called) = oneshot::channel();
            uses.waiting.push_back(call);
            Entry::Queue(Queued {
                limiter,
                key,
                called,
                waits: true,
            })
        } else {
            Entry::Full
        }
    }

    /// A place, waited for where that may help.
    pub async fn place(self: &Arc<Self>, key: impl Hash, deadline: Deadline) -> Option<Place> {
        self.enter(key).place(deadline).await
    }

    /// Gives a place to whoever has waited longest.
    fn leave(&self, key: u64) {
        let mut keys = self.keys();
        let Some(uses) = keys.get_mut(&key) else {
            return;
        };
        while let Some(next) = uses.waiting.pop_front() {
            // One that has just given up does not hear.
            if next.send(()).is_ok() {
                return;
            }
        }
        uses.taken -= 1;
        if uses.taken == 0 {
            keys.remove(&key);
        }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<u64, Uses>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The place, waited for where that may help.
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
        timeout_at(until, &mut self.called).await.ok()?.ok()?;
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
        self.called.close();
        if self.called.try_recv().is_ok() {
            // Called at the moment of giving up: the next one is.
            self.limiter.leave(self.key);
        } else if let Some(uses) = self.limiter.keys().get_mut(&self.key) {
            uses.waiting.retain(|call| !call.is_closed());
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
    async fn who_finds_no_place_waits_shortly_and_never_beyond_the_deadline() {
        let limiter = Limiter::new(4);
        let _places: Vec<_> = (0..4).map(|_| limiter.enter("a")).collect();
        for (budget, expected) in [(5000, 100), (30, 30)] {
            let start = Instant::now();
            let deadline = Deadline::new(start, Duration::from_millis(budget));
            assert!(limiter.place("a", deadline).await.is_none());
            let waited = start.elapsed().as_millis();
            assert!((expected..expected + 5).contains(&waited), "{waited}");
        }
        // Others are not concerned.
        assert!(limiter.place("b", later()).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_goes_to_whoever_has_waited_longest() {
        let limiter = Limiter::new(8);
        let mut places: Vec<_> = (0..8).map(|_| limiter.enter(1)).collect();
        let mut first = Box::pin(limiter.place(1, later()));
        let mut second = Box::pin(limiter.place(1, later()));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        // As many wait as may.
        assert!(matches!(limiter.enter(1), Entry::Full));
        places.pop();
        assert!((&mut second).now_or_never().is_none());
        let place = (&mut first).now_or_never().unwrap();
        assert!(place.is_some());
        drop(place);
        assert!(second.now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_called_to_somebody_who_gives_up_goes_to_the_next() {
        let limiter = Limiter::new(8);
        let mut places: Vec<_> = (0..8).map(|_| limiter.enter(1)).collect();
        let (Entry::Queue(gives_up), Entry::Queue(waits)) = (limiter.enter(1), limiter.enter(1))
        else {
            panic!("no place in the queue");
        };
        places.pop();
        drop(gives_up);
        assert!(waits.place(later()).now_or_never().unwrap().is_some());
        drop(places);
        assert!(limiter.keys().is_empty());
    }

    proptest! {
        /// Whoever comes and goes in whatever order: never more than may be, and
        /// nothing is left behind.
        #[test]
        fn no_place_is_taken_twice_or_lost(
            most in 1_usize..9,
            steps in proptest::collection::vec((0_u8..3, any::<bool>(), 0_usize..20), 0..200),
        ) {
            let limiter = Limiter::new(most);
            let mut inside: Vec<(u8, Entry)> = Vec::new();
            for (key, comes, which) in steps {
                if comes {
                    let entry = limiter.enter(key);
                    let of_key = |kind: fn(&Entry) -> bool| {
                        inside.iter().filter(|(k, e)| *k == key && kind(e)).count()
                    };
                    let places = of_key(|e| matches!(e, Entry::Place(_)));
                    let queued = of_key(|e| matches!(e, Entry::Queue(_)));
                    match &entry {
                        Entry::Place(_) => prop_assert!(places < most),
                        Entry::Queue(_) => prop_assert!(places + queued >= most),
                        Entry::Full => prop_assert!(places + queued >= most + most / 4),
                    }
                    if !matches!(entry, Entry::Full) {
                        inside.push((key, entry));
                    }
                } else if !inside.is_empty() {
                    drop(inside.swap_remove(which % inside.len()));
                }
                // Whoever was called takes the place.
                for (key, entry) in std::mem::take(&mut inside) {
                    let entry = match entry {
                        Entry::Queue(mut queued) => match queued.called.try_recv() {
                            Ok(()) => {
                                queued.waits = false;
                                Entry::Place(Place { limiter: limiter.clone(), key: queued.key })
                            }
                            Err(_) => Entry::Queue(queued),
                        },
                        entry => entry,
                    };
                    inside.push((key, entry));
                }
                for uses in limiter.keys().values() {
                    prop_assert!(uses.taken <= most && uses.waiting.len() <= most / 4);
                }
            }
            drop(inside);
            prop_assert!(limiter.keys().is_empty());
        }
    }
}
