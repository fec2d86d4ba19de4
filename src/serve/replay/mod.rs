//! Protection from replay: a call is taken only while it is fresh, and a command only once.
//!
//! A call is known by the part of its claims that is signed. That part holds their number
//! (`jti`), the id of the invocation and the time. Somebody who recorded a call can send it
//! with another reply subject, but cannot change what is signed.

mod clock;
mod error;
mod memory;
#[cfg(test)]
mod replay_tests;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dashmap::DashMap;
use tracing::warn;

use crate::error::quoted;
use crate::lock::Lock;
use crate::serve::replay::clock::{Clock, Tick};
use crate::serve::replay::memory::{ActorMemory, CommandRoom, Times};
use crate::telemetry::LogLimiter;

pub use crate::serve::replay::error::{CLOCK_AHEAD, ClockSetBack, ReplayError};

/// Most commands that are remembered of all actors together. They take 20 MiB at most, and
/// each actor takes 1 KiB.
const MOST: usize = 1024 * 1024;
/// How many commands of an actor are remembered however many others send. A quarter of
/// [`MOST`] is left to actors that have no more.
const FLOOR: usize = 1000;

/// Remembers the commands that were taken, as long as they could be taken once more.
///
/// Each actor has a memory of its own. An actor with more commands than its share forgets
/// its oldest ones, and its commands are refused that were made no later than those. So its
/// window shrinks, and nobody else's.
///
/// What is remembered is never taken twice, whatever the clock does. What was forgotten is
/// never taken twice unless the clock was set back to more than [`CLOCK_AHEAD`] before it
/// was made.
pub struct ReplayGuard {
    times: Times,
    hasher: RandomState,
    room: CommandRoom,
    /// By hash: of 10^19 pairs of actors, one shares its memory.
    actors: DashMap<u64, ActorMemory>,
    /// When the newest command was made of actors whose memory is given up.
    left: AtomicU64,
    /// The second that was seen last. The clock is looked at once in each.
    second: AtomicU64,
    clock: Lock<Clock>,
    shortened_log: LogLimiter,
}

/// The mark of a command that was taken.
#[derive(Clone, Copy, Debug)]
pub struct ReplayMark {
    actor: u64,
    command: u64,
    iat: u64,
}

impl ReplayGuard {
    /// Makes a guard that takes calls up to this age.
    pub fn new(window: Duration) -> Self {
        Self::with_room(window, MOST, FLOOR)
    }

    fn with_room(window: Duration, most: usize, floor: usize) -> Self {
        Self {
            times: Times::new(window.as_secs()),
            hasher: RandomState::new(),
            room: CommandRoom::new(most, floor),
            actors: DashMap::new(),
            left: AtomicU64::new(0),
            second: AtomicU64::new(0),
            clock: Lock::default(),
            shortened_log: LogLimiter::new(20, Duration::from_secs(3)),
        }
    }

    /// Checks that a call is fresh `now` which was made at `iat`, both in seconds since
    /// 1970, and returns when it was made.
    ///
    /// # Errors
    /// `NoTime`, `TooOld`, `FromFuture`.
    pub fn check_fresh(&self, iat: Option<u64>, now: u64) -> Result<u64, ReplayError> {
        let iat = iat.ok_or(ReplayError::NoTime)?;
        let (age, ahead) = (now.saturating_sub(iat), iat.saturating_sub(now));
        let allowed = self.times.window;
        if age > allowed {
            return Err(ReplayError::TooOld { age, allowed });
        }
        if ahead > CLOCK_AHEAD {
            return Err(ReplayError::FromFuture(ahead));
        }
        Ok(iat)
    }

    /// Takes a command of an actor once, whose signed part is `signed`.
    ///
    /// # Errors
    /// `TakenBefore`; `Forgotten` and `ClockSetBack` where it may have been; `TooOld` and
    /// `FromFuture` where it is not fresh any more.
    pub fn take(
        &self,
        actor: &str,
        signed: &str,
        iat: u64,
        now: u64,
    ) -> Result<ReplayMark, ReplayError> {
        self.look_at_clock(now);
        let iat = self.check_fresh(Some(iat), now)?;
        let mark = ReplayMark {
            actor: self.hasher.hash_one(actor),
            command: self.hasher.hash_one(signed),
            iat,
        };
        let memory = self.actors.entry(mark.actor);
        // Read under the lock of the entry, so after whatever was given up there.
        let mut memory = memory.or_insert_with(|| ActorMemory::new(self.left.load(Relaxed)));
        let taken = memory.take(mark.command, iat, now, self.times, &self.room);
        let news = memory.news(now);
        drop(memory);
        if let Some((remembered_s, commands)) = news
            && self.shortened_log.is_due()
        {
            warn!(
                actor = quoted(actor),
                remembered_s,
                commands,
                "an actor sends more commands than are remembered: its older ones are refused"
            );
        }
        taken.map(|()| mark)
    }

    /// Forgets a command that was taken and certainly not carried out, so that its host may
    /// send it again.
    pub fn give_back(&self, mark: Option<ReplayMark>) {
        let Some(mark) = mark else { return };
        if let Some(mut memory) = self.actors.get_mut(&mark.actor) {
            memory.give_back(mark.command, mark.iat, self.times, &self.room);
        }
    }

    /// Checks that the clock was not set back.
    ///
    /// # Errors
    /// For as long as commands that were made before that could be taken twice.
    pub fn check_clock(&self, now: u64) -> Result<(), ClockSetBack> {
        self.look_at_clock(now);
        self.clock.lock().check(now)
    }

    /// Gives up memory from time to time, and tells where the clock was set back.
    fn look_at_clock(&self, now: u64) {
        if self.second.load(Relaxed) == now {
            return;
        }
        let mut clock = self.clock.lock();
        match clock.tick(now) {
            Tick::Nothing => {}
            Tick::Turn => {
                self.settle(now);
            }
            Tick::SetBack(by) => {
                let newest = self.settle(now);
                let matters_until = newest + self.times.window;
                // All that may be fresh soon is remembered, or known to be forgotten.
                let could_repeat = newest > now + CLOCK_AHEAD;
                if could_repeat {
                    clock.tell(by, now, matters_until);
                }
                warn!(
                    by_s = by,
                    could_repeat,
                    "the clock of this machine was set back: commands may be refused for half \
                     a minute"
                );
            }
        }
        self.second.store(now, Relaxed);
    }

    /// Gives up what is too old of all actors, and actors of whom nothing else is left.
    /// Returns when the newest command was made that was taken.
    fn settle(&self, now: u64) -> u64 {
        let mut newest = self.left.fetch_min(now + CLOCK_AHEAD, Relaxed);
        self.actors.retain(|_, memory| {
            newest = newest.max(memory.newest());
            memory.settle(now, self.times, &self.room);
            let leaves = memory.is_over(now, self.times);
            if leaves {
                self.left.fetch_max(memory.newest_forgotten(), Relaxed);
            }
            !leaves
        });
        newest
    }
}
