//! Arguments and results of operations in MessagePack.

use std::collections::HashMap;

use rmp_serde::decode::Error;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use wasmbus_rpc::error::RpcResult;
use zeroize::Zeroizing;

use crate::contract::{
    AnswerKind, Counted, CtlOperationAck, Operation, Request, Response, ScaleActorCommand,
    StartActorCommand, StopActorCommand, encode_list,
};
use crate::error::without_values;
use crate::front::wasmbus::msgpack::{decode, is_shallow};

/// Why the arguments of an operation cannot be decoded, without their values: these may be
/// secrets in the wrong place.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    /// They are something else.
    #[error("'{}': {problem}", operation.arguments())]
    Unreadable {
        /// The operation.
        operation: Operation,
        /// The decoder's words.
        problem: String,
    },
    /// They have too many levels.
    #[error("'{}': the arguments are nested too deeply", .0.name())]
    TooDeep(Operation),
}

/// Decodes the arguments of an operation.
///
/// # Errors
/// What is wrong with them.
pub fn decode_arguments(operation: Operation, bytes: &[u8]) -> Result<Request, ArgumentsError> {
    decode_any(operation, bytes).map_err(|error| match is_shallow(bytes) {
        true => ArgumentsError::Unreadable {
            operation,
            problem: without_values(&error.to_string()),
        },
        false => ArgumentsError::TooDeep(operation),
    })
}

fn decode_any(operation: Operation, bytes: &[u8]) -> Result<Request, Error> {
    Ok(match operation {
        Operation::AdvertiseLink => Request::AdvertiseLink(decode(bytes)?),
        Operation::AuctionActor => Request::AuctionActor(decode(bytes)?),
        Operation::AuctionProvider => Request::AuctionProvider(decode(bytes)?),
        Operation::GetClaims => Request::GetClaims(decode(bytes)?),
        Operation::GetHostInventory => Request::GetHostInventory(decode(bytes)?),
        Operation::GetHosts => Request::GetHosts(decode(bytes)?),
        Operation::GetLinks => Request::GetLinks(decode(bytes)?),
        Operation::RemoveLink => Request::RemoveLink(decode(bytes)?),
        Operation::ScaleActor => {
            Request::ScaleActor(counted(bytes, |arg: &ScaleActorCommand| arg.count)?)
        }
        Operation::SetLatticeCredentials => {
            Request::SetLatticeCredentials(Zeroizing::new(decode(bytes)?))
        }
        Operation::SetRegistryCredentials => {
            Request::SetRegistryCredentials(Zeroizing::new(decode(bytes)?))
        }
        Operation::StartActor => {
            Request::StartActor(counted(bytes, |arg: &StartActorCommand| arg.count)?)
        }
        Operation::StartProvider => Request::StartProvider(decode(bytes)?),
        Operation::StopActor => {
            Request::StopActor(counted(bytes, |arg: &StopActorCommand| arg.count)?)
        }
        Operation::StopHost => Request::StopHost(decode(bytes)?),
        Operation::StopProvider => Request::StopProvider(decode(bytes)?),
        Operation::UpdateActor => Request::UpdateActor(decode(bytes)?),
    })
}

/// Decodes arguments that have a `count`.
fn counted<T: DeserializeOwned>(bytes: &[u8], count: fn(&T) -> u16) -> Result<Counted<T>, Error> {
    let arguments: T = decode(bytes)?;
    let count = count(&arguments);
    let is_given = count > 0 || has_member(bytes, "count");
    Ok(Counted {
        arguments,
        count: is_given.then_some(count),
    })
}

/// Whether arguments have a member. In positional form they have every member, or do not
/// decode.
fn has_member(bytes: &[u8], name: &str) -> bool {
    decode::<HashMap<&str, IgnoredAny>>(bytes).map_or(true, |members| members.contains_key(name))
}

/// Encodes what an operation answers with.
pub(super) fn encode_response(operation: Operation, response: Response) -> RpcResult<Vec<u8>> {
    match response {
        Response::Done if operation.answer() == AnswerKind::Empty => Ok(Vec::new()),
        Response::Done => encode_data(&CtlOperationAck {
            accepted: true,
            error: String::new(),
        }),
        Response::ActorAuction(data) => encode_data(&data),
        Response::Claims(data) => encode_data(&data),
        Response::HostInventory(data) => encode_data(&data),
        Response::Hosts(data) => encode_data(&data),
        Response::Links(links) => Ok(encode_list(&links)),
        Response::ProviderAuction(data) => encode_data(&data),
    }
}

/// Encodes a type of the contract.
pub(super) fn encode_data(data: &impl Serialize) -> RpcResult<Vec<u8>> {
    wasmbus_rpc::common::serialize(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn count_of(arguments: &Value) -> Option<u16> {
        let bytes = rmp_serde::to_vec_named(arguments).unwrap();
        match decode_arguments(Operation::StopActor, &bytes).unwrap() {
            Request::StopActor(counted) => counted.count,
            _ => panic!("another operation"),
        }
    }

    #[test]
    fn a_count_that_is_missing_is_not_a_count_of_0() {
        assert_eq!(count_of(&json!({ "actorId": "M1" })), None);
        assert_eq!(count_of(&json!({ "actorId": "M1", "count": 0 })), Some(0));
        assert_eq!(count_of(&json!({ "actorId": "M1", "count": 3 })), Some(3));
        let positional = json!(["M1", {}, 0, "N1", "default"]);
        assert_eq!(count_of(&positional), Some(0));
    }

    #[test]
    fn what_cannot_be_decoded_is_not_quoted() {
        let bytes = rmp_serde::to_vec_named(&json!({ "userSeed": ["sekret"] })).unwrap();
        let problem = decode_arguments(Operation::SetLatticeCredentials, &bytes).err();
        let problem = problem.unwrap().to_string();
        assert!(
            problem.starts_with("'SetLatticeCredentialsRequest': "),
            "{problem}"
        );
        let bytes = rmp_serde::to_vec_named("sekret").unwrap();
        let problem = decode_arguments(Operation::StopHost, &bytes).err();
        let problem = problem.unwrap().to_string();
        assert!(!problem.contains("sekret"), "{problem}");
    }
}
