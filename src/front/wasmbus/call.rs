//! One call, from its invocation to its result.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::timeout_at;
use wasmbus_rpc::core::Invocation;
use wasmbus_rpc::error::{RpcError, RpcResult};
use zeroize::Zeroizing;

use crate::contract::Operation;
use crate::deadline::{Deadline, unix_time};
use crate::error::{Error, Kind};
use crate::front::wasmbus::body::{decode_arguments, encode_response};
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::failure::{CallFailure, rpc_error_of_command};
use crate::front::wasmbus::invocation::{InvocationClaims, InvocationError, signed_part};
use crate::front::wasmbus::large_bodies::{LargeBodyError, MAX_BODY, MAX_FETCHED, too_large};
use crate::serve::links::Unlinked;
use crate::serve::places::Place;
use crate::serve::{Call, Kept, Operations};
use crate::settings::LinkSettings;
use crate::telemetry::security::Cause;

/// How much earlier than the call itself its operation must end, so that there is time to
/// send what the operation has to say of a silent host.
const OPERATION_ENDS_BEFORE: Duration = Duration::from_millis(15);

/// A call that was decoded. Its id was taken out.
pub(super) struct Received {
    pub(super) invocation: Invocation,
    /// The claims, or why they prove nothing.
    pub(super) claims: Result<InvocationClaims, InvocationError>,
    /// The operation, where the contract has it.
    pub(super) operation: Option<Operation>,
}

/// The arguments of a call, in MessagePack.
struct Body {
    /// They may hold secrets.
    bytes: Zeroizing<Vec<u8>>,
    /// The place among large calls of a body that was fetched from the object store.
    fetched: Option<Place>,
}

impl<O: Operations> Door<O> {
    /// Carries out a call. Whatever happens below, it ends at the deadline, and a panic ends
    /// in an answer like any other failure.
    pub(super) async fn result(
        &self,
        id: &str,
        received: RpcResult<Received>,
        deadline: Deadline,
        kept: &Kept,
    ) -> RpcResult<Vec<u8>> {
        let Received {
            mut invocation,
            claims,
            operation,
        } = received?;
        let steps = self.steps(id, &mut invocation, claims, operation, deadline, kept);
        let ended = tokio::select! {
            biased;
            ended = timeout_at(deadline.at(), AssertUnwindSafe(steps).catch_unwind()) => ended,
            () = self.service.drain.until_cut_off() => {
                let problem = "the provider stopped before the call had ended";
                return Err(unknown_outcome(Kind::Internal, problem));
            }
        };
        match ended {
            Ok(Ok(Ok(body))) => Ok(body),
            Ok(Ok(Err(failure))) => {
                let full_name = &invocation.operation;
                failure.log(id, full_name, &invocation.origin.public_key);
                failure.into_answer(full_name)
            }
            Ok(Err(_)) => Err(panicked()),
            Err(_) => {
                let problem = "the call took longer than it may";
                Err(unknown_outcome(Kind::Timeout, problem))
            }
        }
    }

