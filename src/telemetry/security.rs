//! What was refused because somebody may not do it, or could not prove that
//! they may: counted and logged, so that it can be watched for, and so that
//! whoever does it a thousand times a second does not fill the log.
//!
//! Every line has the target `lattice_controller::security` and the fields
//! `cause`, `actor`, `detail`, `count` (of this cause since the start) and
//! `unlogged` (since the last line of this cause).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The call did not prove where it comes from: signature, issuer, target,
    /// hash or lifetime.
    Unproved,
    /// The actor is not linked.
    Unlinked,
    /// The call is too old, or comes again.
    Repeated,
    /// The link of the actor does not allow the operation.
    Operation,
    /// The link of the actor does not allow the lattice.
    Lattice,
    /// The credentials belong to another actor.
    Owner,
    /// The provider may not connect to the server.
    Server,
    /// A link says what no link can say.
    Link,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::Unproved,
        Self::Unlinked,
        Self::Repeated,
        Self::Operation,
        Self::Lattice,
        Self::Owner,
        Self::Server,
        Self::Link,
    ];

    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unproved => "unproved",
            Self::Unlinked => "unlinked",
            Self::Repeated => "repeated",
            Self::Operation => "operation",
            Self::Lattice => "lattice",
            Self::Owner => "owner",
            Self::Server => "server",
            Self::Link => "link",
        }
    }
}

/// Lines of one cause that come at once, and how long it takes until there may
/// be one more.
const BURST: u32 = 20;
const ONE_MORE_AFTER: Duration = Duration::from_secs(3);

/// How often something was refused, and how much of it may be logged now.
struct Tally {
    count: u64,
    unlogged: u64,
    left: u32,
    since: Option<Instant>,
}

static TALLIES: [Mutex<Tally>; Cause::ALL.len()] = [const {
    Mutex::new(Tally {
        count: 0,
        unlogged: 0,
        left: BURST,
        since: None,
    })
}; Cause::ALL.len()];

/// Takes that something was refused to an actor; `detail` says what, and holds no
/// secret.
pub fn refused(cause: Cause, actor: &str, detail: &str) {
    let mut tally = TALLIES[cause as usize]
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(unlogged) = tally.take(Instant::now()) {
        let count = tally.count;
        drop(tally);
        warn!(
            target: "lattice_controller::security",
            cause = cause.name(),
            actor = crate::error::quoted(actor),
            detail,
            count,
            unlogged,
            "refused"
        );
    }
}

impl Tally {
    /// Counts one more; how many before it were not logged, if it is to be.
    fn take(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let since = *self.since.get_or_insert(now);
        let more = now.saturating_duration_since(since).as_secs() / ONE_MORE_AFTER.as_secs();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = Some(now);
        }
        if self.left == 0 {
            self.unlogged += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_tally_of_its_own() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
        }
    }

    #[test]
    fn a_flood_is_counted_and_logged_now_and_then() {
        let mut tally = Tally {
            count: 0,
            unlogged: 0,
            left: BURST,
            since: None,
        };
        let start = Instant::now();
        let at_once = (0..1000).filter(|_| tally.take(start).is_some()).count();
        assert_eq!(at_once, BURST as usize);
        assert_eq!(tally.count, 1000);
        assert_eq!(
            tally.take(start + ONE_MORE_AFTER),
            Some(1000 - u64::from(BURST))
        );
        assert_eq!(tally.take(start + ONE_MORE_AFTER), None);
    }
}
