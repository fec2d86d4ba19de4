//! The moment by which a call must be answered, and the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The moment at which every wait for a call ends. It is passed down by value, so that no step
/// waits longer than the actor that calls.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Sets the deadline `budget` after `start`.
    pub fn new(start: Instant, budget: Duration) -> Self {
        Self(start + budget)
    }

    /// Returns the moment.
    pub fn at(self) -> Instant {
        self.0
    }

    /// Returns the time that is left; zero once the deadline is over.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns this deadline, or `limit` from now if there is one and it is earlier.
    pub fn within(self, limit: impl Into<Option<Duration>>) -> Self {
        match limit.into() {
            Some(limit) => Self(self.0.min(Instant::now() + limit)),
            None => self,
        }
    }

    /// Returns the deadline for a step that has another one after it: half of the time that
    /// is left.
    pub fn half(self) -> Self {
        self.within(self.remaining() / 2)
    }

    /// Returns this deadline, but `by` earlier.
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.checked_sub(by).unwrap_or(self.0))
    }
}

/// Returns the time of day, since 1970.
pub fn unix_time() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
