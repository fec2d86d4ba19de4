//! The moment by which a call must be answered.

use std::time::Duration;

use tokio::time::Instant;

/// A moment that every wait for one call ends at. Passed down by value, so that
/// no step can wait longer than the actor that called.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `budget` after `start`.
    pub fn new(start: Instant, budget: Duration) -> Self {
        Self(start + budget)
    }

    /// The moment itself.
    pub fn at(self) -> Instant {
        self.0
    }

    /// Time left; zero when it is over.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// This deadline, or `limit` from now if there is one and that is earlier.
    pub fn within(self, limit: impl Into<Option<Duration>>) -> Self {
        match limit.into() {
            Some(limit) => Self(self.0.min(Instant::now() + limit)),
            None => self,
        }
    }

    /// When half of the time that is left is over: for a question before another.
    pub fn half(self) -> Self {
        self.within(self.remaining() / 2)
    }

    /// This deadline, `by` earlier.
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.checked_sub(by).unwrap_or(self.0))
    }
}
