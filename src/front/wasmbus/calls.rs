//! Calls on wasmbus RPC, from the messages to their results.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::coop;
use tokio::time::timeout_at;
use tracing::{debug, trace};
use wasmbus_rpc::core::Invocation;
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, without_values};
use crate::front::wasmbus::arrivals::Admitted;
use crate::front::wasmbus::chunks::MAX_BODY;
use crate::front::wasmbus::decode::decode;
use crate::front::wasmbus::head::id_of;
use crate::front::wasmbus::invocation::{Claims, now, signed_part};
use crate::front::wasmbus::server::Server;
use crate::front::wasmbus::{Call, Handler};
use crate::serve::links::Unlinked;
use crate::telemetry::security::{self, Cause};

/// How much earlier than the call itself its operation must end, so that what
/// the operation has to say of a silent host is heard.
const OPERATION_ENDS_BEFORE: Duration = Duration::from_millis(15);
/// Calls under way whose bodies are fetched from the object store.
pub(super) const MAX_LARGE: usize = 16;

/// An invocation, and what its claims say if they hold.
type Read = (Invocation, Result<Claims, String>);

impl<H: Handler> Server<H> {
    /// Reads and verifies calls that came together, then carries them out side by
    /// side, and answers each as soon as it has ended.
    ///
    /// One task does that for all orders: what they send goes out in one piece,
    /// and so do their answers where hosts answer at once. Questions have tasks
    /// of their own: what comes of them may take long to put together.
    pub(super) async fn serve_together(self: Arc<Self>, mut calls: Vec<Admitted>) {
        trace!(calls = calls.len(), "together");
        let read = self.read_guarded(&calls).unwrap_or_else(|| {
            // Whichever it is, it alone fails.
            let alone = |call| self.read_guarded(std::slice::from_ref(call))?.pop();
            let each = calls.iter().map(|call| {
                let id = || catch_unwind(AssertUnwindSafe(|| id_of(&call.payload)));
                alone(call).unwrap_or_else(|| (id().unwrap_or_default(), Err(failed())))
            });
            each.collect()
        });
        for call in &mut calls {
            // Nothing more is read of it, and it may hold a whole buffer.
            call.payload = Bytes::new();
        }
        let is_alone = calls.len() == 1;
        let mut orders = FuturesUnordered::new();
        for (call, (id, read)) in calls.into_iter().zip(read) {
            let changes = |(invocation, _): &Read| self.handler.changes(&invocation.operation);
            let is_order = read.as_ref().is_ok_and(changes);
            let served = self.clone().serve(call, id, read);
            match is_alone || is_order {
                // One that fails beyond its own answer takes no others with it.
                true => orders.push(AssertUnwindSafe(served).catch_unwind()),
                false => drop(tokio::spawn(served)),
            }
        }
        let all = async { while orders.next().await.is_some() {} };
        match is_alone {
            true => all.await,
            // So few orders that others need not be let in between: what they send
            // together would go out in pieces.
            false => coop::unconstrained(all).await,
        }
    }

    /// Decodes and verifies calls, as [`Self::read`]; `None` where that panics.
    fn read_guarded(&self, calls: &[Admitted]) -> Option<Vec<(String, RpcResult<Read>)>> {
        catch_unwind(AssertUnwindSafe(|| self.read(calls))).ok()
    }

    /// Decodes and verifies calls: the id of each, and what it is.
    fn read(&self, calls: &[Admitted]) -> Vec<(String, RpcResult<Read>)> {
        let decoded: Vec<_> = calls.iter().map(decoded).collect();
        let invocations: Vec<&Invocation> = decoded.iter().flatten().collect();
        let mut checked = self.verifier.check_all(&invocations).into_iter();
        let read = |decoded: Result<Invocation, (String, RpcError)>| match decoded {
            Ok(mut invocation) => {
                let claims = checked.next().unwrap_or_else(|| Err("not checked".into()));
                (std::mem::take(&mut invocation.id), Ok((invocation, claims)))
            }
            Err((id, error)) => (id, Err(error)),
        };
        decoded.into_iter().map(read).collect()
    }

