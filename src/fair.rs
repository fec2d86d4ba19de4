//! A semaphore whose places parties share: actors those for dials and for lookups of names,
//! lattices those for reading large answers.
//!
//! [`may_take`] says how many a party may have. What failed before, what makes a broken
//! connection again, and what no call asked for, is counted apart from first attempts, and a
//! party may have half as many of it: a site that is away does not keep its own actor from
//! connecting elsewhere.
//! Among those that wait, the party with the fewest places comes first, then what failed
//! least often, then what came first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::lock::Lock;
use crate::shares::may_take;

/// What asks for a place.
#[derive(Clone)]
pub struct Attempt {
    /// Who pays for it. For a dial, that is the actor whose call asks for the connection, or
    /// asked for the one that broke.
    pub party: Arc<str>,
    /// How many attempts in a row failed before.
    pub failed: usize,
    /// Whether it makes a broken connection again.
    pub is_repair: bool,
    /// Whether it began before any call asked for it, with a place that nobody needed.
    pub is_spare: bool,
}

impl Attempt {
    /// Makes one of a party that did not fail before.
    pub fn first(party: Arc<str>) -> Self {
        Self {
            party,
            failed: 0,
            is_repair: false,
            is_spare: false,
        }
    }

    /// Whether it is a call's first attempt with these credentials, or the first since
    /// they were set or worked.
    pub fn is_first(&self) -> bool {
        self.failed == 0 && !self.is_repair && !self.is_spare
    }
}

/// A semaphore that parties share.
pub struct FairSemaphore {
    most: usize,
    state: Lock<State>,
    /// Notified whenever an attempt begins to wait.
    crowded: Notify,
}

#[derive(Default)]
struct State {
    taken: usize,
    parties: HashMap<Arc<str>, HeldPlaces>,
    waiting: Vec<WaitingAttempt>,
    /// How many ever waited.
    came: u64,
}

/// The places of a party.
#[derive(Default)]
struct HeldPlaces {
    first: usize,
    again: usize,
}

struct WaitingAttempt {
    attempt: Attempt,
    number: u64,
    permit: oneshot::Sender<Permit>,
}

/// A place, which is free again when this value is dropped.
pub struct Permit {
    semaphore: Arc<FairSemaphore>,
    attempt: Attempt,
}

impl FairSemaphore {
    /// Makes so many places.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Lock::default(),
            crowded: Notify::new(),
        })
    }

    /// Takes a place, and waits for one for at most this time.
    pub async fn acquire(self: &Arc<Self>, attempt: &Attempt, within: Duration) -> Option<Permit> {
        let waited = {
            let mut state = self.state.lock();
            if state.may_begin(attempt, self.most) {
                return Some(self.permit(&mut state, attempt.clone()));
            }
            let (permit, waited) = oneshot::channel();
            state.came += 1;
            let number = state.came;
            state.waiting.push(WaitingAttempt {
                attempt: attempt.clone(),
                number,
                permit,
            });
            waited
        };
        self.crowded.notify_waiters();
        // A permit that comes at the moment of giving up is dropped with the channel.
        timeout(within, waited).await.ok()?.ok()
    }

    /// Takes a place that is free now and that nobody waits for.
    pub fn take_spare(self: &Arc<Self>, attempt: &Attempt) -> Option<Permit> {
        let mut state = self.state.lock();
        let nobody_waits = state.waiting.iter().all(|one| one.permit.is_closed());
        let is_free = nobody_waits && state.may_begin(attempt, self.most);
        is_free.then(|| self.permit(&mut state, attempt.clone()))
    }

    fn permit(self: &Arc<Self>, state: &mut State, attempt: Attempt) -> Permit {
        state.taken += 1;
        *state.held_mut(&attempt) += 1;
        Permit {
            semaphore: self.clone(),
            attempt,
        }
    }

    /// Takes a place back, and gives those that are free to others.
    fn release(self: &Arc<Self>, attempt: &Attempt) {
        let mut given = Vec::new();
        {
            let mut state = self.state.lock();
            state.taken -= 1;
            *state.held_mut(attempt) -= 1;
            let held = state.parties.get(&attempt.party);
            if held.is_some_and(|held| held.first + held.again == 0) {
                state.parties.remove(&attempt.party);
            }
            while let Some(next) = state.take_next(self.most) {
                let permit = self.permit(&mut state, next.attempt);
                given.push((next.permit, permit));
            }
        }
        // Not under the lock: a permit that nobody takes is released in turn.
        for (waits, permit) in given {
            let _ = waits.send(permit);
        }
    }
}

impl State {
    fn held_mut(&mut self, attempt: &Attempt) -> &mut usize {
        let held = self.parties.entry(attempt.party.clone()).or_default();
        match attempt.is_first() {
            true => &mut held.first,
            false => &mut held.again,
        }
    }

