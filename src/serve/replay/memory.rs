//! What is remembered of one actor's commands, and how much room that may take.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::serve::replay::error::{CLOCK_AHEAD, ReplayError};
use crate::shares::may_take;

/// How many slices the commands have that may be fresh at one time; there may be two more.
const SLICES: u64 = 8;

/// How often the log tells of one actor whose window is shortened, in seconds.
const TOLD_EACH: u64 = 30;

/// How many commands are remembered of all actors together, and how many may be.
pub(super) struct CommandRoom {
    most: usize,
    /// What each actor may have as long as `most` is not reached.
    floor: usize,
    all: AtomicUsize,
}

/// The commands of one actor, by the time at which they were made.
///
/// A slice has those of a few seconds. It is forgotten once all of them are too old to be
/// fresh, or where the actor has more than its share; then `aged` or `crowded_out` say up to
/// when commands were forgotten, and no earlier one is taken any more.
pub(super) struct ActorMemory {
    slices: BTreeMap<u64, Slice>,
    /// How many commands are in the slices.
    held: usize,
    /// When the newest command was made that was forgotten because it was too old.
    aged: u64,
    /// When the newest command was made that was forgotten for lack of room.
    crowded_out: u64,
    /// Whether commands were forgotten for lack of room since the log told of it.
    untold: bool,
    /// When the log told of it.
    told: u64,
}

struct Slice {
    /// A number for each: a hash, but for the lowest bits, which say in which second of the
    /// slice the command was made.
    commands: HashSet<u64>,
    /// No command that is remembered was made before that.
    oldest: u64,
    /// When the newest of them was made.
    newest: u64,
}

/// The bits of a command's number that say in which second of its slice it was made. A
/// slice has up to 453 s, as the window has up to an hour.
const SECOND: u64 = 0xfff;

/// How long a command may be fresh, and how much time a slice has, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) window: u64,
    slice: u64,
}

impl Times {
    pub(super) fn new(window: u64) -> Self {
        let slice = ((window + CLOCK_AHEAD) / SLICES).max(1);
        Self { window, slice }
    }

    /// Returns the slice of commands that were made at this time.
    fn slice_of(self, iat: u64) -> u64 {
        iat / self.slice
    }

    /// Returns when a slice begins.
    fn start_of(self, slice: u64) -> u64 {
        slice * self.slice
    }

    /// Returns the number of a command in its slice.
    fn number_of(self, hash: u64, iat: u64) -> u64 {
        (hash & !SECOND) | (iat % self.slice)
    }
}

impl CommandRoom {
    pub(super) fn new(most: usize, floor: usize) -> Self {
        let all = AtomicUsize::new(0);
        Self { most, floor, all }
    }

    /// Whether an actor may have `own` of the commands that are remembered. A quarter of the
    /// room is left to actors that have no more than the floor; the rest is shared.
    fn fits(&self, own: usize) -> bool {
        let all = self.all.load(Relaxed);
        let shared = self.most - self.most / 4;
        let within_floor = own <= self.floor && all <= self.most;
        // Its last command is among them.
        let before = shared.saturating_sub(all.saturating_sub(1));
        within_floor || may_take(own.saturating_sub(1), own.min(1), before)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> usize {
        self.all.load(Relaxed)
    }
}

impl ActorMemory {
    /// Makes the memory of an actor of which nothing is remembered. It may have made commands
    /// up to `aged` that were taken.
    pub(super) fn new(aged: u64) -> Self {
        Self {
            slices: BTreeMap::new(),
            held: 0,
            aged,
            crowded_out: 0,
            untold: false,
            told: 0,
        }
    }

    /// Takes a command that is fresh, once. Where the actor has more than its share then, its
    /// oldest commands are forgotten.
    pub(super) fn take(
        &mut self,
        hash: u64,
        iat: u64,
        now: u64,
        times: Times,
        room: &CommandRoom,
    ) -> Result<(), ReplayError> {
        self.settle(now, times, room);
        self.check(iat, now)?;
        let slice = times.slice_of(iat);
        let start = times.start_of(slice);
        let slice = self.slices.entry(slice);
        let slice = slice.or_insert_with(|| Slice::new(start));
        if !slice.commands.insert(times.number_of(hash, iat)) {
            return Err(ReplayError::TakenBefore);
        }
        slice.newest = slice.newest.max(iat);
        self.held += 1;
        room.all.fetch_add(1, Relaxed);
        // The command itself may be among those that are forgotten. It is taken, since no
        // copy of it will be.
        while !room.fits(self.held) {
            self.make_room(now, times, room);
        }
        Ok(())
    }

    /// Forgets a command that was taken.
    pub(super) fn give_back(&mut self, hash: u64, iat: u64, times: Times, room: &CommandRoom) {
        let number = times.number_of(hash, iat);
        let slice = self.slices.get_mut(&times.slice_of(iat));
        if slice.is_some_and(|slice| slice.commands.remove(&number)) {
            self.held -= 1;
            room.all.fetch_sub(1, Relaxed);
        }
    }

