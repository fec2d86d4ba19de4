//! Limits how many lines one cause may write into the log.

use std::time::{Duration, Instant};

use crate::lock::Lock;

/// A token bucket for the lines of one cause: `burst` lines may come at once, and
/// after each `refill` there may be one more.
///
/// It also counts, so that a line can say how many before it were left out.
pub struct LogLimiter {
    burst: u32,
    refill: Duration,
    state: Lock<State>,
}

struct State {
    /// Lines that may be written now.
    left: u32,
    /// Since when the next line is being waited for; `None` before the first one.
    since: Option<Instant>,
    count: u64,
    unlogged: u64,
}

/// What a line of the log can say about those that were left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// How often it happened since the start.
    pub count: u64,
    /// How often it happened without a line since the last line.
    pub unlogged: u64,
}

impl LogLimiter {
    /// Allows `burst` lines at once and one more after each `refill`.
    pub const fn new(burst: u32, refill: Duration) -> Self {
        let state = State {
            left: burst,
            since: None,
            count: 0,
            unlogged: 0,
        };
        Self {
            burst,
            refill,
            state: Lock::new(state),
        }
    }

    /// For what is worth a line each time, unless somebody makes it happen all the
    /// time: 200 lines at once, and two more each second.
    pub const fn bursts() -> Self {
        Self::new(200, Duration::from_millis(500))
    }

    /// Counts an occurrence and returns whether to write a line for it.
    pub fn is_due(&self) -> bool {
        self.occurrence().is_some()
    }

    /// Counts an occurrence. Returns what its line can say, if it gets one.
    pub fn occurrence(&self) -> Option<Occurrences> {
        self.occurrence_at(Instant::now())
    }

    fn occurrence_at(&self, now: Instant) -> Option<Occurrences> {
        let mut state = self.state.lock();
        state.count += 1;
        let waited = now.saturating_duration_since(state.since.unwrap_or(now));
        let more = waited.as_nanos() / self.refill.as_nanos().max(1);
        let more = u32::try_from(more).unwrap_or(self.burst).min(self.burst);
        if more > 0 {
            state.left = state.left.saturating_add(more).min(self.burst);
        }
        if more > 0 || state.left == self.burst {
            state.since = Some(now);
        }
        if state.left == 0 {
            state.unlogged += 1;
            return None;
        }
        state.left -= 1;
        Some(Occurrences {
            count: state.count,
            unlogged: std::mem::take(&mut state.unlogged),
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
