//! Takes calls from NATS, as many as there is room for.

use std::sync::Arc;

use async_nats::{Message, Subject};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::failure::{CallFailure, rpc_error};
use crate::front::wasmbus::head::{Head, id_of};
use crate::front::wasmbus::large_bodies::{MAX_BODY, too_large};
use crate::serve::Operations;
use crate::serve::places::{Place, Ticket};
use crate::telemetry::security::{self, Cause};

/// Most calls that are read and verified together. With more of them no call costs less,
/// and the first would wait for the last.
const MAX_BATCH: usize = 32;
/// Largest message: a body, and generously what is around it.
const MAX_MESSAGE: usize = MAX_BODY as usize + 256 * 1024;
/// Queue group of all instances of a provider.
const QUEUE: &str = "rpc";

/// A call that has a place. Nothing of it was read yet.
pub(super) struct Admitted {
    /// Where its answer goes.
    pub(super) reply: Subject,
    /// The invocation.
    pub(super) payload: Bytes,
    /// When it must be answered.
    pub(super) deadline: Deadline,
    /// The bytes of its message, which count until it has a result.
    pub(super) bytes: OwnedSemaphorePermit,
    /// Its place among all calls, once it has one.
    place: Option<Place>,
    /// Makes the provider wait for it when it stops.
    _in_flight: TaskTrackerToken,
}

/// The task that takes calls.
pub(super) struct Intake(mpsc::Sender<oneshot::Sender<()>>);

impl Intake {
    /// Waits until the task took every call that was delivered before.
    pub(super) async fn settle(&self) {
        let (taken, all_taken) = oneshot::channel();
        if self.0.send(taken).await.is_ok() {
            let _ = all_taken.await;
        }
    }
}

impl<O: Operations> Door<O> {
    /// Takes calls until the process ends. Calls that come while the provider stops are
    /// refused.
    pub(super) async fn take_calls(self: Arc<Self>) -> Intake {
        let (intake, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let mut calls = self.subscribe("", Some(QUEUE)).await;
        tokio::spawn(async move {
            loop {
                // In this order: calls that were delivered are taken before `settle` ends.
                tokio::select! {
                    biased;
                    messages = calls.next_few(MAX_BATCH) => self.accept(messages).await,
                    Some(taken) = asked.recv() => drop(taken.send(())),
                }
            }
        });
        Intake(intake)
    }

    /// Hands calls that came together to a task, as many as there are places for. The
    /// others are refused afterwards, here: the next calls wait meanwhile.
    async fn accept(self: &Arc<Self>, messages: Vec<Message>) {
        let deadline = Deadline::new(Instant::now(), self.budget);
        let mut batch = Vec::with_capacity(messages.len());
        let mut refused = Vec::new();
        for message in messages {
            let Some(reply) = message.reply else {
                let detail = "a call without a reply subject was ignored";
                security::refused(Cause::Unproved, "", detail);
                continue;
            };
            let payload = message.payload;
            let entered = match payload.len() {
                0..=MAX_MESSAGE => self.service.admission.enter(payload.len()),
                bytes => Err(too_large(bytes as u64)),
            };
            let (ticket, bytes) = match entered {
                Ok(entered) => entered,
                Err(error) => {
                    refused.push((reply, payload, error));
                    continue;
                }
            };
            let mut call = Admitted {
                reply,
                payload,
                deadline,
                bytes,
                place: None,
                _in_flight: self.service.drain.in_flight.token(),
            };
            match ticket {
                Ticket::Place(place) => {
                    call.place = Some(place);
                    batch.push(call);
                }
                ticket => drop(tokio::spawn(self.clone().serve_later(ticket, call))),
            }
        }
        if !batch.is_empty() {
            tokio::spawn(self.clone().serve_batch(batch));
        }
        for (reply, payload, error) in refused {
            self.refuse_unread(reply, &payload, error, deadline).await;
        }
    }

    /// Serves a call once there is a place for it.
    async fn serve_later(self: Arc<Self>, ticket: Ticket, mut call: Admitted) {
        call.place = ticket.place(call.deadline).await;
        if call.place.is_some() {
            self.serve_batch(vec![call]).await;
        } else {
            let error = self.service.admission.full();
            self.refuse_unread(call.reply, &call.payload, error, call.deadline)
                .await;
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
                let failure = CallFailure::Refused(error);
                failure.log(head.id, head.operation, head.origin.public_key);
                (head.id.to_owned(), failure.into_answer(head.operation))
            }
            None => (id_of(payload), Err(rpc_error(error))),
        };
        self.answer(reply, id, result, deadline).await;
    }
}