    /// Forgets what is too old to be fresh.
    ///
    /// Forgotten commands that were made later than any fresh one come from before the clock
    /// was set back. That there were such commands is forgotten as well: else no command was
    /// taken until the clock has come there again.
    pub(super) fn settle(&mut self, now: u64, times: Times, room: &CommandRoom) {
        let latest = now + CLOCK_AHEAD;
        self.aged = self.aged.min(latest);
        if self.crowded_out > latest {
            self.aged = latest;
            self.crowded_out = 0;
        }
        while let Some(first) = self.slices.first_entry()
            && first.get().newest + times.window < now
        {
            let slice = first.remove();
            self.aged = self.aged.max(slice.newest);
            self.held -= slice.len_given_up(room);
        }
    }

    /// Forgets some commands, so that there is room: the oldest ones. Before those it forgets
    /// what was made in the future of a clock that was set back: until the clock has come
    /// there again, such commands are refused anyway.
    fn make_room(&mut self, now: u64, times: Times, room: &CommandRoom) {
        let future = times.slice_of(now + CLOCK_AHEAD) + 1;
        let future = self.slices.range(future..).next().map(|(slice, _)| *slice);
        if let Some(slice) = future.and_then(|future| self.slices.remove(&future)) {
            self.held -= slice.len_given_up(room);
            return;
        }
        let Some(mut first) = self.slices.first_entry() else {
            return;
        };
        // The earlier half of its time.
        let (start, slice) = (times.start_of(*first.key()), first.get_mut());
        let up_to = slice.oldest.midpoint(slice.newest);
        self.crowded_out = self.crowded_out.max(up_to);
        self.untold = true;
        self.held -= match up_to < slice.newest {
            true => slice.forget_up_to(up_to, start, room),
            false => first.remove().len_given_up(room),
        };
    }

    /// Checks that no command is forgotten that was made at this time or later.
    fn check(&self, iat: u64, now: u64) -> Result<(), ReplayError> {
        if iat <= self.crowded_out {
            return Err(ReplayError::Forgotten {
                remembered: now.saturating_sub(self.crowded_out),
            });
        }
        if iat <= self.aged {
            return Err(ReplayError::ClockSetBack {
                wait: (self.aged + 1).saturating_sub(now).max(1),
            });
        }
        Ok(())
    }

    /// Returns when the newest command was made that was taken.
    pub(super) fn newest(&self) -> u64 {
        let held = self.slices.last_key_value();
        let held = held.map_or(0, |(_, slice)| slice.newest);
        held.max(self.newest_forgotten())
    }

    /// Returns when the newest command was made that was forgotten.
    pub(super) fn newest_forgotten(&self) -> u64 {
        self.aged.max(self.crowded_out)
    }

    /// Whether every command that was taken is too old to be fresh, and forgotten.
    pub(super) fn is_over(&self, now: u64, times: Times) -> bool {
        self.slices.is_empty() && self.newest_forgotten() + times.window < now
    }

    /// Returns what the log should tell of this actor: how many seconds of its commands are
    /// still remembered, and how many commands these are.
    pub(super) fn news(&mut self, now: u64) -> Option<(u64, usize)> {
        if !self.untold || now.abs_diff(self.told) < TOLD_EACH {
            return None;
        }
        self.untold = false;
        self.told = now;
        Some((now.saturating_sub(self.crowded_out), self.held))
    }
}

#[cfg(test)]
impl ActorMemory {
    /// Returns how many commands are remembered.
    pub(super) fn commands(&self) -> usize {
        let all = self.slices.values().map(|slice| slice.commands.len());
        let all = all.sum();
        assert_eq!(self.held, all);
        all
    }
}

impl Slice {
    fn new(start: u64) -> Self {
        Self {
            commands: HashSet::new(),
            oldest: start,
            newest: start,
        }
    }

    /// Forgets what was made up to then. Returns how many commands that are.
    fn forget_up_to(&mut self, up_to: u64, start: u64, room: &CommandRoom) -> usize {
        let before = self.commands.len();
        self.commands
            .retain(|command| start + (command & SECOND) > up_to);
        self.oldest = up_to + 1;
        // The table has room for four times as many at most.
        if self.commands.capacity() / 4 > self.commands.len() {
            self.commands.shrink_to_fit();
        }
        let forgotten = before - self.commands.len();
        room.all.fetch_sub(forgotten, Relaxed);
        forgotten
    }

    /// Gives up the room of its commands, and returns how many there were.
    fn len_given_up(self, room: &CommandRoom) -> usize {
        let commands = self.commands.len();
        room.all.fetch_sub(commands, Relaxed);
        commands
    }
}
