//! Pauses before something is tried again. They grow while it fails, and no two who
//! wait for the same wait equally long: a server that comes back is not met by all
//! of them at once.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// Attempts after which pauses grow no more.
const GROWS_FOR: usize = 64;

/// A schedule of pauses.
#[derive(Clone, Copy, Debug)]
pub struct Backoff(ExponentialBuilder);

impl Backoff {
    /// Pauses of `first` at most before the first attempt, of twice as much before
    /// the next, and of `most` in the end.
    pub const fn doubling(first: Duration, most: Duration) -> Self {
        Self::growing(first, most, 2.0)
    }

    /// The same, each of `factor` times the one before.
    pub const fn growing(first: Duration, most: Duration, factor: f32) -> Self {
        Self(
            ExponentialBuilder::new()
                .with_factor(factor)
                .with_min_delay(half(first))
                .with_max_delay(half(most))
                .without_max_times()
                .with_jitter(),
        )
    }

    /// Pauses that do not grow.
    pub const fn steady(pause: Duration) -> Self {
        Self::growing(pause, pause, 1.0)
    }

    /// The pause before an attempt after so many that failed in a row: anything from
    /// half of what the schedule says to all of it.
    pub fn pause(&self, failed: usize) -> Duration {
        let mut pauses = self.0.build();
        pauses.nth(failed.min(GROWS_FOR)).unwrap_or_default()
    }
}

/// What the library adds at random is as much again at most.
const fn half(pause: Duration) -> Duration {
    Duration::from_nanos(pause.as_nanos() as u64 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let backoff = Backoff::doubling(100 * MS, 2000 * MS);
        for (failed, most) in [(0, 100), (1, 200), (4, 1600), (5, 2000), (1_000_000, 2000)] {
            let pauses: Vec<_> = (0..50).map(|_| backoff.pause(failed)).collect();
            let within = |pause: &Duration| (most * MS / 2..=most * MS).contains(pause);
            assert!(pauses.iter().all(within), "{failed}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failed}");
        }
        let steady = Backoff::steady(500 * MS);
        assert!((250 * MS..=500 * MS).contains(&steady.pause(30)));
    }
}
