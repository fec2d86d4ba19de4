//! One call, from its invocation to its result.

use std::panic::AssertUnwindSafe;
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
use crate::front::wasmbus::invocation::signed_part;
use crate::front::wasmbus::large_bodies::{LargeBodyError, MAX_BODY, MAX_FETCHED, too_large};
use crate::front::wasmbus::proof::ProvedCall;
use crate::serve::places::Place;
use crate::serve::{Call, KeptForAnswer, Operations};
use crate::telemetry::security::Cause;

/// How much earlier than the call itself its operation must end, so that there is time to
/// send what the operation has to say of a silent host.
const OPERATION_ENDS_BEFORE: Duration = Duration::from_millis(15);

/// A call that was decoded. Its id was taken out.
pub(super) struct Received {
    pub(super) invocation: Invocation,
    /// What it has proved, or why it is refused.
    pub(super) proof: Result<ProvedCall, CallFailure>,
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
    /// in an answer like any other failure. Its place, once it has one, is put where it
    /// lasts until the answer is sent.
    pub(super) async fn result(
        &self,
        id: &str,
        received: RpcResult<Received>,
        deadline: Deadline,
        kept: &KeptForAnswer,
    ) -> RpcResult<Vec<u8>> {
        let Received {
            mut invocation,
            proof,
            operation,
        } = received?;
        let steps = async {
            let proof = proof?;
            let steps = self.steps(id, &mut invocation, proof, operation, deadline, kept);
            steps.await
        };
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

    /// The steps of a call that has proved who sent it, in their order: its body, may it be
    /// carried out, and that. All that it takes on the way is of its actor's share.
    async fn steps(
        &self,
        id: &str,
        invocation: &mut Invocation,
        proof: ProvedCall,
        operation: Option<Operation>,
        deadline: Deadline,
        kept: &KeptForAnswer,
    ) -> Result<Vec<u8>, CallFailure> {
        let service = &self.service;
        let deadline = deadline.earlier(OPERATION_ENDS_BEFORE);
        let inline = std::mem::take(&mut invocation.msg);
        let actor = &invocation.origin.public_key;
        let repeated = |problem| CallFailure::not_taken(Cause::Repeated, actor, problem);

        // Its body.
        let length = invocation.content_length.unwrap_or_default();
        let length = length.max(inline.len() as u64);
        if length > MAX_BODY {
            return Err(too_large(length).into());
        }
        let _bytes = service.admission.bytes_of_actor(actor, inline.len())?;
        let is_inline = length == inline.len() as u64;
        if is_inline {
            check_body(&proof, invocation, &inline)?;
        }
        let signed = signed_part(invocation);
        // Of commands, more is remembered below; before that, a large body is waited for.
        let is_command = operation.is_some_and(Operation::is_command);
        let copy = || service.admission.copy_of(actor, signed, is_command);
        let is_counted = !is_inline || !is_command;
        let _copy = is_counted.then(copy).transpose()?;
        let body = match is_inline {
            true => Body {
                bytes: inline.into(),
                fetched: None,
            },
            false => self.fetched(id, length, actor, deadline).await?,
        };
        if body.fetched.is_some() {
            check_body(&proof, invocation, &body.bytes)?;
            let removed = Box::pin(self.large_bodies.remove(id));
            let _ = timeout_at(deadline.at(), removed).await;
        }

        // Whether it may be carried out.
        service.admission.check_time(actor, deadline)?;
        service.drain.check()?;
        let link = proof.link?;
        let unknown = || CallFailure::unknown_operation(&invocation.operation);
        let operation = operation.ok_or_else(unknown)?;
        service.authorize(operation, actor, &link)?;
        // The mark before the place: of two copies, only one waits for a place. It is given
        // back where there is none, so that the host may send the same call again.
        let now = unix_time().as_secs();
        let take = || service.replay.take(actor, signed, proof.made_at, now);
        let mark = operation.is_command().then(take);
        let mark = mark.transpose().map_err(repeated)?;
        let taken = service.admission.place_of_actor(actor, deadline).await;
        kept.keep_place(taken.inspect_err(|_| service.replay.give_back(mark))?);

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

    /// Returns the body of a call from the object store. Only so many are fetched at once,
    /// and actors share that number: the store may answer late or never.
    async fn fetched(
        &self,
        id: &str,
        length: u64,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Body, CallFailure> {
        let Some(place) = self.fetches.place((), actor, deadline).await else {
            let error = self.service.admission.busy(
                Some(actor),
                format!(
                    "the provider is busy: {MAX_FETCHED} calls may fetch bodies over 900 KiB, \
                     and actor {actor} has as many as it leaves to others; try again later"
                ),
            );
            return Err(error.into());
        };
        // On the heap, as it is large and rare: else it would be moved with every call.
        let fetch = Box::pin(self.large_bodies.fetch(id, length));
        let fetched = timeout_at(deadline.at(), fetch).await;
        let fetched = fetched.unwrap_or(Err(LargeBodyError::FetchedLate));
        let missing = |why| CallFailure::not_taken(Cause::Unproved, actor, why);
        Ok(Body {
            bytes: fetched.map_err(missing)?.into(),
            fetched: Some(place),
        })
    }
}

/// Checks that the body of a call is the one that was signed.
fn check_body(proof: &ProvedCall, invocation: &Invocation, body: &[u8]) -> Result<(), CallFailure> {
    let actor = &invocation.origin.public_key;
    let same = proof.claims.check_body(invocation, body);
    // Anyone can send a recorded call with another body.
    same.map_err(|problem| CallFailure::unproved(Cause::Unproved, actor, problem))
}

/// Returns the answer to a call that ended in a panic.
pub(super) fn panicked() -> RpcError {
    let problem = "the provider failed while it carried out the call; see its log";
    unknown_outcome(Kind::Internal, problem)
}

fn unknown_outcome(kind: Kind, message: &str) -> RpcError {
    rpc_error_of_command(Error::new(kind, message))
}