    fn may_begin(&self, attempt: &Attempt, most: usize) -> bool {
        let free = most - self.taken;
        let held = self.parties.get(&attempt.party);
        match (attempt.is_first(), held) {
            (_, None) => may_take(0, 1, free),
            (true, Some(held)) => may_take(held.first, 1, free),
            (false, Some(held)) => may_take(2 * held.again, 1, free),
        }
    }

    /// Takes the attempt that begins next out of those that wait.
    fn take_next(&mut self, most: usize) -> Option<WaitingAttempt> {
        self.waiting.retain(|one| !one.permit.is_closed());
        let places = |attempt: &Attempt| {
            let held = self.parties.get(&attempt.party);
            held.map_or(0, |held| held.first + held.again)
        };
        let may_begin = self.waiting.iter().enumerate();
        let may_begin = may_begin.filter(|(_, one)| self.may_begin(&one.attempt, most));
        let (next, _) = may_begin
            .min_by_key(|(_, one)| (places(&one.attempt), one.attempt.failed, one.number))?;
        Some(self.waiting.swap_remove(next))
    }
}

impl Permit {
    /// Waits until another attempt needs the place. Returns whether that is one of the same
    /// party which counts as this one does; else it is one that only lacks a free place.
    pub async fn needed(&self) -> bool {
        loop {
            let crowded = self.semaphore.crowded.notified();
            if let Some(by_own) = self.is_needed() {
                return by_own;
            }
            crowded.await;
        }
    }

