//! Takes calls from NATS, as many as there is room for.

use std::sync::Arc;

use async_nats::{Message, Subject};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmbus_rpc::error::RpcResult;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::failure::{CallFailure, rpc_error};
use crate::front::wasmbus::head::{Head, id_of};
use crate::front::wasmbus::large_bodies::{MAX_BODY, too_large};
use crate::serve::{Operations, UnreadRoom};
use crate::telemetry::security::{self, Cause};

/// Most calls that are read and verified together. With more of them no call costs less,
/// and the first would wait for the last.
const MAX_BATCH: usize = 32;
/// Most calls that are taken in one turn. Under load a turn comes late, and what is left
/// then waits, whoever sent it, where actors share nothing.
const MAX_TAKEN: usize = 1024;
/// Largest message: a body, and generously what is around it.
const MAX_MESSAGE: usize = MAX_BODY as usize + 256 * 1024;
/// Queue group of all instances of a provider.
const QUEUE: &str = "rpc";

/// A call for which there is room. Nothing of it was read yet.
pub(super) struct Admitted {
    /// Where its answer goes.
    pub(super) reply: Subject,
    /// The invocation.
    pub(super) payload: Bytes,
    /// When it must be answered.
    pub(super) deadline: Deadline,
    /// Its room among calls that were not read yet.
    pub(super) room: Option<UnreadRoom>,
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
                    messages = calls.next_few(MAX_TAKEN) => self.accept(messages).await,
                    Some(taken) = asked.recv() => drop(taken.send(())),
                }
            }
        });
        Intake(intake)
    }

    /// Hands calls that came together to tasks, as many as there is room for. Another task
    /// refuses the others, so that the next calls do not wait meanwhile.
    async fn accept(self: &Arc<Self>, messages: Vec<Message>) {
        let deadline = Deadline::new(Instant::now(), self.budget);
        let mut batch = Vec::with_capacity(messages.len().min(MAX_BATCH));
        let mut refused = Vec::new();
        for message in messages {
            let Some(reply) = message.reply else {
                let detail = "a call without a reply subject was ignored";
                security::refused_unproved(Cause::Unproved, "", detail);
                continue;
            };
            let payload = message.payload;
            let name = || Head::read(&payload).map(|head| head.origin.public_key);
            let room = match payload.len() {
                0..=MAX_MESSAGE => self.service.admission.enter(payload.len(), name),
                bytes => Err(too_large(bytes as u64)),
            };
            match room {
                Ok(room) => batch.push(Admitted {
                    reply,
                    payload,
                    deadline,
                    room: Some(room),
                    _in_flight: self.service.drain.in_flight.token(),
                }),
                Err(error) => refused.push(Refused::new(reply, &payload, error)),
            }
            if batch.len() == MAX_BATCH {
                tokio::spawn(self.clone().serve_batch(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            tokio::spawn(self.clone().serve_batch(batch));
        }
        if refused.is_empty() {
            return;
        }
        let answered = self.clone().answer_refused(refused, deadline);
        match self.refusals.clone().try_acquire_owned() {
            Ok(permit) => {
                let in_flight = self.service.drain.in_flight.token();
                tokio::spawn(async move {
                    answered.await;
                    drop((permit, in_flight));
                });
            }
            // Answers do not get out, and the next calls can wait for that.
            Err(_) => answered.await,
        }
    }

    async fn answer_refused(self: Arc<Self>, calls: Vec<Refused>, deadline: Deadline) {
        for Refused { reply, id, result } in calls {
            self.answer(reply, id, result, deadline).await;
        }
    }
}

/// A call that was refused before anything of it was checked.
struct Refused {
    reply: Subject,
    id: String,
    result: RpcResult<Vec<u8>>,
}

impl Refused {
    /// Reads what the answer needs, and logs the call.
    fn new(reply: Subject, payload: &[u8], error: Error) -> Self {
        let (id, result) = match Head::read(payload) {
            Some(head) => {
                let failure = CallFailure::Refused(error);
                failure.log(head.id, head.operation, head.origin.public_key);
                (head.id.to_owned(), failure.into_answer(head.operation))
            }
            None => (id_of(payload), Err(rpc_error(error))),
        };
        Self { reply, id, result }
    }
}
