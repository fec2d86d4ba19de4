//! Signed calls of StartActor, and their expected answers.

use bytes::Bytes;
use serde_json::Value;

use crate::support::drill::start_actor;
use crate::support::invocation;
use crate::support::operator::LATTICE;
use crate::support::provider::Identity;

/// Makes so many signed calls of StartActor, each different from the others.
pub fn signed(identity: &Identity, host: &str, count: usize) -> Vec<Bytes> {
    let command = start_actor(LATTICE, host);
    let one = || {
        let invocation = invocation::mint(identity, "StartActor", &command, |_| {});
        Bytes::from(invocation::bytes(&invocation))
    };
    std::iter::repeat_with(one).take(count).collect()
}

/// Returns whether a host acknowledged the command.
pub fn acknowledged(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|ack| ack["accepted"] == true)
}

/// Returns whether the provider answered that a host acknowledged the command.
pub fn answered(answer: &[u8]) -> bool {
    rmp_serde::from_slice(answer).is_ok_and(|response| invocation::is_accepted(&response))
}
