//! One call on wasmbus RPC, from the message to its answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use futures::FutureExt as _;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error, warn};
use wasmbus_rpc::core::{Invocation, InvocationResponse};
use wasmbus_rpc::error::{RpcError, RpcResult};

use super::chunks::{MAX_ANSWER, THRESHOLD};
use super::invocation::id_of;
use super::links::Unlinked;
use super::server::Server;
use super::{Call, Handler, decode};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};

/// How much earlier than the call itself its operation must end, so that what
/// the operation has to say of a silent host is heard.
const OPERATION_ENDS_BEFORE: Duration = Duration::from_millis(15);

impl<H: Handler> Server<H> {
    /// Takes a call into a task of its own.
    pub(super) fn accept(self: Arc<Self>, message: Message) {
        let arrived = Instant::now();
        let Some(reply) = message.reply else {
            warn!("a call without a reply subject was ignored");
            return;
        };
        let server = self.clone();
        self.calls.spawn(async move {
            let permit = server.permits.try_acquire();
            let deadline = Deadline::new(arrived, server.budget);
            let busy = permit.is_err();
            let (id, result) = server.serve_one(&message.payload, deadline, busy).await;
            server.answer(reply, id, result, deadline).await;
            drop(permit);
        });
    }

    /// Decodes, verifies and carries out a call: its id and its result.
    async fn serve_one(
        &self,
        payload: &[u8],
        deadline: Deadline,
        busy: bool,
    ) -> (String, RpcResult<Vec<u8>>) {
        let mut invocation: Invocation = match decode(payload) {
            Ok(invocation) => invocation,
            Err(problem) => {
                warn!(outcome = "undecodable", problem, "call refused");
                let error = RpcError::Deser(format!("invocation: {problem}"));
                return (id_of(payload), Err(error));
            }
        };
        let id = std::mem::take(&mut invocation.id);
        if busy {
            let error = Error::new(Kind::Busy, "the provider is busy; try again later");
            return (id.clone(), self.refuse(&id, &invocation, error));
        }
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
        let unproved = |problem: String| {
            let (operation, actor) = (&invocation.operation, &invocation.origin.public_key);
            warn!(
                operation,
                actor,
                outcome = "unproved",
                id,
                problem,
                "call refused"
            );
            RpcError::Rpc(problem)
        };
        let claims = self.verifier.check(&invocation).map_err(unproved)?;
        let link = match self.links.settings(&invocation.origin.public_key) {
            Ok(link) => Ok(link),
            Err(Unlinked::Never(problem)) => return Err(unproved(problem)),
            Err(Unlinked::Refused(problem)) => Err(problem),
        };
        let inline = invocation.msg.len() as u64;
        let argument = match invocation.content_length {
            Some(length) if length > inline => {
                let taken = timeout_at(deadline.at(), self.chunks.take(id, length)).await;
                let late = || Err("the body of the call was not to be had in time".into());
                taken.unwrap_or_else(|_| late()).map_err(unproved)?
            }
            _ => std::mem::take(&mut invocation.msg),
        };
        claims
            .check_body(&invocation, &argument)
            .map_err(unproved)?;
        if self.stopping.is_cancelled() {
            let error = Error::new(Kind::Stopping, "the provider is stopping");
            return self.refuse(id, &invocation, error);
        }
        let link = match link {
            Ok(link) => link,
            Err(problem) => {
                let error = Error::new(Kind::Misconfigured, problem);
                return self.refuse(id, &invocation, error);
            }
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
    fn refuse(&self, id: &str, invocation: &Invocation, error: Error) -> RpcResult<Vec<u8>> {
        debug!(
            operation = invocation.operation,
            lattice = "-",
            actor = invocation.origin.public_key,
            outcome = error.kind().name(),
            ms = 0.0,
            id,
            "call"
        );
        self.handler.refuse(&invocation.operation, error)
    }

    /// Sends the answer to a call, through the object store where it is large.
    /// Hosts take no answer without `content_length` or under another id.
    async fn answer(
        &self,
        reply: Subject,
        id: String,
        result: RpcResult<Vec<u8>>,
        deadline: Deadline,
    ) {
        let mut response = InvocationResponse::default();
        response.content_length = Some(0);
        match result {
            Ok(body) if body.len() <= THRESHOLD => {
                response.content_length = Some(body.len() as u64);
                response.msg = body;
            }
            Ok(body) if body.len() > MAX_ANSWER => {
                warn!(
                    id,
                    bytes = body.len(),
                    "an answer is too large for any actor"
                );
                response.error = Some(format!(
                    "the answer has {} bytes; more than {MAX_ANSWER} are sent to no actor",
                    body.len()
                ));
            }
            Ok(body) => {
                let bytes = body.len();
                match self.store(&id, body, deadline).await {
                    Ok(()) => response.content_length = Some(bytes as u64),
                    Err(problem) => {
                        warn!(id, problem, bytes, "a large answer was not sent");
                        response.error = Some(format!(
                            "the answer has {bytes} bytes, and what is over {THRESHOLD} needs \
                             JetStream in the provider's lattice: {problem}"
                        ));
                    }
                }
            }
            Err(error) => response.error = Some(error.to_string()),
        }
        response.invocation_id = id;
        // Hosts look for what is under the threshold in the message itself.
        let limit = self.client.max_payload();
        match rmp_serde::to_vec_named(&response) {
            Ok(bytes) if bytes.len() <= limit => self.publish(reply, bytes).await,
            Ok(bytes) => {
                warn!(
                    bytes = bytes.len(),
                    limit, "an answer is larger than our NATS server takes"
                );
                response.error = Some(format!(
                    "the answer has {} bytes, and the NATS server of the provider's lattice takes \
                     {limit}",
                    bytes.len()
                ));
                response.msg = Vec::new();
                response.content_length = Some(0);
                match rmp_serde::to_vec_named(&response) {
                    Ok(bytes) => self.publish(reply, bytes).await,
                    Err(error) => error!(%error, "an answer cannot be encoded"),
                }
            }
            Err(error) => error!(%error, "an answer cannot be encoded"),
        }
    }

    async fn store(&self, id: &str, body: Vec<u8>, deadline: Deadline) -> Result<(), String> {
        let (chunks, id) = (self.chunks.clone(), id.to_owned());
        let key = id.clone();
        // Goes on where it is late: only what is stored whole can be removed.
        let mut stored = tokio::spawn(async move { chunks.leave(&key, &body).await });
        tokio::select! {
            stored = &mut stored => stored.unwrap_or_else(|_| Err("it was not stored".into())),
            () = sleep_until(deadline.at() + self.rest / 2) => {
                let chunks = self.chunks.clone();
                tokio::spawn(async move {
                    if matches!(stored.await, Ok(Ok(()))) {
                        chunks.withdraw(&id).await;
                    }
                });
                Err("it was not stored in time".into())
            }
            () = self.cut_off.cancelled() => Err("the provider stopped".into()),
        }
    }
}

fn unknown(kind: Kind, message: &str) -> RpcError {
    Error::new(kind, message).into_rpc_of_order()
}
