//! Calls count only while they are fresh, and those that change something count
//! once.
//!
//! What identifies a call is the part of its claims that is signed, which holds
//! their number (`jti`), the id of the invocation and the time: whoever recorded
//! a call can vary its reply subject and what else is not signed, but not that.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How far a host's clock may be ahead of ours, in seconds.
pub const CLOCK_AHEAD: u64 = 30;
/// Most calls of one generation: two take 3 MiB.
const MOST: usize = 100_000;

/// The calls that were taken, as far as they could still come again.
///
/// There are two generations. One lasts for as long as a call may be fresh, or
/// until it is full; then it becomes the old one, and the one before is
/// forgotten. What was made no later than anything forgotten is refused as too
/// old: where more come than can be remembered, the window shrinks, and nothing
/// is taken twice. That holds whatever the clock does.
pub struct Repeats {
    /// How old a call may be, in seconds.
    window: u64,
    most: usize,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    young: Generation,
    old: Generation,
    /// When the young one began, in seconds since 1970.
    since: u64,
    /// When the newest call was made that is forgotten.
    forgotten: u64,
}

#[derive(Default)]
struct Generation {
    calls: HashSet<u64>,
    /// When the newest was made.
    newest: u64,
}

/// A call that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken(u64);

impl Repeats {
    /// Calls may be as old as this.
    pub fn new(window: Duration) -> Self {
        Self::with_room(window, MOST)
    }

    fn with_room(window: Duration, most: usize) -> Self {
        Self {
            window: window.as_secs(),
            most,
            hasher: RandomState::new(),
            seen: Mutex::default(),
        }
    }

    /// Checks that a call that was made at `iat` is fresh `now`; both are in
    /// seconds since 1970.
    ///
    /// # Errors
    /// That it is not.
    pub fn check_fresh(&self, iat: Option<u64>, now: u64) -> Result<u64, String> {
        // Every host says it: what does not was made by something else.
        let iat = iat.ok_or("the invocation's claims do not say when they were made")?;
        let (age, ahead) = (now.saturating_sub(iat), iat.saturating_sub(now));
        if age > self.window {
            return Err(format!(
                "the invocation is too old: it was made {age} s ago, and {} s are allowed \
                 (invocation_window_ms)",
                self.window
            ));
        }
        if ahead > CLOCK_AHEAD {
            return Err(format!(
                "the invocation is from the future: its host's clock is {ahead} s ahead, and \
                 {CLOCK_AHEAD} s are allowed"
            ));
        }
        Ok(iat)
    }

    /// Takes a fresh call whose signed part is `signed`, once.
    ///
    /// # Errors
    /// That it was taken before, or may have been.
    pub fn take(&self, signed: &str, iat: u64, now: u64) -> Result<Taken, String> {
        let call = self.hasher.hash_one(signed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.turn(now, self.window + CLOCK_AHEAD, self.most);
        if iat <= seen.forgotten {
            return Err(
                "the invocation is too old: so many calls came since that it is not known \
                 whether it was carried out before"
                    .into(),
            );
        }
        if seen.old.calls.contains(&call) || !seen.young.calls.insert(call) {
            return Err(
                "the invocation was taken before, and is not carried out again; a new call \
                 has a new id"
                    .into(),
            );
        }
        seen.young.newest = seen.young.newest.max(iat);
        Ok(Taken(call))
    }

    /// Forgets a call that was taken and certainly not carried out, so that its
    /// host may send it again.
    pub fn give_back(&self, taken: Taken) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.young.calls.remove(&taken.0) {
            seen.old.calls.remove(&taken.0);
        }
    }
}

impl Seen {
    /// Begins a new generation where the young one is full, or has lasted so
    /// long that all of the old one are too old by themselves.
    fn turn(&mut self, now: u64, lasts: u64, most: usize) {
        let over = now.saturating_sub(self.since) > lasts;
        if over || self.young.calls.len() >= most {
            let young = std::mem::take(&mut self.young);
            let old = std::mem::replace(&mut self.old, young);
            self.forgotten = self.forgotten.max(old.newest);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;

    fn repeats(most: usize) -> Repeats {
        Repeats::with_room(Duration::from_secs(60), most)
    }

    #[test]
    fn a_call_is_fresh_from_a_minute_ago_to_half_a_minute_ahead() {
        let repeats = repeats(10);
        for (iat, fresh) in [
            (NOW, true),
            (NOW - 60, true),
            (NOW - 61, false),
            (NOW + 30, true),
            (NOW + 31, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(repeats.check_fresh(Some(iat), NOW).is_ok(), fresh, "{iat}");
        }
        assert!(repeats.check_fresh(None, NOW).is_err());
    }

    #[test]
    fn a_call_is_taken_once_for_as_long_as_it_is_fresh() {
        let repeats = repeats(1000);
        // From a host whose clock is ahead.
        let iat = NOW + CLOCK_AHEAD;
        repeats.take("a", iat, NOW).unwrap();
        for now in NOW..NOW + 200 {
            // Others come, which is when generations change.
            repeats.take(&format!("other {now}"), now, now).unwrap();
            if repeats.check_fresh(Some(iat), now).is_ok() {
                assert!(repeats.take("a", iat, now).is_err(), "{}", now - NOW);
            }
        }
    }

    #[test]
    fn one_that_was_not_carried_out_may_come_again_once() {
        let repeats = repeats(10);
        let taken = repeats.take("a", NOW, NOW).unwrap();
        repeats.give_back(taken);
        repeats.take("a", NOW, NOW).unwrap();
        assert!(repeats.take("a", NOW, NOW).is_err());
    }

    #[test]
    fn where_more_come_than_are_remembered_older_ones_are_refused_and_new_ones_taken() {
        let repeats = repeats(10);
        for number in 0..100 {
            let now = NOW + number / 5;
            repeats.take(&number.to_string(), now, now).unwrap();
        }
        let seen = repeats.seen.lock().unwrap();
        assert!(seen.young.calls.len() + seen.old.calls.len() <= 20);
        drop(seen);
        for number in 0..100 {
            let iat = NOW + number / 5;
            let again = repeats.take(&number.to_string(), iat, NOW + 20);
            assert!(again.is_err(), "{number}");
        }
        repeats.take("new", NOW + 20, NOW + 20).unwrap();
    }

    proptest! {
        /// Calls that come in any order and number, under a clock that jumps.
        #[test]
        fn nothing_is_taken_twice(
            steps in proptest::collection::vec((0_u64..40, -200_i64..200), 1..300),
        ) {
            let repeats = repeats(7);
            let mut taken = HashSet::new();
            let mut now = NOW;
            for (call, jump) in steps {
                now = now.saturating_add_signed(jump / 20);
                if jump.abs() > 190 {
                    now = now.saturating_add_signed(jump);
                }
                // Each was made at one moment.
                let iat = NOW + call;
                if repeats.check_fresh(Some(iat), now).is_ok()
                    && repeats.take(&call.to_string(), iat, now).is_ok()
                {
                    prop_assert!(taken.insert(call), "{call} twice");
                }
            }
        }
    }
}
