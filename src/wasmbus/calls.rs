//! One call on wasmbus RPC, from the message to its result.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};
use wasmbus_rpc::core::Invocation;
use wasmbus_rpc::error::{RpcError, RpcResult};

use super::chunks::MAX_BODY;
use super::decode::decode;
use super::invocation::{Head, id_of, now, signed_part};
use super::links::Unlinked;
use super::server::Server;
use super::{Call, Handler};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, without_values};
use crate::limiter::Entry;
use crate::nats::Complaints;
use crate::security::{self, Cause};

/// How much earlier than the call itself its operation must end, so that what
/// the operation has to say of a silent host is heard.
const OPERATION_ENDS_BEFORE: Duration = Duration::from_millis(15);
/// How much the messages of all calls under way may have: few are over 1 KiB.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Calls under way whose bodies are fetched from the object store.
pub(super) const MAX_LARGE: usize = 16;
/// Largest message: a body, and generously what is around it.
const MAX_MESSAGE: usize = MAX_BODY as usize + 256 * 1024;

/// What anybody who may publish could fill the log with.
#[derive(Default)]
pub(super) struct Noise {
    pub(super) busy: Complaints,
    pub(super) foreign: Complaints,
    pub(super) large: Complaints,
    pub(super) unsent: Complaints,
}

