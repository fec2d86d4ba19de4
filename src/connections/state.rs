//! The states of the one connection that a set of credentials has, and how one
//! follows the other. Nothing here waits or dials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::backoff::Backoff;
use crate::connections::connection::Connection;
use crate::connections::failure::DialFailure;
use crate::connections::lease::Lease;

/// How long calls get the failure of a dial as their answer: at first, and after
/// many failures in a row.
const FAILURE_COUNTS_FOR: Backoff =
    Backoff::doubling(Duration::from_millis(100), Duration::from_secs(2));
/// How long calls get a rejection as their answer: a server that refuses a login does so
/// again.
const REJECTION_COUNTS_FOR: Duration = Duration::from_secs(5);

/// The result of a dial.
pub(super) type Dialled = Result<Arc<Lease>, DialFailure>;

/// Where calls wait for the result of a dial. The connection is in use until the last
/// of them has taken it, so that it does not close to make room before.
pub(super) type Dial = watch::Receiver<Option<Dialled>>;

/// A state of the connection.
pub(super) enum State {
    /// There is none: no call asked for it, or none did for a while.
    Idle,
    /// It is being dialled, once for all calls that wait.
    Connecting {
        dial: Dial,
        /// How many dials in a row failed before.
        failed_before: usize,
        /// Cancelled when the dial is over, however it ends.
        over: CancellationToken,
        /// Ends a dial that no call ever waited for.
        spare: Option<CancellationToken>,
    },
    /// There is one.
    Ready(Arc<Connection>),
    /// It broke, and is being made again.
    Broken { why: String, since: Instant },
    /// The last dial failed.
    Failed(Failed),
}

/// A failure that is the answer to calls for a while.
pub(super) struct Failed {
    failure: DialFailure,
    until: Instant,
    /// How many dials in a row failed.
    in_a_row: usize,
    /// How often the credentials had been set: once they are set again, the failure
    /// does not count any more.
    times_set: u64,
}

/// What a call gets.
pub(super) enum Answer {
    Lease(Lease),
    Failure(DialFailure),
    /// It waits for the dial that is under way.
    Wait(Dial),
    /// It waits for a dial that must begin.
    Dial(Dial, FirstDial),
}

/// What a task in the background gets, which is no use of the connection.
pub(super) enum SpareAnswer {
    Connection(Arc<Connection>),
    /// It waits until the dial that is under way is over.
    Wait(CancellationToken),
    /// It waits until a dial is over that must begin.
    Dial(CancellationToken, FirstDial),
    /// It is left to calls.
    Nothing,
}

/// A dial that a call asks for, or that begins before any does.
pub(super) struct FirstDial {
    /// Where its result goes.
    pub(super) result: watch::Sender<Option<Dialled>>,
    /// How many dials in a row failed before.
    pub(super) failed_before: usize,
    /// Cancelled when a dial is to end that no call ever waited for.
    pub(super) spare: Option<CancellationToken>,
    /// Tells those in the background that it is over.
    pub(super) _over: DropGuard,
}

impl FirstDial {
    /// Whether any call still waits for it. The state itself has one receiver.
    pub(super) fn is_awaited(&self) -> bool {
        self.result.receiver_count() > 1
    }
}

impl State {
    /// Returns what a call gets now, when the credentials were set so many times. The
    /// first call that finds no connection has one dialled.
    pub(super) fn answer(&mut self, times_set: u64, now: Instant) -> Answer {
        let failed_before = match self {
            // Unless the task that dials died.
            Self::Connecting { dial, spare, .. } if dial.has_changed().is_ok() => {
                // From here on it is the dial of a call.
                *spare = None;
                return Answer::Wait(dial.clone());
            }
            Self::Ready(connection) => return Answer::Lease(Lease::new(connection.clone())),
            Self::Broken { why, since } => {
                return Answer::Failure(DialFailure::Down(format!(
                    "it broke {:.1} s ago: {why}",
                    now.saturating_duration_since(*since).as_secs_f64()
                )));
            }
            Self::Failed(failed) if failed.times_set == times_set => match now < failed.until {
                true => return Answer::Failure(failed.failure.clone()),
                false => failed.in_a_row,
            },
            _ => 0,
        };
        let (dial, _, begins) = self.connect(failed_before, None);
        Answer::Dial(dial, begins)
    }