    /// The steps of a call, in their order: who sent it, its body, may it be carried out,
    /// and that.
    async fn steps(
        &self,
        id: &str,
        invocation: &mut Invocation,
        claims: Result<InvocationClaims, InvocationError>,
        operation: Option<Operation>,
        deadline: Deadline,
        kept: &Kept,
    ) -> Result<Vec<u8>, CallFailure> {
        let service = &self.service;
        let actor = &invocation.origin.public_key;
        let unproved = |problem| CallFailure::unproved(Cause::Unproved, actor, problem);
        let replayed = |problem| CallFailure::unproved(Cause::Repeated, actor, problem);
        let deadline = deadline.earlier(OPERATION_ENDS_BEFORE);
        let now = || unix_time().as_secs();

        // Who sent it, and when.
        let claims = claims.map_err(unproved)?;
        let fresh = service.replay.check_fresh(claims.iat, now());
        let made_at = fresh.map_err(replayed)?;
        let link = self.link_of(actor)?;

        // Its body.
        let inline = std::mem::take(&mut invocation.msg);
        let body = self.body(id, inline, invocation.content_length, actor, deadline);
        let body = body.await?;
        let signed_body = claims.check_body(invocation, &body.bytes);
        signed_body.map_err(unproved)?;
        if body.fetched.is_some() {
            let removed = Box::pin(self.large_bodies.remove(id));
            let _ = timeout_at(deadline.at(), removed).await;
        }

        // Whether it may be carried out.
        service.admission.check_time(deadline)?;
        service.drain.check()?;
        let link = link?;
        let unknown = || CallFailure::unknown_operation(&invocation.operation);
        let operation = operation.ok_or_else(unknown)?;
        service.authorize(operation, actor, &link)?;
        // The mark before the place: of two copies, only one waits for a place. It is given
        // back where there is none, so that the host may send the same call again.
        let take = || service.replay.take(signed_part(invocation), made_at, now());
        let mark = operation.is_command().then(take);
        let mark = mark.transpose().map_err(replayed)?;
        let place = service.admission.place_of_actor(actor, deadline).await;
        let _place = place.inspect_err(|_| service.replay.give_back(mark))?;

        // The operation.
        let request = decode_arguments(operation, &body.bytes).map_err(CallFailure::undecodable)?;
        let call = Call {
            id,
            operation,
            actor,
            deadline: deadline.within(link.limits.call_budget),
            link,
            kept,
        };
        let carried_out = service.operations.carry_out(&call, request).await;
        let response = carried_out.map_err(CallFailure::Failed)?;
        encode_response(operation, response).map_err(|error| CallFailure::Rpc {
            outcome: "unencodable",
            error,
        })
    }

    /// Returns the settings of the actor's link. Where the link was refused, the call is
    /// refused in turn, but only once it has proved itself.
    fn link_of(&self, actor: &str) -> Result<Result<Arc<LinkSettings>, Error>, CallFailure> {
        match self.service.links.settings(actor) {
            Ok(link) => Ok(Ok(link)),
            Err(refused @ Unlinked::Refused { .. }) => {
                let error = Error::new(Kind::Misconfigured, refused.to_string());
                Ok(Err(error.caused_by(refused)))
            }
            Err(never @ Unlinked::Never(_)) => {
                Err(CallFailure::unproved(Cause::Unlinked, actor, never))
            }
        }
    }

    /// Returns the body of a call, from its message or from the object store.
    async fn body(
        &self,
        id: &str,
        inline: Vec<u8>,
        content_length: Option<u64>,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Body, CallFailure> {
        let length = content_length.unwrap_or_default().max(inline.len() as u64);
        if length > MAX_BODY {
            return Err(too_large(length).into());
        }
        if length == inline.len() as u64 {
            return Ok(Body {
                bytes: inline.into(),
                fetched: None,
            });
        }
        let Some(place) = self.fetches.place((), deadline).await else {
            return Err(CallFailure::Refused(Error::new(
                Kind::Busy,
                format!(
                    "the provider is busy: {MAX_FETCHED} calls with bodies over 900 KiB are \
                     under way; try again later"
                ),
            )));
        };
        // On the heap, as it is large and rare: else it would be moved with every call.
        let fetch = Box::pin(self.large_bodies.fetch(id, length));
        let fetched = timeout_at(deadline.at(), fetch).await;
        let fetched = fetched.unwrap_or(Err(LargeBodyError::FetchedLate));
        let fetched = fetched.map_err(|why| CallFailure::unproved(Cause::Unproved, actor, why))?;
        Ok(Body {
            bytes: fetched.into(),
            fetched: Some(place),
        })
    }
}

/// Returns the answer to a call that ended in a panic.
pub(super) fn panicked() -> RpcError {
    let problem = "the provider failed while it carried out the call; see its log";
    unknown_outcome(Kind::Internal, problem)
}

fn unknown_outcome(kind: Kind, message: &str) -> RpcError {
    rpc_error_of_command(Error::new(kind, message))
}
