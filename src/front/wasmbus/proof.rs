//! What calls prove: who sent them and when, and that they may be taken at all.

use std::sync::Arc;

use wasmbus_rpc::core::Invocation;

use crate::deadline::unix_time;
use crate::error::{Error, Kind};
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::failure::CallFailure;
use crate::front::wasmbus::invocation::{InvocationClaims, InvocationError};
use crate::serve::Operations;
use crate::serve::links::Unlinked;
use crate::settings::LinkSettings;
use crate::telemetry::security::Cause;

/// What a call has proved.
pub(super) struct ProvedCall {
    /// Its claims, which are signed.
    pub(super) claims: InvocationClaims,
    /// When it was made, in seconds since 1970.
    pub(super) made_at: u64,
    /// The settings of its actor's link, or that the link was refused.
    pub(super) link: Result<Arc<LinkSettings>, Error>,
}

/// Why a call has proved nothing.
pub(super) enum Unproved {
    /// Its claims are wrong.
    Claims(InvocationError),
    /// It would not be taken whoever sent it.
    Call(CallFailure),
}

impl From<InvocationError> for Unproved {
    fn from(error: InvocationError) -> Self {
        Self::Claims(error)
    }
}

impl From<CallFailure> for Unproved {
    fn from(failure: CallFailure) -> Self {
        Self::Call(failure)
    }
}

impl Unproved {
    /// Makes the failure of a call in the name of this actor, and reports it.
    pub(super) fn into_failure(self, actor: &str) -> CallFailure {
        match self {
            Self::Call(failure) => failure,
            Self::Claims(problem) => CallFailure::unproved(Cause::Unproved, actor, problem),
        }
    }
}

impl<O: Operations> Door<O> {
    /// Checks who sent these calls and when. Signatures come last, as they cost most: a
    /// call that is too old, of an actor that is not linked, or of one that has no place
    /// for it, is refused without. Whoever made it up learns what anybody may know who
    /// can send calls, and nothing of what the actor may do.
    pub(super) fn prove(&self, invocations: &[&Invocation]) -> Vec<Result<ProvedCall, Unproved>> {
        let now = unix_time().as_secs();
        self.verifier.check_all(invocations, |invocation, claims| {
            let actor = &invocation.origin.public_key;
            let fresh = self.service.replay.check_fresh(claims.iat, now);
            let too_old = |problem| CallFailure::unproved(Cause::Repeated, actor, problem);
            let made_at = fresh.map_err(too_old)?;
            let link = self.link_of(actor)?;
            let room = self.service.admission.check_room(actor);
            room.map_err(CallFailure::Refused)?;
            Ok(ProvedCall {
                claims,
                made_at,
                link,
            })
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
}
