//! Why a call was not carried out, and how its answer says so.

use std::fmt::Display;

use tracing::debug;
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::contract::{AnswerKind, CtlOperationAck, Operation};
use crate::error::{Error, Kind, quoted};
use crate::front::wasmbus::body;
use crate::telemetry::security::{self, Cause};

/// Why a call was not carried out.
pub(super) enum CallFailure {
    /// The answer is an RPC error, whatever the operation is.
    Rpc {
        /// What the log calls it.
        outcome: &'static str,
        /// The answer.
        error: RpcError,
    },
    /// The call was refused before anything was done for it.
    Refused(Error),
    /// The operation failed, and is in the log.
    Failed(Error),
}

impl From<Error> for CallFailure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl CallFailure {
    /// Makes the failure of a call that does not prove what it must, and reports it. The
    /// actor may be made up.
    pub(super) fn unproved(cause: Cause, actor: &str, problem: impl Display) -> Self {
        let problem = problem.to_string();
        security::refused_unproved(cause, actor, &problem);
        Self::untrusted(cause, problem)
    }

    /// Makes the failure of a call that its actor signed and that is not taken, and reports
    /// it.
    pub(super) fn not_taken(cause: Cause, actor: &str, problem: impl Display) -> Self {
        let problem = problem.to_string();
        security::refused(cause, actor, &problem);
        Self::untrusted(cause, problem)
    }

    fn untrusted(cause: Cause, problem: String) -> Self {
        Self::Rpc {
            outcome: cause.name(),
            error: RpcError::Rpc(problem),
        }
    }

    /// Makes the failure of a call whose operation the contract does not have.
    pub(super) fn unknown_operation(full_name: &str) -> Self {
        Self::Rpc {
            outcome: "unknown_operation",
            error: RpcError::MethodNotHandled(quoted(full_name)),
        }
    }

    /// Makes the failure of a call whose arguments cannot be decoded.
    pub(super) fn undecodable(problem: impl Display) -> Self {
        Self::Rpc {
            outcome: "undecodable",
            error: RpcError::Deser(problem.to_string()),
        }
    }

    /// Logs the one line that every call has at debug. Operations log their own calls.
    pub(super) fn log(&self, id: &str, full_name: &str, actor: &str) {
        let outcome = match self {
            Self::Rpc { outcome, .. } => outcome,
            Self::Refused(error) => error.kind().name(),
            Self::Failed(_) => return,
        };
        debug!(
            operation = full_name,
            lattice = "-",
            actor,
            outcome,
            ms = 0.0,
            id,
            "call"
        );
    }

    /// Says it in the way of the operation that was called.
    pub(super) fn into_answer(self, full_name: &str) -> RpcResult<Vec<u8>> {
        let error = match self {
            Self::Rpc { error, .. } => return Err(error),
            Self::Refused(error) | Self::Failed(error) => error,
        };
        match Operation::from_full_name(full_name) {
            Some(operation) => error_answer(operation, error),
            None => Self::unknown_operation(full_name).into_answer(full_name),
        }
    }
}

/// Says in the way of an operation why it was not carried out.
fn error_answer(operation: Operation, error: Error) -> RpcResult<Vec<u8>> {
    match operation.answer() {
        AnswerKind::Data => Err(rpc_error(error)),
        AnswerKind::Acknowledgement if error.kind().certainly_not_carried_out() => {
            body::encode_data(&CtlOperationAck {
                accepted: false,
                error: error.to_string(),
            })
        }
        AnswerKind::Acknowledgement | AnswerKind::Empty => Err(rpc_error_of_command(error)),
    }
}

/// Turns an error into an RPC error.
pub(super) fn rpc_error(error: Error) -> RpcError {
    with_kind(error.kind(), error.to_string())
}

/// Turns the error of a command into an RPC error, which also says so where it is unknown
/// whether the command was carried out.
pub(super) fn rpc_error_of_command(error: Error) -> RpcError {
    with_kind(error.kind(), error.into_message_of_command())
}

fn with_kind(kind: Kind, message: String) -> RpcError {
    match kind {
        Kind::Invalid => RpcError::InvalidParameter(message),
        Kind::Timeout => RpcError::Timeout(message),
        Kind::NotConnected | Kind::NoResponders | Kind::ConnectionLost => RpcError::Nats(message),
        _ => RpcError::Other(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_an_rpc_error_and_says_so() {
        let error = Error::new(Kind::Timeout, "host N did not answer");
        let error = error_answer(Operation::StopHost, error).unwrap_err();
        assert!(error.to_string().contains("unknown whether"), "{error}");
    }

    #[test]
    fn what_was_not_carried_out_is_not_accepted() {
        let error = || Error::new(Kind::NoResponders, "no such host");
        let ack = error_answer(Operation::StopHost, error()).unwrap();
        let ack: CtlOperationAck = rmp_serde::from_slice(&ack).unwrap();
        assert!(!ack.accepted);
        assert_eq!(ack.error, "no such host");
        // Without an acknowledgement, it is an RPC error.
        for other in [Operation::GetHosts, Operation::SetRegistryCredentials] {
            let error = error_answer(other, error()).unwrap_err();
            assert_eq!(error.to_string(), "nats: no such host");
        }
    }

    #[test]
    fn a_refusal_of_an_unknown_operation_says_that_it_is_unknown() {
        let refused = CallFailure::Refused(Error::new(Kind::Busy, "busy"));
        let error = refused.into_answer("GetHosts").unwrap_err();
        assert!(matches!(error, RpcError::MethodNotHandled(_)), "{error}");
    }
}
