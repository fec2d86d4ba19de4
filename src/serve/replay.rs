//! Protection from replay: a call is taken only while it is fresh, and a command only once.
//!
//! A call is known by the part of its claims that is signed. That part holds their number
//! (`jti`), the id of the invocation and the time. Somebody who recorded a call can send it
//! with another reply subject, but cannot change what is signed.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::lock::Lock;

/// How far a host's clock may be ahead of ours, in seconds.
pub const CLOCK_AHEAD: u64 = 30;
/// Most calls of one generation; two generations take 3 MiB.
const MOST: usize = 100_000;

/// Remembers the commands that were taken, as long as they could be taken once more.
///
/// There are two generations. The young one lasts for as long as a call may be fresh, or
/// until it is full; then it becomes the old one, and the old one is forgotten. A call is
/// refused as too old if it was made no later than any call that was forgotten. So the
/// window shrinks where more calls come than can be remembered, and nothing is taken twice,
/// whatever the clock does.
pub struct ReplayGuard {
    /// How old a call may be, in seconds.
    window: u64,
    most: usize,
    hasher: RandomState,
    seen: Lock<Seen>,
}

#[derive(Default)]
struct Seen {
    young: SeenGeneration,
    old: SeenGeneration,
    /// When the young generation began, in seconds since 1970.
    since: u64,
    /// When the newest call was made that was forgotten.
    forgotten: u64,
}

#[derive(Default)]
struct SeenGeneration {
    calls: HashSet<u64>,
    /// When the newest of them was made.
    newest: u64,
}

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Every host says the time: claims that do not were made by something else.
    #[error("the invocation's claims do not say when they were made")]
    NoTime,
    /// It was made too long ago.
    #[error(
        "the invocation is too old: it was made {age} s ago, and {allowed} s are allowed \
         (invocation_window_ms)"
    )]
    TooOld {
        /// Its age in seconds.
        age: u64,
        /// The window in seconds.
        allowed: u64,
    },
    /// It was made so many seconds after now.
    #[error(
        "the invocation is from the future: its host's clock is {0} s ahead, and \
         {CLOCK_AHEAD} s are allowed"
    )]
    FromFuture(u64),
    /// It was made no later than a call that was forgotten.
    #[error(
        "the invocation is too old: so many calls came since that it is not known \
         whether it was carried out before"
    )]
    Forgotten,
    /// It was taken before.
    #[error(
        "the invocation was taken before, and is not carried out again; a new call \
         has a new id"
    )]
    TakenBefore,
}

/// The mark of a command that was taken.
#[derive(Clone, Copy, Debug)]
pub struct ReplayMark(u64);

impl ReplayGuard {
    /// Makes a guard that takes calls up to this age.
    pub fn new(window: Duration) -> Self {
        Self::with_room(window, MOST)
    }

    fn with_room(window: Duration, most: usize) -> Self {
        Self {
            window: window.as_secs(),
            most,
            hasher: RandomState::new(),
            seen: Lock::default(),
        }
    }

    /// Checks that a call is fresh `now` which was made at `iat`, both in seconds since
    /// 1970, and returns when it was made.
    ///
    /// # Errors
    /// `NoTime`, `TooOld`, `FromFuture`.
    pub fn check_fresh(&self, iat: Option<u64>, now: u64) -> Result<u64, ReplayError> {
        let iat = iat.ok_or(ReplayError::NoTime)?;
        let (age, ahead) = (now.saturating_sub(iat), iat.saturating_sub(now));
        if age > self.window {
            let allowed = self.window;
            return Err(ReplayError::TooOld { age, allowed });
        }
        if ahead > CLOCK_AHEAD {
            return Err(ReplayError::FromFuture(ahead));
        }
        Ok(iat)
    }

