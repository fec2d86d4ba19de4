//! How many calls use a connection, and since when none does.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The uses of one connection.
pub(super) struct Usage {
    now: AtomicUsize,
    since: Instant,
    /// When the last use ended, in milliseconds after `since`.
    ended: AtomicU64,
    /// Whether it was made before any call asked for it, and none did since.
    spare: AtomicBool,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            now: AtomicUsize::new(0),
            since: Instant::now(),
            ended: AtomicU64::new(0),
            spare: AtomicBool::new(false),
        }
    }

    /// Notes that no call asked for the connection yet.
    pub(super) fn is_made_spare(&self) {
        self.spare.store(true, Ordering::Release);
    }

    /// Whether no call ever asked for the connection.
    pub(super) fn is_spare(&self) -> bool {
        self.spare.load(Ordering::Acquire)
    }

    /// Returns how long there has been a connection.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Notes that a use begins.
    pub(super) fn begin(&self) {
        self.now.fetch_add(1, Ordering::AcqRel);
        if self.is_spare() {
            self.spare.store(false, Ordering::Release);
        }
    }

    /// Notes that a use ended.
    pub(super) fn end(&self) {
        let ended = self.since.elapsed().as_millis() as u64;
        self.ended.fetch_max(ended, Ordering::AcqRel);
        self.now.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns when the last use ended; `None` while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let last_end = || self.since + Duration::from_millis(self.ended.load(Ordering::Acquire));
        (self.now.load(Ordering::Acquire) == 0).then(last_end)
    }
}
