//! Notices that the clock was set back.

use crate::serve::replay::error::{CLOCK_AHEAD, ClockSetBack};

/// How long health tells at most that the clock was set back, in seconds.
const TOLD_FOR: u64 = 3600;

/// How often the memory of all actors is looked through for what is too old, in seconds.
const TURN: u64 = 10;

/// What was seen of the clock, in seconds since 1970.
#[derive(Default)]
pub(super) struct Clock {
    /// The latest time since the start, or since the clock was set back.
    latest: u64,
    /// The last turn.
    turn: u64,
    /// By how much the clock was set back, and until when health tells of it.
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

    /// Has health tell that the clock was set back by so much, as long as it matters, and an
    /// hour at most.
    pub(super) fn tell(&mut self, by: u64, now: u64, matters_until: u64) {
        self.set_back = Some((by, matters_until.min(now + TOLD_FOR)));
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