    /// Takes a fresh command whose signed part is `signed`, once.
    ///
    /// # Errors
    /// `TakenBefore`; `Forgotten` where it may have been.
    pub fn take(&self, signed: &str, iat: u64, now: u64) -> Result<ReplayMark, ReplayError> {
        let call = self.hasher.hash_one(signed);
        let mut seen = self.seen.lock();
        seen.turn(now, self.window + CLOCK_AHEAD, self.most);
        if iat <= seen.forgotten {
            return Err(ReplayError::Forgotten);
        }
        if seen.old.calls.contains(&call) || !seen.young.calls.insert(call) {
            return Err(ReplayError::TakenBefore);
        }
        seen.young.newest = seen.young.newest.max(iat);
        Ok(ReplayMark(call))
    }

    /// Forgets a command that was taken and certainly not carried out, so that its host may
    /// send it again.
    pub fn give_back(&self, mark: Option<ReplayMark>) {
        let Some(mark) = mark else { return };
        let mut seen = self.seen.lock();
        if !seen.young.calls.remove(&mark.0) {
            seen.old.calls.remove(&mark.0);
        }
    }
}

impl Seen {
    /// Begins a new generation where the young one is full, or has lasted so long that the
    /// calls of the old one are too old to be fresh.
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

    fn guard(most: usize) -> ReplayGuard {
        ReplayGuard::with_room(Duration::from_secs(60), most)
    }

    #[test]
    fn a_call_is_fresh_from_a_minute_ago_to_half_a_minute_ahead() {
        let guard = guard(10);
        for (iat, fresh) in [
            (NOW, true),
            (NOW - 60, true),
            (NOW - 61, false),
            (NOW + 30, true),
            (NOW + 31, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(guard.check_fresh(Some(iat), NOW).is_ok(), fresh, "{iat}");
        }
        assert!(guard.check_fresh(None, NOW).is_err());
    }

    #[test]
    fn a_call_is_taken_once_for_as_long_as_it_is_fresh() {
        let guard = guard(1000);
        // A host whose clock is ahead sent it.
        let iat = NOW + CLOCK_AHEAD;
        guard.take("a", iat, NOW).unwrap();
        for now in NOW..NOW + 200 {
            // Generations change only when other calls come.
            guard.take(&format!("other {now}"), now, now).unwrap();
            if guard.check_fresh(Some(iat), now).is_ok() {
                assert!(guard.take("a", iat, now).is_err(), "{}", now - NOW);
            }
        }
    }

    #[test]
    fn a_command_that_was_not_carried_out_may_come_again_once() {
        let guard = guard(10);
        let taken = guard.take("a", NOW, NOW).unwrap();
        guard.give_back(Some(taken));
        guard.take("a", NOW, NOW).unwrap();
        assert!(guard.take("a", NOW, NOW).is_err());
    }

    #[test]
    fn where_more_calls_come_than_are_remembered_older_ones_are_refused_and_new_ones_taken() {
        let guard = guard(10);
        for number in 0..100 {
            let now = NOW + number / 5;
            guard.take(&number.to_string(), now, now).unwrap();
        }
        let seen = guard.seen.lock();
        assert!(seen.young.calls.len() + seen.old.calls.len() <= 20);
        drop(seen);
        for number in 0..100 {
            let iat = NOW + number / 5;
            let again = guard.take(&number.to_string(), iat, NOW + 20);
            assert!(again.is_err(), "{number}");
        }
        guard.take("new", NOW + 20, NOW + 20).unwrap();
    }

    proptest! {
        /// Calls that come in any order and number, under a clock that jumps.
        #[test]
        fn nothing_is_taken_twice(
            steps in proptest::collection::vec((0_u64..40, -200_i64..200), 1..300),
        ) {
            let guard = guard(7);
            let mut taken = HashSet::new();
            let mut now = NOW;
            for (call, jump) in steps {
                now = now.saturating_add_signed(jump / 20);
                if jump.abs() > 190 {
                    now = now.saturating_add_signed(jump);
                }
                // Each call was made at one moment.
                let iat = NOW + call;
                if guard.check_fresh(Some(iat), now).is_ok()
                    && guard.take(&call.to_string(), iat, now).is_ok()
                {
                    prop_assert!(taken.insert(call), "{call} twice");
                }
            }
        }
    }
}
