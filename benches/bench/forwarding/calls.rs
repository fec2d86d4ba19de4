//! Signed calls of StartActor, and what is expected in return.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;
use wasmbus_rpc::core::InvocationResponse;
use wasmcloud_interface_lattice_control::{CtlOperationAck, StartActorCommand};

use crate::support::invocation;
use crate::support::operator::{ACTOR_REF, LATTICE};
use crate::support::provider::Identity;

/// So many calls of StartActor, each signed, and unlike every other.
pub fn signed(identity: &Identity, host: &str, count: usize) -> Vec<Bytes> {
    let command = StartActorCommand {
        lattice_id: LATTICE.into(),
        host_id: host.into(),
        actor_ref: ACTOR_REF.into(),
        annotations: Some(HashMap::new()),
        count: 1,
    };
    let one = || {
        let invocation = invocation::mint(identity, "StartActor", &command, |_| {});
        Bytes::from(invocation::bytes(&invocation))
    };
    std::iter::repeat_with(one).take(count).collect()
}

/// Whether a host acknowledged.
pub fn acknowledged(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|ack| ack["accepted"] == true)
}

/// Whether the provider answered that a host acknowledged.
pub fn answered(answer: &[u8]) -> bool {
    let response: Result<InvocationResponse, _> = rmp_serde::from_slice(answer);
    response.is_ok_and(|response| {
        let ack = wasmbus_rpc::common::deserialize::<CtlOperationAck>(&response.msg);
        response.error.is_none() && ack.is_ok_and(|ack| ack.accepted)
    })
}