    /// Returns what a task in the background gets now. Where a connection broke or could not
    /// be made, that is nothing: calls decide when it is dialled again.
    pub(super) fn answer_spare(&mut self) -> SpareAnswer {
        match self {
            Self::Connecting { dial, over, .. } if dial.has_changed().is_ok() => {
                SpareAnswer::Wait(over.clone())
            }
            Self::Ready(connection) => SpareAnswer::Connection(connection.clone()),
            Self::Idle | Self::Connecting { .. } => {
                let (_, over, begins) = self.connect(0, Some(CancellationToken::new()));
                SpareAnswer::Dial(over, begins)
            }
            Self::Broken { .. } | Self::Failed(_) => SpareAnswer::Nothing,
        }
    }

    /// Begins a dial.
    fn connect(
        &mut self,
        failed_before: usize,
        spare: Option<CancellationToken>,
    ) -> (Dial, CancellationToken, FirstDial) {
        let (result, dial) = watch::channel(None);
        let over = CancellationToken::new();
        *self = Self::Connecting {
            dial: dial.clone(),
            failed_before,
            over: over.clone(),
            spare: spare.clone(),
        };
        let begins = FirstDial {
            result,
            failed_before,
            spare,
            _over: over.clone().drop_guard(),
        };
        (dial, over, begins)
    }

    /// Returns what ends the dial that is under way, where no call ever waited for it.
    pub(super) fn spare_dial(&self) -> Option<&CancellationToken> {
        match self {
            Self::Connecting { spare, .. } => spare.as_ref(),
            _ => None,
        }
    }

    /// Returns the state after a dial that a call asked for failed.
    pub(super) fn after_failure(&self, failure: DialFailure, times_set: u64, now: Instant) -> Self {
        let failed_before = match self {
            Self::Connecting { failed_before, .. } => *failed_before,
            _ => 0,
        };
        let counts_for = match &failure {
            DialFailure::Aborted => return Self::Idle,
            DialFailure::Rejected(_) | DialFailure::Forbidden(_) => REJECTION_COUNTS_FOR,
            DialFailure::Limit(_) => Duration::ZERO,
            _ => FAILURE_COUNTS_FOR.pause(failed_before),
        };
        Self::Failed(Failed {
            failure,
            until: now + counts_for,
            in_a_row: failed_before + 1,
            times_set,
        })
    }

    /// Returns the state after a dial failed that was to replace a broken connection:
    /// another dial follows, unless it would fail in the same way.
    pub(super) fn after_redial(&self, failure: DialFailure, times_set: u64, now: Instant) -> Self {
        match (self, &failure) {
            // With a limit, others have its place: the next call asks for one anew.
            (_, DialFailure::Rejected(_) | DialFailure::Forbidden(_) | DialFailure::Limit(_)) => {
                self.after_failure(failure, times_set, now)
            }
            (Self::Broken { since, .. }, _) => Self::Broken {
                why: failure.to_string(),
                since: *since,
            },
            _ => Self::Idle,
        }
    }

