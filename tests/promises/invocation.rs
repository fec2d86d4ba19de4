//! Any bytes that come as an invocation are decoded or refused, and
//! authenticated or refused; and an authenticated one is the one that was
//! signed.
//!
//! The signature covers the invocation's id, the actor, the provider, the
//! operation and the body. It does not cover its host, its trace context and
//! the length of its body; the origin's link name and contract, which an actor
//! does not have; and, in the target's link name and contract, capital letters,
//! blanks for `_` and `/` for `:`. None of these decides who may do what.

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use lattice_controller::internals::front::wasmbus::decode;
use lattice_controller::internals::front::wasmbus::head::id_of;
use lattice_controller::internals::front::wasmbus::invocation::{InvocationError, Verifier};
use nkeys::KeyPairType;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wasmbus_rpc::core::{Invocation, WasmCloudEntity};

/// Checks the promise. The input is a whole invocation, the changes of a signed
/// one, the token of claims, and claims that are signed.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    prove(input);
    let signed = signed();
    let bytes = rmp_serde::to_vec_named(&signed).unwrap();
    prove(&edited(&bytes, input));
    let mut other = signed.clone();
    other.encoded_claims = String::from_utf8_lossy(input).into_owned();
    let _ = verdict(&other);
    other.encoded_claims = token(&String::from_utf8_lossy(input));
    let _ = verdict(&other);
}

fn prove(payload: &[u8]) {
    let id = id_of(payload);
    let Ok(invocation) = decode::<Invocation>(payload) else {
        return;
    };
    // In a list, members have no names.
    assert!(id.is_empty() || invocation.id == id, "another id");
    if verdict(&invocation).is_err() {
        return;
    }
    let signed = signed();
    assert_eq!(invocation.id, signed.id);
    assert_eq!(invocation.origin.public_key, signed.origin.public_key);
    assert_eq!(invocation.target.public_key, signed.target.public_key);
    assert_eq!(invocation.operation, signed.operation);
    assert_eq!(invocation.msg, signed.msg);
    assert_eq!(invocation.target.url(), signed.target.url());
}

fn verdict(invocation: &Invocation) -> Result<(), String> {
    let provider = super::key(KeyPairType::Service).public_key();
    let cluster = super::key(KeyPairType::Cluster).public_key();
    let verifier = Verifier::new(&provider, "default", &[cluster]);
    // It stands between others, as calls come.
    let (before, after) = (signed(), signed());
    let [first, proved, last]: [Result<_, InvocationError>; 3] = verifier
        .check_all(&[&before, invocation, &after], |_, claims| Ok(claims))
        .try_into()
        .unwrap_or_else(|_| panic!("three verdicts"));
    assert!(
        first.is_ok() && last.is_ok(),
        "whatever stands between them"
    );
    let proved = proved.and_then(|claims| claims.check_body(invocation, &invocation.msg));
    let proved = proved.map_err(|error| error.to_string());
    proved.inspect_err(|problem| super::check_message(problem, 300))
}

/// Changes bytes as the input says: four bytes of it tell where, how, and to
/// what.
pub fn edited(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits.chunks_exact(4).take(16) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (bytes.len() + 1);
        match edit[2] % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, edit[3]),
            _ if at == bytes.len() => {}
            2 => drop(bytes.remove(at)),
            _ => bytes[at] ^= edit[3],
        }
    }
    bytes
}

/// Makes an authentic invocation.
pub fn signed() -> Invocation {
    let entity = |key: KeyPairType, link_name: &str, contract_id: &str| WasmCloudEntity {
        public_key: super::key(key).public_key(),
        link_name: link_name.into(),
        contract_id: contract_id.into(),
    };
    let mut invocation = Invocation::default();
    invocation.id = "f3f2c7d4".into();
    invocation.origin = entity(KeyPairType::Module, "", "");
    invocation.target = entity(KeyPairType::Service, "default", "wasmcloud:latticecontrol");
    invocation.operation = "LatticeController.GetHosts".into();
    invocation.msg = b"\xa7default".to_vec();
    invocation.content_length = Some(8);
    invocation.host_id = super::key(KeyPairType::Server).public_key();
    let origin = invocation.origin.url();
    let target = format!("{}/{}", invocation.target.url(), invocation.operation);
    let mut hash = Sha256::new();
    for part in [&origin, &target, &invocation.operation] {
        hash.update(part);
    }
    hash.update(&invocation.msg);
    invocation.encoded_claims = token(
        &json!({
            "iss": super::key(KeyPairType::Cluster).public_key(),
            "sub": invocation.id, "jti": "j", "iat": 1, "exp": Value::Null, "nbf": 5,
            "wascap": { "target_url": target, "origin_url": origin,
                        "hash": HEXUPPER.encode(&hash.finalize()) },
        })
        .to_string(),
    );
    invocation
}

/// Makes a token with these claims, signed by the cluster.
fn token(claims: &str) -> String {
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"jwt","alg":"Ed25519"}"#);
    let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = super::key(KeyPairType::Cluster).sign(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature.unwrap()))
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let signed = signed();
    assert_eq!(verdict(&signed), Ok(()));
    let claims = json!({
        "iss": super::key(KeyPairType::Cluster).public_key(), "sub": "f3f2c7d4",
        "exp": u64::MAX, "nbf": 0,
        "wascap": { "target_url": "t", "origin_url": "o", "hash": "h" },
    });
    vec![
        rmp_serde::to_vec_named(&signed).unwrap(),
        rmp_serde::to_vec(&signed).unwrap(),
        signed.encoded_claims.into_bytes(),
        claims.to_string().into_bytes(),
        vec![90, 0, 3, 1, 10, 0, 1, 7],
    ]
}
