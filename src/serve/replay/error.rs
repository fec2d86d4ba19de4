//! Why a call is not taken, and what health tells.

/// How far a host's clock may be ahead of ours, in seconds.
pub const CLOCK_AHEAD: u64 = 30;

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Every host says the time: claims that do not were made by something else.
    #[error("the invocation's claims do not say when they were made")]
    NoTime,
    /// It was made too long ago.
    #[error(
        "the invocation is too old: it was made {age} s ago, and {allowed} s are allowed \
         (invocation_window_ms)"
    )]
    TooOld {
        /// Its age in seconds.
        age: u64,
        /// The window in seconds.
        allowed: u64,
    },
    /// It was made so many seconds after now.
    #[error(
        "the invocation is from the future: its host's clock is {0} s ahead, and \
         {CLOCK_AHEAD} s are allowed"
    )]
    FromFuture(u64),
    /// It was made no later than a command of its actor that was forgotten for lack of room.
    #[error(
        "the invocation is too old: its actor sends so many commands that only those of the \
         last {remembered} s are remembered, and this one may have been carried out before"
    )]
    Forgotten {
        /// The actor's window in seconds.
        remembered: u64,
    },
    /// It was made no later than a command that was forgotten before the clock was set back.
    #[error(
        "the invocation may have been carried out before: the clock of the provider's machine \
         was set back, and commands of that time are no longer remembered; a new call counts \
         in {wait} s"
    )]
    ClockSetBack {
        /// The seconds until commands that are made now are later than those forgotten.
        wait: u64,
    },
    /// It was taken before.
    #[error(
        "the invocation was taken before, and is not carried out again; a new call \
         has a new id"
    )]
    TakenBefore,
}

/// The clock was set back, so that commands of the time before may be carried out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of the provider's machine was set back by {by} s: for {left} s from now, \
     somebody who recorded commands while it was ahead could have some of them carried out \
     again; keep it in step with the clocks of the hosts, and do not restart the provider, \
     which remembers the last of these commands"
)]
pub struct ClockSetBack {
    /// By how many seconds, or by somewhat more.
    pub(super) by: u64,
    /// For how many seconds this matters.
    pub(super) left: u64,
}