    /// Returns since when nobody uses the connection, where there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self {
            Self::Ready(connection) => connection.usage.idle_since(),
            _ => None,
        }
    }

    /// Whether this is the connection that calls get.
    pub(super) fn has(&self, connection: &Arc<Connection>) -> bool {
        matches!(self, Self::Ready(ready) if Arc::ptr_eq(ready, connection))
    }

    /// Returns the failure, if it is the first of a row: it is worth a warning.
    pub(super) fn first_failure(&self) -> Option<&DialFailure> {
        match self {
            Self::Failed(failed) => (failed.in_a_row == 1).then_some(&failed.failure),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Connecting { .. } => f.write_str("connecting"),
            Self::Ready(_) => f.write_str("ready"),
            Self::Broken { why, .. } => write!(f, "broken: {why}"),
            Self::Failed(failed) => write!(f, "{}", failed.failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> DialFailure {
        DialFailure::Unreachable("away".into())
    }

    fn rejected() -> DialFailure {
        DialFailure::Rejected("no".into())
    }

    fn connecting(failed_before: usize) -> State {
        let mut state = State::Idle;
        state.connect(failed_before, None);
        state
    }

    /// After how many failures in a row a call dials; `None` where it does not.
    fn dials(state: &mut State, times_set: u64, now: Instant) -> Option<usize> {
        match state.answer(times_set, now) {
            Answer::Dial(_, begins) => Some(begins.failed_before),
            _ => None,
        }
    }

    #[test]
    fn the_first_call_dials_and_the_others_wait() {
        let now = Instant::now();
        let mut state = State::Idle;
        let Answer::Dial(first, begins) = state.answer(0, now) else {
            panic!("{state}");
        };
        let Answer::Wait(second) = state.answer(0, now) else {
            panic!("{state}");
        };
        drop(first);
        assert!(begins.is_awaited());
        drop(second);
        assert!(!begins.is_awaited());
        // Where the task that dials dies, the next call dials.
        drop(begins);
        assert_eq!(dials(&mut state, 0, now), Some(0));
    }

    #[test]
    fn a_dial_that_began_before_any_call_is_that_of_the_first_call_which_waits_for_it() {
        let now = Instant::now();
        let mut state = State::Idle;
        let SpareAnswer::Dial(over, begins) = state.answer_spare() else {
            panic!("{state}");
        };
        assert!(matches!(state.answer_spare(), SpareAnswer::Wait(_)));
        assert!(state.spare_dial().is_some() && !begins.is_awaited());
        let Answer::Wait(_call) = state.answer(0, now) else {
            panic!("{state}");
        };
        assert!(state.spare_dial().is_none() && begins.is_awaited());
        assert!(!over.is_cancelled());
        drop(begins);
        assert!(over.is_cancelled());
    }

    #[test]
    fn what_failed_or_broke_is_left_to_calls() {
        let now = Instant::now();
        let mut failed = connecting(0).after_failure(unreachable(), 1, now);
        assert!(matches!(failed.answer_spare(), SpareAnswer::Nothing));
        let mut broken = State::Broken {
            why: "closed".into(),
            since: now,
        };
        assert!(matches!(broken.answer_spare(), SpareAnswer::Nothing));
    }

    #[test]
    fn a_failure_is_the_answer_for_a_while_and_counts_in_a_row() {
        let now = Instant::now();
        let mut failed = connecting(4).after_failure(unreachable(), 1, now);
        assert!(
            matches!(failed.answer(1, now), Answer::Failure(failure) if failure == unreachable())
        );
        assert!(failed.first_failure().is_none());
        assert_eq!(dials(&mut failed, 1, now + Duration::from_secs(2)), Some(5));
        let mut first = connecting(0).after_failure(unreachable(), 1, now);
        assert!(first.first_failure().is_some());
        assert_eq!(
            dials(&mut first, 1, now + Duration::from_millis(100)),
            Some(1)
        );
    }

    #[test]
    fn a_refused_login_is_not_tried_for_longer() {
        let now = Instant::now();
        let mut failed = connecting(0).after_failure(rejected(), 1, now);
        let later = |ms| now + Duration::from_millis(ms);
        assert_eq!(dials(&mut failed, 1, later(4999)), None);
        assert_eq!(dials(&mut failed, 1, later(5000)), Some(1));
    }

    #[test]
    fn credentials_that_are_set_again_are_tried_at_once_and_anew() {
        let now = Instant::now();
        let mut failed = connecting(4).after_failure(rejected(), 1, now);
        assert_eq!(dials(&mut failed, 2, now), Some(0));
    }

    #[test]
    fn neither_a_limit_nor_a_dial_that_was_cut_off_keeps_the_next_call_from_dialling() {
        let now = Instant::now();
        for failure in [DialFailure::Limit("full".into()), DialFailure::Aborted] {
            let mut failed = connecting(0).after_failure(failure, 1, now);
            assert!(dials(&mut failed, 1, now).is_some());
        }
    }

    #[test]
    fn a_broken_connection_is_dialled_again_until_the_login_is_refused() {
        let since = Instant::now();
        let broken = State::Broken {
            why: "closed".into(),
            since,
        };
        let now = since + Duration::from_secs(3);
        let mut still = broken.after_redial(unreachable(), 1, now);
        let Answer::Failure(DialFailure::Down(why)) = still.answer(1, now) else {
            panic!("{still}");
        };
        assert_eq!(why, "it broke 3.0 s ago: away");
        // Setting the credentials again does not disturb the dials under way.
        assert!(matches!(still.answer(2, now), Answer::Failure(_)));
        let mut over = still.after_redial(rejected(), 1, now);
        assert!(matches!(over.answer(1, now), Answer::Failure(failure) if failure == rejected()));
        assert_eq!(dials(&mut over, 2, now), Some(0));
    }
}
