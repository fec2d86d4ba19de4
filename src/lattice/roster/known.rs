//! What is known of one host.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::dialect::Dialect;
use crate::lattice::model::TextMap;
use crate::name::HostId;
use crate::shares::Share;

/// How long a host's reply to a ping counts.
pub(super) const RECENT_FOR: Duration = Duration::from_secs(600);
/// Longest that a single host is waited for: less than the pings in the background wait,
/// so that the slowest host can miss one.
pub(crate) const MOST_PATIENCE: Duration = Duration::from_millis(1900);
/// What a host may take in addition to twice its usual time.
const SLACK: Duration = Duration::from_millis(30);
/// How much shorter than expected the uptime may be that a host reports: it counts in
/// whole seconds, and its reply can be late.
const UPTIME_SLACK: Duration = Duration::from_secs(5);
/// By how much uptimes may differ of which the replies came in the wrong order.
const UPTIME_ORDER: Duration = Duration::from_secs(1);

/// What is known of a host.
pub(super) struct KnownHost {
    pub(super) dialect: Dialect,
    /// Its labels, where it says any and there is room for them.
    pub(super) labels: Option<Labels>,
    /// Its uptime in seconds, as its last reply to a ping says.
    pub(super) uptime: u64,
    /// When that reply came.
    pub(super) replied: Instant,
    /// When it last answered any question.
    pub(super) seen: Instant,
    /// Whether an event said that it may be gone, or have another version now.
    pub(super) doubtful: bool,
    /// How long it takes to answer a ping: an average, and not less than the last time.
    pub(super) answers_in: Duration,
    /// When it was found to have missed a ping, since its last reply.
    pub(super) missed: Option<Instant>,
}

/// Labels that are kept.
pub(super) struct Labels {
    pub(super) all: TextMap,
    /// What they take of the room, where they are large.
    pub(super) _room: Option<Box<Share<HostId>>>,
}

impl KnownHost {
    /// Returns how long after a ping its reply is waited for in any case.
    pub(super) fn patience(&self) -> Duration {
        (self.answers_in * 2 + SLACK).min(MOST_PATIENCE)
    }

    /// Tells whether the host was started again, as it reports a shorter uptime than it
    /// had.
    pub(super) fn ran_before(&self, uptime: u64) -> bool {
        // Replies to two pings can come in the wrong order.
        uptime + UPTIME_ORDER.as_secs() < self.uptime
            || uptime + UPTIME_SLACK.as_secs() < self.uptime + self.replied.elapsed().as_secs()
    }

    pub(super) fn is_recent(&self) -> bool {
        self.replied.elapsed() < RECENT_FOR
    }

    /// Notes that it did not answer a ping of `asked` within `took`. Returns whether that
    /// is the second one that it missed. Pings that were under way together count once.
    pub(super) fn misses(&mut self, asked: Instant, took: Duration) -> bool {
        if self.seen > asked || took < self.patience() {
            return false;
        }
        match self.missed {
            Some(first) => first <= asked,
            // An event said that it may be gone.
            None if self.doubtful => true,
            None => {
                self.missed = Some(Instant::now());
                false
            }
        }
    }
}
