//! Invocations made by hand, with claims, times and ids as a test wants them.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wasmbus_rpc::core::{Invocation, InvocationResponse, WasmCloudEntity};
use wasmcloud_interface_lattice_control::CtlOperationAck;

use super::jwt::now;
use super::provider::Identity;

/// Makes an invocation by the linked actor at this moment. `change` may change
/// its claims before they are signed.
pub fn mint(
    identity: &Identity,
    operation: &str,
    argument: &impl Serialize,
    change: impl FnOnce(&mut Value),
) -> Invocation {
    mint_by(identity, &identity.actor, operation, argument, change)
}

/// Makes an invocation by any actor.
pub fn mint_by(
    identity: &Identity,
    actor: &str,
    operation: &str,
    argument: &impl Serialize,
    change: impl FnOnce(&mut Value),
) -> Invocation {
    let body = rmp_serde::to_vec_named(argument).unwrap();
    mint_raw(identity, actor, operation, body, change)
}

/// Makes an invocation by any actor with any bytes as arguments.
pub fn mint_raw(
    identity: &Identity,
    actor: &str,
    operation: &str,
    body: Vec<u8>,
    change: impl FnOnce(&mut Value),
) -> Invocation {
    let mut invocation = Invocation::default();
    invocation.origin.public_key = actor.to_owned();
    invocation.target = WasmCloudEntity {
        public_key: identity.provider_key.clone(),
        link_name: identity.link_name.clone(),
        contract_id: "wasmcloud:latticecontrol".into(),
    };
    invocation.operation = format!("LatticeController.{operation}");
    invocation.msg = body;
    invocation.content_length = Some(invocation.msg.len() as u64);
    invocation.host_id = identity.host_id.clone();
    invocation.id = nkeys::KeyPair::new(nkeys::KeyPairType::User).public_key();
    let origin = invocation.origin.url();
    let target = format!("{}/{}", invocation.target.url(), invocation.operation);
    let mut hash = Sha256::new();
    hash.update(&origin);
    hash.update(&target);
    hash.update(&invocation.operation);
    hash.update(&invocation.msg);
    let mut claims = json!({
        "iss": identity.cluster.public_key(), "sub": invocation.id, "jti": invocation.id,
        "iat": now(), "wascap_revision": 3,
        "wascap": { "target_url": target, "origin_url": origin,
                    "hash": HEXUPPER.encode(&hash.finalize()) },
    });
    change(&mut claims);
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"jwt","alg":"Ed25519"}"#);
    let claims = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
    let token = format!("{header}.{claims}");
    let signature = identity.cluster.sign(token.as_bytes()).unwrap();
    invocation.encoded_claims = format!("{token}.{}", BASE64URL_NOPAD.encode(&signature));
    invocation
}

/// Encodes an invocation as it is on the wire.
pub fn bytes(invocation: &Invocation) -> Vec<u8> {
    rmp_serde::to_vec_named(invocation).unwrap()
}

/// Returns the acknowledgement in a response, where it holds one.
pub fn ack(response: &InvocationResponse) -> Option<CtlOperationAck> {
    let ack = || wasmbus_rpc::common::deserialize(&response.msg).ok();
    response.error.is_none().then(ack)?
}

/// Returns whether the response says that a command was accepted.
pub fn is_accepted(response: &InvocationResponse) -> bool {
    ack(response).is_some_and(|ack| ack.accepted)
}

/// Sends any bytes as a call and returns the whole response.
pub async fn send(
    nats: &async_nats::Client,
    identity: &Identity,
    bytes: Vec<u8>,
) -> InvocationResponse {
    let reply = nats.request(identity.subject(""), bytes.into());
    let reply = super::time::timeout(Duration::from_secs(5), reply).await;
    rmp_serde::from_slice(&reply.expect("an answer").unwrap().payload).unwrap()
}
