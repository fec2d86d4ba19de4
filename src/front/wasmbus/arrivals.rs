//! Calls that come in on wasmbus RPC, as many as there is room for.

use std::sync::Arc;

use async_nats::{Message, Subject};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::warn;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::front::wasmbus::Handler;
use crate::front::wasmbus::calls::too_large;
use crate::front::wasmbus::chunks::MAX_BODY;
use crate::front::wasmbus::head::{Head, id_of};
use crate::front::wasmbus::server::Server;
use crate::serve::admission::{Entry, Place};
use crate::telemetry::LogLimiter;
use crate::telemetry::security::{self, Cause};

/// Most calls that are read and verified together: more of them cost no less
/// each, and the first would wait for the last.
pub(super) const MOST_TOGETHER: usize = 32;
/// How much the messages of all calls under way may have: few are over 1 KiB.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Largest message: a body, and generously what is around it.
const MAX_MESSAGE: usize = MAX_BODY as usize + 256 * 1024;

/// What anybody who may publish could fill the log with.
#[derive(Default)]
pub(super) struct Noise {
    pub(super) busy: LogLimiter,
    pub(super) foreign: LogLimiter,
    pub(super) large: LogLimiter,
    pub(super) unsent: LogLimiter,
}

/// A call that there is room for. Nothing of it was read yet.
pub(super) struct Admitted {
    /// Where its answer goes.
    pub(super) reply: Subject,
    /// The invocation.
    pub(super) payload: Bytes,
    /// When it must be answered.
    pub(super) deadline: Deadline,
    /// Room for its message.
    pub(super) room: OwnedSemaphorePermit,
    /// Its place among the calls under way, once it has one.
    place: Option<Place>,
    /// Makes the provider wait for it when it stops.
    _under_way: TaskTrackerToken,
}

impl<H: Handler> Server<H> {
    /// Takes calls that came together into a task, as far as there is room for
    /// them. What there is no room for is refused here, once the others are on
    /// their way: the next calls wait meanwhile.
    pub(super) async fn accept(self: &Arc<Self>, messages: Vec<Message>) {
        let deadline = Deadline::new(Instant::now(), self.budget);
        let mut together = Vec::with_capacity(messages.len());
        let mut refused = Vec::new();
        for message in messages {
            let Some(reply) = message.reply else {
                let detail = "a call without a reply subject was ignored";
                security::refused(Cause::Unproved, "", detail);
                continue;
            };
            let payload = message.payload;
            let (entry, room) = match self.admit(payload.len()) {
                Ok(admitted) => admitted,
                Err(error) => {
                    refused.push((reply, payload, error));
                    continue;
                }
            };
            let mut call = Admitted {
                reply,
                payload,
                deadline,
                room,
                place: None,
                _under_way: self.calls.token(),
            };
            match entry {
                Entry::Place(place) => {
                    call.place = Some(place);
                    together.push(call);
                }
                entry => drop(tokio::spawn(self.clone().queue(entry, call))),
            }
        }
        if !together.is_empty() {
            tokio::spawn(self.clone().serve_together(together));
        }
        for (reply, payload, error) in refused {
            self.refuse_unread(reply, &payload, error, deadline).await;
        }
    }

    /// Serves a call once there is a place for it.
    async fn queue(self: Arc<Self>, entry: Entry, mut call: Admitted) {
        call.place = entry.place(call.deadline).await;
        if call.place.is_some() {
            self.serve_together(vec![call]).await;
        } else {
            let error = self.busy();
            self.refuse_unread(call.reply, &call.payload, error, call.deadline)
                .await;
        }
    }

    /// Whether there is room for a message of this size.
    fn admit(&self, bytes: usize) -> Result<(Entry, OwnedSemaphorePermit), Error> {
        if bytes > MAX_MESSAGE {
            return Err(too_large(bytes as u64));
        }
        let room = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.room.clone().try_acquire_many_owned(bytes).ok());
        let Some(room) = room else {
            self.complain_of_busy();
            return Err(Error::new(
                Kind::Busy,
                format!(
                    "the provider is busy: the calls under way have {MAX_BYTES} bytes together; \
                     try again later"
                ),
            ));
        };
        match self.places.enter(()) {
            Entry::Full => Err(self.busy()),
            entry => Ok((entry, room)),
        }
    }

    fn busy(&self) -> Error {
        self.complain_of_busy();
        Error::new(
            Kind::Busy,
            format!(
                "the provider is busy: {} calls are under way (max_calls); try again later",
                self.places.most()
            ),
        )
    }

    pub(super) fn complain_of_busy(&self) {
        if self.noise.busy.is_due() {
            warn!(in_flight = self.calls.len(), "calls are refused as busy");
        }
    }

    /// Refuses a call of which nothing was checked.
    async fn refuse_unread(
        &self,
        reply: Subject,
        payload: &[u8],
        error: Error,
        deadline: Deadline,
    ) {
        let (id, result) = match Head::read(payload) {
            Some(head) => {
                let result = self.refuse(head.id, head.operation, head.origin.public_key, error);
                (head.id.to_owned(), result)
            }
            None => (id_of(payload), Err(error.into_rpc())),
        };
        self.answer(reply, id, result, deadline).await;
    }
}
