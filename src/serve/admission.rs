//! How many calls are in flight at once, of all actors and of each, and how many bytes
//! their messages have together.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::serve::copies::{Copies, CountedCall};
use crate::serve::places::{Limiter, Place};
use crate::serve::unread::{Unread, UnreadRoom};
use crate::settings::CallLimits;
use crate::shares::{Share, Shares};
use crate::telemetry::PartyLimiter;

/// How many bytes the arguments of all calls in flight may have together, beside those
/// that were not read yet. Few have over 1 KiB.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The places of all calls, which actors share.
pub struct Admission {
    unread: Unread,
    calls: Arc<Limiter>,
    of_actor: usize,
    of_call: usize,
    copies: Arc<Copies>,
    bytes: Arc<Shares<u64>>,
    hasher: RandomState,
    in_flight: TaskTracker,
    busy_log: PartyLimiter,
}

impl Admission {
    pub(super) fn new(limits: &CallLimits, in_flight: TaskTracker) -> Self {
        Self {
            unread: Unread::new(),
            calls: Limiter::new(limits.all(), limits.of_actor()),
            of_actor: limits.of_actor(),
            of_call: limits.copies(),
            copies: Arc::default(),
            bytes: Shares::new(MAX_BYTES),
            hasher: RandomState::new(),
            in_flight,
            busy_log: PartyLimiter::default(),
        }
    }

    /// Takes room for a call that was not read yet, whose message has so many bytes.
    /// `name` reads in whose name it is, without proof.
    ///
    /// # Errors
    /// `Busy`.
    pub fn enter<'a>(
        &self,
        bytes: usize,
        name: impl FnOnce() -> Option<&'a str>,
    ) -> Result<UnreadRoom, Error> {
        self.unread.enter(bytes, name).ok_or_else(|| {
            let message = "the provider is busy: more calls come than it can read; try again later";
            self.busy(None, message)
        })
    }

    /// Checks that an actor would not be refused a place at once.
    ///
    /// # Errors
    /// `Busy`.
    pub fn check_room(&self, actor: &str) -> Result<(), Error> {
        match self.calls.is_full((), actor) {
            // It is not proved that the call is the actor's.
            true => Err(self.busy(None, self.full(actor))),
            false => Ok(()),
        }
    }

    /// Takes so many of the bytes that the arguments of all calls may have, for an actor.
    ///
    /// # Errors
    /// `Busy`.
    pub fn bytes_of_actor(&self, actor: &str, bytes: usize) -> Result<Share<u64>, Error> {
        let mut share = self.bytes.share(self.hasher.hash_one(actor));
        match share.take(bytes) {
            true => Ok(share),
            false => Err(self.busy(
                Some(actor),
                format!(
                    "the provider is busy: the calls of actor {actor} under way have as many of \
                     {MAX_BYTES} bytes as it leaves to others; try again later"
                ),
            )),
        }
    }

    /// Takes a place for a call of an actor, for which it waits where that may help.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn place_of_actor(&self, actor: &str, deadline: Deadline) -> Result<Place, Error> {
        let place = self.calls.place((), actor, deadline).await;
        place.ok_or_else(|| self.busy(Some(actor), self.full(actor)))
    }

    /// Notes that a call of an actor with this signed part is under way. Copies of those that
    /// only read leave some of their actor's places to other calls; of a command there is
    /// one.
    ///
    /// # Errors
    /// `Busy`.
    pub fn copy_of(
        &self,
        actor: &str,
        signed: &str,
        is_command: bool,
    ) -> Result<CountedCall, Error> {
        // The first one is no copy.
        let most = if is_command { 0 } else { self.of_call - 1 };
        self.copies.enter(actor, signed, most).ok_or_else(|| {
            self.busy(
                Some(actor),
                format!(
                    "the provider is busy: copies of this call are under way, and actor {actor} \
                     may have {most} of its calls at a time; a new call has a new id"
                ),
            )
        })
    }

    /// Checks that there is time left to carry out a call.
    ///
    /// # Errors
    /// `Busy`.
    pub fn check_time(&self, actor: &str, deadline: Deadline) -> Result<(), Error> {
        match deadline.remaining().is_zero() {
            true => Err(self.busy(
                Some(actor),
                "the provider is busy: the call came to its turn too late to be carried out",
            )),
            false => Ok(()),
        }
    }

    /// Says that an actor has no place for one more call.
    fn full(&self, actor: &str) -> String {
        let (taken, most) = (self.calls.taken((), actor), self.calls.most());
        match taken < self.of_actor {
            true => format!(
                "the provider is busy: actor {actor} has as many of {most} places for calls as \
                 it leaves to others (max_calls); try again later"
            ),
            false => format!(
                "the provider is busy: {taken} calls of actor {actor} are under way \
                 (max_actor_calls); try again later"
            ),
        }
    }

    /// Makes the error of a call that is refused as busy. The log says so for each actor
    /// now and then, and for all who proved no name together.
    pub fn busy(&self, actor: Option<&str>, message: impl Into<String>) -> Error {
        if let Some(line) = self.busy_log.occurrence(actor) {
            warn!(
                actor = actor.unwrap_or("-"),
                in_flight = self.in_flight.len(),
                count = line.count,
                unlogged = line.unlogged,
                "calls are refused as busy"
            );
        }
        Error::new(Kind::Busy, message)
    }
}