    fn is_needed(&self) -> Option<bool> {
        let state = self.semaphore.state.lock();
        let open = || state.waiting.iter().filter(|one| !one.permit.is_closed());
        let is_like = |one: &WaitingAttempt| {
            one.attempt.party == self.attempt.party
                && one.attempt.is_first() == self.attempt.is_first()
        };
        if open().any(is_like) {
            return Some(true);
        }
        // With this place free, it could begin.
        let most = self.semaphore.most + 1;
        let could_begin = open().any(|one| state.may_begin(&one.attempt, most));
        could_begin.then_some(false)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let semaphore = self.semaphore.clone();
        semaphore.release(&self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use proptest::prelude::*;

    const SOON: Duration = Duration::from_secs(5);

    fn first(party: &str) -> Attempt {
        Attempt::first(party.into())
    }

    fn again(party: &str, failed: usize) -> Attempt {
        Attempt {
            failed,
            is_repair: true,
            ..first(party)
        }
    }

    fn at_once(semaphore: &Arc<FairSemaphore>, attempt: &Attempt) -> Option<Permit> {
        semaphore.acquire(attempt, SOON).now_or_never().flatten()
    }

    /// Takes places until there are no more.
    fn fill(semaphore: &Arc<FairSemaphore>, attempt: &Attempt) -> Vec<Permit> {
        std::iter::from_fn(|| at_once(semaphore, attempt)).collect()
    }

    #[tokio::test]
    async fn whoever_dials_all_the_time_leaves_places_for_everybody_else() {
        let semaphore = FairSemaphore::new(64);
        let mut all = Vec::new();
        for guilty in ["a", "b", "c"] {
            all.extend(fill(&semaphore, &first(guilty)));
            all.extend(fill(&semaphore, &again(guilty, 3)));
        }
        assert!(at_once(&semaphore, &first("innocent")).is_some());
        assert!(at_once(&semaphore, &again("innocent", 0)).is_some());
    }

    #[tokio::test]
    async fn what_failed_before_keeps_no_first_attempt_of_its_party_waiting() {
        let semaphore = FairSemaphore::new(64);
        let dark = fill(&semaphore, &again("a", 5));
        assert_eq!(dark.len(), 22);
        let firsts = fill(&semaphore, &first("a"));
        assert!(firsts.len() >= 16, "{}", firsts.len());
        drop(dark);
        assert!(!fill(&semaphore, &again("a", 5)).is_empty());
    }

    #[tokio::test]
    async fn the_one_place_of_a_small_provider_is_given_to_everybody_in_turn() {
        let semaphore = FairSemaphore::new(1);
        for attempt in [first("a"), again("a", 3), first("b")] {
            let permit = at_once(&semaphore, &attempt).unwrap();
            assert!(at_once(&semaphore, &first("a")).is_none());
            drop(permit);
        }
        assert!(semaphore.state.lock().parties.is_empty());
    }

    #[tokio::test]
    async fn a_free_place_goes_to_who_has_fewest_then_to_what_failed_least() {
        let semaphore = FairSemaphore::new(4);
        let mut permits = fill(&semaphore, &first("a"));
        permits.extend(fill(&semaphore, &first("b")));
        assert_eq!(permits.len(), 3);
        permits.extend(fill(&semaphore, &first("c")));
        let wait = |attempt| {
            let semaphore = semaphore.clone();
            let mut waits = Box::pin(async move { semaphore.acquire(&attempt, SOON).await });
            assert!((&mut waits).now_or_never().is_none());
            waits
        };
        let often = wait(again("d", 9));
        let mut once = wait(again("d", 1));
        let mut hog = wait(first("b"));
        let mut newcomer = wait(first("e"));
        // The place of the last one.
        permits.pop();
        // `d` and `e` have none: of these, what never failed comes first.
        let got = (&mut newcomer).now_or_never().flatten();
        assert!(got.is_some());
        // One of `a`.
        permits.remove(0);
        let second = (&mut once).now_or_never().flatten();
        assert!(second.is_some());
        assert!((&mut hog).now_or_never().is_none() && often.now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_spare_place_is_one_that_nobody_waits_for() {
        let semaphore = FairSemaphore::new(3);
        let spare = |party: &str| {
            semaphore.take_spare(&Attempt {
                is_spare: true,
                ..first(party)
            })
        };
        let held = spare("a").unwrap();
        // Its share of what no call asked for.
        assert!(spare("a").is_none());
        let firsts = fill(&semaphore, &first("a"));
        assert_eq!(firsts.len(), 1);
        let more = first("a");
        let mut waits = Box::pin(semaphore.acquire(&more, SOON));
        assert!((&mut waits).now_or_never().is_none());
        assert!(spare("b").is_none());
        assert!(held.needed().now_or_never().is_some());
        drop(waits);
        assert!(spare("b").is_some());
    }

    #[tokio::test]
    async fn a_place_is_needed_when_one_like_it_waits() {
        let semaphore = FairSemaphore::new(2);
        let permit = at_once(&semaphore, &again("a", 2)).unwrap();
        let mut needed = Box::pin(permit.needed());
        assert!((&mut needed).now_or_never().is_none());
        let like_it = again("a", 7);
        let mut waits = Box::pin(semaphore.acquire(&like_it, SOON));
        assert!((&mut waits).now_or_never().is_none());
        assert!((&mut needed).now_or_never().is_some());
        // One that gave up needs it no more.
        drop(waits);
        assert!(permit.needed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_last_place_is_needed_by_whoever_could_begin_with_it_and_by_nobody_else() {
        let semaphore = FairSemaphore::new(2);
        let hog = at_once(&semaphore, &first("a")).unwrap();
        // This one has its share, and would not begin.
        let more = first("a");
        let mut waits = Box::pin(semaphore.acquire(&more, SOON));
        assert!((&mut waits).now_or_never().is_none());
        let last = at_once(&semaphore, &first("b")).unwrap();
        assert_eq!(hog.needed().now_or_never(), Some(true));
        assert_eq!(last.needed().now_or_never(), None);
        let other = first("c");
        let mut newcomer = Box::pin(semaphore.acquire(&other, SOON));
        assert!((&mut newcomer).now_or_never().is_none());
        assert_eq!(last.needed().now_or_never(), Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_it_may() {
        let semaphore = FairSemaphore::new(1);
        let _permit = at_once(&semaphore, &first("a")).unwrap();
        let late = semaphore.acquire(&first("b"), SOON).await;
        assert!(late.is_none());
    }

    proptest! {
        /// In whatever order attempts come, wait, give up and end, no place is lost or
        /// taken twice, and nobody waits where a place is free for it.
        #[test]
        fn no_place_is_lost(
            most in 1_usize..9,
            steps in proptest::collection::vec((0_u8..4, 0_usize..3, 0_u8..4), 0..120),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_time().build().unwrap();
            let _entered = runtime.enter();
            let semaphore = FairSemaphore::new(most);
            let (mut permits, mut waiting) = (Vec::new(), Vec::new());
            for (actor, failed, what) in steps {
                let attempt = Attempt { failed, ..first(&actor.to_string()) };
                match what {
                    0 | 1 => {
                        let semaphore = semaphore.clone();
                        let asked = async move { semaphore.acquire(&attempt, Duration::MAX).await };
                        waiting.push(Box::pin(asked));
                    }
                    2 if !permits.is_empty() => drop(permits.swap_remove(failed % permits.len())),
                    3 if !waiting.is_empty() => drop(waiting.swap_remove(failed % waiting.len())),
                    _ => {}
                }
                waiting.retain_mut(|asked| match asked.now_or_never() {
                    Some(permit) => {
                        permits.extend(permit);
                        false
                    }
                    None => true,
                });
                let state = semaphore.state.lock();
                prop_assert_eq!(state.taken, permits.len());
                prop_assert!(state.taken <= most);
                let mut open = state.waiting.iter().filter(|one| !one.permit.is_closed());
                prop_assert!(!open.any(|one| state.may_begin(&one.attempt, most)));
            }
            drop(waiting);
            drop(permits);
            prop_assert_eq!(semaphore.state.lock().taken, 0);
            prop_assert!(semaphore.state.lock().parties.is_empty());
        }
    }
}