    async fn serve(self: Arc<Self>, call: Admitted, id: String, read: RpcResult<Read>) {
        let result = self.result(&id, read, call.deadline).await;
        drop(call.room);
        self.answer(call.reply, id, result, call.deadline).await;
    }

    /// What comes of a call.
    async fn result(
        &self,
        id: &str,
        read: RpcResult<Read>,
        deadline: Deadline,
    ) -> RpcResult<Vec<u8>> {
        let (invocation, claims) = read?;
        let served = AssertUnwindSafe(self.verify_and_call(id, invocation, claims, deadline));
        // Calls end at the deadline whatever happens below, and a panic ends in
        // an answer like any other failure.
        tokio::select! {
            biased;
            result = timeout_at(deadline.at(), served.catch_unwind()) => match result {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(failed()),
                Err(_) => Err(unknown(Kind::Timeout, "the call took longer than it may")),
            },
            () = self.cut_off.cancelled() => Err(unknown(
                Kind::Internal,
                "the provider stopped before the call had ended",
            )),
        }
    }

    async fn verify_and_call(
        &self,
        id: &str,
        mut invocation: Invocation,
        claims: Result<Claims, String>,
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
        let claims = claims.map_err(unproved)?;
        let fresh = self.repeats.check_fresh(claims.iat, now());
        let made = fresh.map_err(repeated)?;
        let changes = self.handler.changes(operation);
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
                // On the heap, as whatever is large and rare: it would be moved
                // about with every call.
                let taken = timeout_at(deadline.at(), Box::pin(self.chunks.take(id, length))).await;
                let late = || Err("the body of the call was not to be had in time".into());
                taken.unwrap_or_else(|_| late()).map_err(unproved)?
            }
        };
        claims
            .check_body(&invocation, &argument)
            .map_err(unproved)?;
        if large.is_some() {
            let _ = timeout_at(deadline.at(), Box::pin(self.chunks.forget(id))).await;
        }
        if deadline.remaining().is_zero() {
            self.complain_of_busy();
            let error = Error::new(
                Kind::Busy,
                "the provider is busy: the call came to its turn too late to be carried out",
            );
            return self.refuse(id, operation, actor, error);
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
        if changes && let Err(error) = self.handler.admit(operation, actor, &link) {
            return self.refuse(id, operation, actor, error);
        }
        // Before the wait for a place: of two copies, one waits. Who finds none
        // was told so, and may send the same again.
        let take = || self.repeats.take(signed_part(&invocation), made, now());
        let taken = changes.then(take).transpose().map_err(repeated)?;
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
    pub(super) fn refuse(
        &self,
        id: &str,
        operation: &str,
        actor: &str,
        error: Error,
    ) -> RpcResult<Vec<u8>> {
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

pub(super) fn too_large(bytes: u64) -> Error {
    Error::invalid(format!(
        "the arguments have {bytes} bytes; {MAX_BODY} are allowed"
    ))
}

/// The invocation of a call, or the id of what is none, and what is wrong with it.
fn decoded(call: &Admitted) -> Result<Invocation, (String, RpcError)> {
    decode(&call.payload).map_err(|error| {
        let problem = format!("invocation: {}", without_values(&error.to_string()));
        let id = id_of(&call.payload);
        security::refused(Cause::Unproved, "", &problem);
        debug!(outcome = "undecodable", id, problem, "call");
        (id, RpcError::Deser(problem))
    })
}

/// The answer to a call that ended in a panic.
fn failed() -> RpcError {
    unknown(
        Kind::Internal,
        "the provider failed while it carried out the call; see its log",
    )
}

fn unknown(kind: Kind, message: &str) -> RpcError {
    Error::new(kind, message).into_rpc_of_order()
}
