//! Notices that the clock was set back.

use crate::serve::replay::error::{CLOCK_AHEAD, ClockSetBack};

/// Longest time for which health tells that the clock was set back, in seconds.
const TOLD_FOR: u64 = 3600;

/// How often memory of what is too old is given up, in seconds.
const TURN: u64 = 10;

/// What was seen of the clock, in seconds since 1970.
#[derive(Default)]
pub(super) struct Clock {
    /// The latest time since the start, or since the clock was set back.
    latest: u64,
    /// The last turn.
    turn: u64,
    /// By how much the clock was set back, and until when that matters.
    set_back: Option<(u64, u64)>,
}

/// What a new time calls for.
pub(super) enum Tick {
    /// Nothing.
    Nothing,
    /// What is too old should be given up.
    Turn,
    /// That as well, since the clock was set back by so many seconds.
    SetBack(u64),
}

impl Clock {
    /// Takes the time. Where it is earlier than it was by more than [`CLOCK_AHEAD`], the clock
    /// was set back.
    pub(super) fn tick(&mut self, now: u64) -> Tick {
        let back = self.latest.saturating_sub(now);
        let turn = now / TURN;
        let turned = std::mem::replace(&mut self.turn, turn) != turn;
        if back > CLOCK_AHEAD {
            self.latest = now;
            return Tick::SetBack(back);
        }
        self.latest = self.latest.max(now);
        if turned { Tick::Turn } else { Tick::Nothing }
    }

    /// Has health tell that the clock was set back by so much, until `until`; returns for
    /// how many seconds.
    pub(super) fn tell(&mut self, by: u64, now: u64, until: u64) -> u64 {
        let until = until.min(now + TOLD_FOR);
        self.set_back = Some((by, until));
        until - now
    }

    /// Returns what health has to tell.
    pub(super) fn check(&self, now: u64) -> Result<(), ClockSetBack> {
        match self.set_back {
            Some((by, until)) if now < until => {
                let left = until - now;
                Err(ClockSetBack { by, left })
            }
            _ => Ok(()),
        }
    }
}