impl<H: Handler> Server<H> {
    /// Takes a call into a task of its own, where there is room for one. What
    /// there is no room for is refused here: the next call waits meanwhile.
    pub(super) async fn accept(self: &Arc<Self>, message: Message) {
        let deadline = Deadline::new(Instant::now(), self.budget);
        let Some(reply) = message.reply else {
            let detail = "a call without a reply subject was ignored";
            security::refused(Cause::Unproved, "", detail);
            return;
        };
        let payload = message.payload;
        let (entry, room) = match self.admit(payload.len()) {
            Ok(admitted) => admitted,
            Err(error) => return self.refuse_unread(reply, &payload, error, deadline).await,
        };
        let server = self.clone();
        self.calls.spawn(async move {
            let Some(_place) = entry.place(deadline).await else {
                let error = server.busy();
                server.refuse_unread(reply, &payload, error, deadline).await;
                return;
            };
            let (id, result) = server.serve_one(payload, deadline).await;
            drop(room);
            server.answer(reply, id, result, deadline).await;
        });
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

    fn complain_of_busy(&self) {
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

    /// Decodes, verifies and carries out a call: its id and its result.
    async fn serve_one(&self, payload: Bytes, deadline: Deadline) -> (String, RpcResult<Vec<u8>>) {
        let mut invocation: Invocation = match decode(&payload) {
            Ok(invocation) => invocation,
            Err(error) => {
                let problem = format!("invocation: {}", without_values(&error.to_string()));
                let id = id_of(&payload);
                security::refused(Cause::Unproved, "", &problem);
                debug!(outcome = "undecodable", id, problem, "call");
                return (id, Err(RpcError::Deser(problem)));
            }
        };
        // Nothing more is read of it, and it may hold a whole buffer.
        drop(payload);
        let id = std::mem::take(&mut invocation.id);
        let served = AssertUnwindSafe(self.verify_and_call(&id, invocation, deadline));
        // Calls end at the deadline whatever happens below, and a panic ends in
        // an answer like any other failure.
        let result = tokio::select! {
            biased;
            result = timeout_at(deadline.at(), served.catch_unwind()) => match result {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(unknown(
                    Kind::Internal,
                    "the provider failed while it carried out the call; see its log",
                )),
                Err(_) => Err(unknown(Kind::Timeout, "the call took longer than it may")),
            },
            () = self.cut_off.cancelled() => Err(unknown(
                Kind::Internal,
                "the provider stopped before the call had ended",
            )),
        };
        (id, result)
    }

    async fn verify_and_call(
        &self,
        id: &str,
        mut invocation: Invocation,
        deadline: Deadline,
    ) -> RpcResult<Vec<u8>> {
        let deadline = deadline.earlier(OPERATION_ENDS_BEFORE);
        let (operation, actor) = (&invocation.operation, &invocation.origin.public_key);
        let disbelieved = |cause: Cause, problem: String| {
            security::refused(cause, actor, &problem);
            debug!(operation, actor, outcome = cause.name(), id, "call");
            RpcError::Rpc(problem)
        };
        let unproved = |problem| disbelieved(Cause::Unproved, problem);
        let repeated = |problem| disbelieved(Cause::Repeated, problem);
        let claims = self.verifier.check(&invocation).map_err(unproved)?;
        let made = match self.handler.changes(operation) {
            true => Some(self.repeats.check_fresh(claims.iat, now())),
            false => None,
        };
        let made = made.transpose().map_err(repeated)?;
        let link = match self.links.settings(actor) {
            Ok(link) => Ok(link),
            Err(Unlinked::Never(problem)) => return Err(disbelieved(Cause::Unlinked, problem)),
            Err(Unlinked::Refused(problem)) => Err(problem),
        };
        let inline = invocation.msg.len() as u64;
        let length = invocation.content_length.unwrap_or_default().max(inline);
        if length > MAX_BODY {
            return self.refuse(id, operation, actor, too_large(length));
        }
        let large = match length > inline {
            true => Some(self.large.place((), deadline).await),
            false => None,
        };
        let argument = match &large {
            None => std::mem::take(&mut invocation.msg),
            Some(None) => {
                let error = Error::new(
                    Kind::Busy,
                    format!(
                        "the provider is busy: {MAX_LARGE} calls with bodies over 900 KiB are \
                         under way; try again later"
                    ),
                );
                return self.refuse(id, operation, actor, error);
            }
            Some(Some(_)) => {
                let taken = timeout_at(deadline.at(), self.chunks.take(id, length)).await;
                let late = || Err("the body of the call was not to be had in time".into());
                taken.unwrap_or_else(|_| late()).map_err(unproved)?
            }
        };
        claims
            .check_body(&invocation, &argument)
            .map_err(unproved)?;
        if large.is_some() {
            let _ = timeout_at(deadline.at(), self.chunks.forget(id)).await;
        }
        if self.stopping.is_cancelled() {
            let error = Error::new(Kind::Stopping, "the provider is stopping");
            return self.refuse(id, operation, actor, error);
        }
        let link = match link {
            Ok(link) => link,
            Err(problem) => {
                let error = Error::new(Kind::Misconfigured, problem);
                return self.refuse(id, operation, actor, error);
            }
        };
        // Nobody fills the memory of calls with what he may not do.
        if made.is_some()
            && let Err(error) = self.handler.admit(operation, actor, &link)
        {
            return self.refuse(id, operation, actor, error);
        }
        // Before the wait for a place: of two copies, one waits. Who finds none
        // was told so, and may send the same again.
        let take = |made| self.repeats.take(signed_part(&invocation), made, now());
        let taken = made.map(take).transpose().map_err(repeated)?;
        let Some(_place) = self.actors.place(actor, deadline).await else {
            if let Some(taken) = taken {
                self.repeats.give_back(taken);
            }
            self.complain_of_busy();
            let error = Error::new(
                Kind::Busy,
                format!(
                    "the provider is busy: {} calls of actor {actor} are under way \
                     (max_actor_calls); try again later",
                    self.actors.most()
                ),
            );
            return self.refuse(id, operation, actor, error);
        };
        let deadline = deadline.within(link.limits.call_budget);
        let call = Call {
            id: id.to_owned(),
            operation: invocation.operation,
            argument: argument.into(),
            actor: invocation.origin.public_key,
            link,
            deadline,
        };
        self.handler.call(&call).await
    }

    /// Refuses, in the operation's way, a call that no operation has seen.
    fn refuse(&self, id: &str, operation: &str, actor: &str, error: Error) -> RpcResult<Vec<u8>> {
        debug!(
            operation,
            lattice = "-",
            actor,
            outcome = error.kind().name(),
            ms = 0.0,
            id,
            "call"
        );
        self.handler.refuse(operation, error)
    }
}

fn too_large(bytes: u64) -> Error {
    Error::invalid(format!(
        "the arguments have {bytes} bytes; {MAX_BODY} are allowed"
    ))
}

fn unknown(kind: Kind, message: &str) -> RpcError {
    Error::new(kind, message).into_rpc_of_order()
}
