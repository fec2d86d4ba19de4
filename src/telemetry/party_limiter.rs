//! Limits how many lines each of several parties may write into the log for one cause, so
//! that the lines of one do not silence those of another.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::lock::Lock;
use crate::telemetry::limiter::{LineBucket, Occurrences, Pace};

/// Most parties that are counted by themselves.
const MOST_PARTIES: usize = 1024;
/// How often parties that are silent again are forgotten, where there are too many.
const FORGETS_EACH: Duration = Duration::from_secs(1);
/// The lines of all parties together: 400 at once, and ten more each second.
const OF_ALL: Pace = Pace::new(400, Duration::from_millis(100));

/// A bucket for each party, which is known by the hash of its name, and one for all that
/// are no party. Together they may write 400 lines at once, and ten more each second.
pub struct PartyLimiter {
    each: Pace,
    hasher: RandomState,
    state: Lock<Buckets>,
}

struct Buckets {
    parties: HashMap<u64, LineBucket>,
    /// Of whoever is no party, and of parties beyond [`MOST_PARTIES`].
    others: LineBucket,
    all: LineBucket,
    /// When parties were forgotten last.
    forgot: Option<Instant>,
    count: u64,
}

impl PartyLimiter {
    /// Allows each party `burst` lines at once and one more after each `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        let each = Pace::new(burst, refill);
        Self {
            each,
            hasher: RandomState::new(),
            state: Lock::new(Buckets {
                parties: HashMap::new(),
                others: each.bucket(),
                all: OF_ALL.bucket(),
                forgot: None,
                count: 0,
            }),
        }
    }

    /// Counts an occurrence by a party, or by one of all others. Returns what its line can
    /// say, if it gets one: how often it happened to all, and how often it happened to this
    /// party without a line.
    pub fn occurrence(&self, party: Option<&str>) -> Option<Occurrences> {
        let party = party.map(|party| self.hasher.hash_one(party));
        self.occurrence_at(party, Instant::now())
    }

    fn occurrence_at(&self, party: Option<u64>, now: Instant) -> Option<Occurrences> {
        let mut buckets = self.state.lock();
        let buckets = &mut *buckets;
        buckets.count += 1;
        let bucket = match party.filter(|party| buckets.has_room(*party, self.each, now)) {
            Some(party) => {
                let bucket = buckets.parties.entry(party);
                bucket.or_insert_with(|| self.each.bucket())
            }
            None => &mut buckets.others,
        };
        if !bucket.is_open(self.each, now) || !buckets.all.is_open(OF_ALL, now) {
            bucket.leave_out();
            return None;
        }
        buckets.all.take();
        Some(Occurrences {
            count: buckets.count,
            unlogged: bucket.take(),
        })
    }
}

impl Buckets {
    /// Whether a party has a bucket or may get one. Forgets parties for that whose buckets
    /// are as new.
    fn has_room(&mut self, party: u64, each: Pace, now: Instant) -> bool {
        if self.parties.contains_key(&party) || self.parties.len() < MOST_PARTIES {
            return true;
        }
        let is_due = self.forgot.is_none_or(|at| now >= at + FORGETS_EACH);
        if is_due {
            self.forgot = Some(now);
            self.parties.retain(|_, bucket| !bucket.is_idle(each, now));
        }
        self.parties.len() < MOST_PARTIES
    }
}

/// For what repeats with every attempt: the first line of each party, then one in half a
/// minute.
impl Default for PartyLimiter {
    fn default() -> Self {
        Self::new(1, Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Duration = Duration::from_secs(3);

    fn lines(limiter: &PartyLimiter, party: Option<u64>, times: usize, now: Instant) -> usize {
        let due = (0..times).filter(|_| limiter.occurrence_at(party, now).is_some());
        due.count()
    }

    #[test]
    fn a_party_that_floods_silences_no_other() {
        let (limiter, now) = (PartyLimiter::new(20, EACH), Instant::now());
        assert_eq!(lines(&limiter, Some(1), 10_000, now), 20);
        assert_eq!(lines(&limiter, None, 10_000, now), 20);
        let line = limiter.occurrence_at(Some(2), now);
        let (count, unlogged) = (20_001, 0);
        assert_eq!(line, Some(Occurrences { count, unlogged }));
        let line = limiter.occurrence_at(Some(1), now + EACH);
        let (count, unlogged) = (20_002, 9980);
        assert_eq!(line, Some(Occurrences { count, unlogged }));
    }

    #[test]
    fn many_parties_grow_neither_the_log_nor_the_memory() {
        let (limiter, now) = (PartyLimiter::new(20, EACH), Instant::now());
        let all: usize = (0..5000)
            .map(|party| lines(&limiter, Some(party), 30, now))
            .sum();
        assert_eq!(all, 400);
        assert_eq!(limiter.state.lock().parties.len(), MOST_PARTIES);
        // Once these are silent, others have buckets of their own.
        let later = now + EACH * 30;
        assert_eq!(lines(&limiter, Some(9000), 30, later), 20);
        assert_eq!(limiter.state.lock().parties.len(), 1);
    }
}
