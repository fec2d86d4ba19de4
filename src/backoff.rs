//! Pauses between retries. They grow with each failure, and they are random, so that a
//! server that comes back does not meet all its clients at once.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// Failures after which the pauses grow no more.
const GROWS_FOR: usize = 64;

/// A schedule of pauses between retries.
#[derive(Clone, Copy, Debug)]
pub struct Backoff(ExponentialBuilder);

impl Backoff {
    /// Makes a schedule that begins with a pause of at most `first`, doubles it after
    /// each failure, and ends with pauses of at most `most`.
    pub const fn doubling(first: Duration, most: Duration) -> Self {
        Self::growing(first, most, 2.0)
    }

    /// Makes a schedule whose pauses grow by `factor` after each failure.
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

    /// Makes a schedule whose pauses do not grow.
    pub const fn steady(pause: Duration) -> Self {
        Self::growing(pause, pause, 1.0)
    }

    /// Returns the pause after so many failures in a row: a random time from half of the
    /// scheduled pause to all of it.
    pub fn pause(&self, failed: usize) -> Duration {
        let mut pauses = self.0.build();
        pauses.nth(failed.min(GROWS_FOR)).unwrap_or_default()
    }
}

/// The library adds a random time of at most the same length.
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
