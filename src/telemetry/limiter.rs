//! Limits how many lines one cause may write into the log.

use std::time::{Duration, Instant};

use crate::lock::Lock;

/// How many lines may come: `burst` at once, and one more after each `refill`.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    burst: u32,
    refill: Duration,
}

/// A token bucket for lines of one pace. It also counts, so that a line can say how many
/// before it were left out.
#[derive(Clone, Copy)]
pub(super) struct LineBucket {
    /// Lines that may be written now.
    left: u32,
    /// Since when the next line is being waited for; `None` before the first one.
    since: Option<Instant>,
    /// What was counted since the last line.
    unlogged: u64,
}

/// Limits the lines of one cause.
pub struct LogLimiter {
    pace: Pace,
    state: Lock<(LineBucket, u64)>,
}

/// What a line of the log can say about those that were left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// How often it happened since the start.
    pub count: u64,
    /// How often it happened without a line since the last line.
    pub unlogged: u64,
}

impl Pace {
    pub(super) const fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill }
    }

    /// Returns a bucket of which nothing was taken.
    pub(super) const fn bucket(self) -> LineBucket {
        LineBucket {
            left: self.burst,
            since: None,
            unlogged: 0,
        }
    }
}

impl LineBucket {
    /// Whether a line may be written now.
    pub(super) fn is_open(&mut self, pace: Pace, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.since.unwrap_or(now));
        let more = waited.as_nanos() / pace.refill.as_nanos().max(1);
        let more = u32::try_from(more).unwrap_or(pace.burst).min(pace.burst);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(pace.burst);
        }
        if more > 0 || self.left == pace.burst {
            self.since = Some(now);
        }
        self.left > 0
    }

    /// Whether it is as if nothing had ever been taken of it.
    pub(super) fn is_idle(&mut self, pace: Pace, now: Instant) -> bool {
        self.is_open(pace, now) && self.left == pace.burst
    }

    /// Takes a line. Returns how many were left out before.
    pub(super) fn take(&mut self) -> u64 {
        self.left = self.left.saturating_sub(1);
        std::mem::take(&mut self.unlogged)
    }

    /// Counts a line that is left out.
    pub(super) fn leave_out(&mut self) {
        self.unlogged += 1;
    }
}

impl LogLimiter {
    /// Allows `burst` lines at once and one more after each `refill`.
    pub const fn new(burst: u32, refill: Duration) -> Self {
        let pace = Pace::new(burst, refill);
        Self {
            pace,
            state: Lock::new((pace.bucket(), 0)),
        }
    }

    /// For what is worth a line each time, unless somebody makes it happen all the
    /// time: 200 lines at once, and two more each second.
    pub const fn bursts() -> Self {
        Self::new(200, Duration::from_millis(500))
    }

    /// Counts an occurrence and returns whether to write a line for it.
    pub fn is_due(&self) -> bool {
        self.occurrence_at(Instant::now()).is_some()
    }

    fn occurrence_at(&self, now: Instant) -> Option<Occurrences> {
        let mut state = self.state.lock();
        let (bucket, count) = &mut *state;
        *count += 1;
        if !bucket.is_open(self.pace, now) {
            bucket.leave_out();
            return None;
        }
        Some(Occurrences {
            count: *count,
            unlogged: bucket.take(),
        })
    }
}

/// For what repeats with every attempt: the first line, then one in half a minute.
impl Default for LogLimiter {
    fn default() -> Self {
        Self::new(1, Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_logged_now_and_then() {
        let refill = Duration::from_secs(3);
        let limiter = LogLimiter::new(20, refill);
        let start = Instant::now();
        let at_once = (0..1000).filter(|_| limiter.occurrence_at(start).is_some());
        assert_eq!(at_once.count(), 20);
        let next = limiter.occurrence_at(start + refill);
        let (count, unlogged) = (1001, 980);
        assert_eq!(next, Some(Occurrences { count, unlogged }));
        assert_eq!(limiter.occurrence_at(start + refill), None);
    }

    #[test]
    fn a_burst_has_an_end() {
        let limiter = LogLimiter::bursts();
        let due = (0..10_000).filter(|_| limiter.is_due()).count();
        assert!((200..210).contains(&due), "{due}");
    }

    #[test]
    fn what_repeats_is_logged_once_in_half_a_minute() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        let due = |after| limiter.occurrence_at(start + Duration::from_secs(after));
        // The pause begins with a line, however long none was asked for before.
        for (after, is_due) in [
            (0, true),
            (29, false),
            (30, true),
            (100, true),
            (129, false),
        ] {
            assert_eq!(due(after).is_some(), is_due, "{after}");
        }
    }
}
