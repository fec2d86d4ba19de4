//! How many calls are in flight at once, of all actors and of each, and how many bytes
//! their messages have together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::serve::places::{Limiter, Place, Ticket};
use crate::settings::CallLimits;
use crate::telemetry::LogLimiter;

/// How many bytes the messages of all calls in flight may have together. Few messages
/// are over 1 KiB.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The places of all calls.
pub struct Admission {
    calls: Arc<Limiter>,
    bytes: Arc<Semaphore>,
    actors: Arc<Limiter>,
    in_flight: TaskTracker,
    busy_log: LogLimiter,
}

impl Admission {
    pub(super) fn new(limits: &CallLimits, in_flight: TaskTracker) -> Self {
        Self {
            calls: Limiter::new(limits.all()),
            bytes: Arc::new(Semaphore::new(MAX_BYTES)),
            actors: Limiter::new(limits.of_actor()),
            in_flight,
            busy_log: LogLimiter::default(),
        }
    }

    /// Asks for a place for one more call, whose message has so many bytes. These count
    /// until the permit is dropped.
    ///
    /// # Errors
    /// `Busy`.
    pub fn enter(&self, bytes: usize) -> Result<(Ticket, OwnedSemaphorePermit), Error> {
        let permit = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.bytes.clone().try_acquire_many_owned(bytes).ok());
        let permit = permit.ok_or_else(|| {
            self.busy(format!(
                "the provider is busy: the calls under way have {MAX_BYTES} bytes together; \
                 try again later"
            ))
        })?;
        match self.calls.enter(()) {
            Ticket::Full => Err(self.full()),
            ticket => Ok((ticket, permit)),
        }
    }

    /// Returns the error of a call for which no place got free.
    pub fn full(&self) -> Error {
        let most = self.calls.most();
        self.busy(format!(
            "the provider is busy: {most} calls are under way (max_calls); try again later"
        ))
    }

    /// Takes a place among the calls of an actor, for which it waits where that may help.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn place_of_actor(&self, actor: &str, deadline: Deadline) -> Result<Place, Error> {
        let place = self.actors.place(actor, deadline).await;
        place.ok_or_else(|| {
            let most = self.actors.most();
            self.busy(format!(
                "the provider is busy: {most} calls of actor {actor} are under way \
                 (max_actor_calls); try again later"
            ))
        })
    }

    /// Checks that there is time left to carry out a call.
    ///
    /// # Errors
    /// `Busy`.
    pub fn check_time(&self, deadline: Deadline) -> Result<(), Error> {
        match deadline.remaining().is_zero() {
            true => Err(self.busy(
                "the provider is busy: the call came to its turn too late to be carried out",
            )),
            false => Ok(()),
        }
    }

    fn busy(&self, message: impl Into<String>) -> Error {
        if self.busy_log.is_due() {
            warn!(
                in_flight = self.in_flight.len(),
                "calls are refused as busy"
            );
        }
        Error::new(Kind::Busy, message)
    }
}
