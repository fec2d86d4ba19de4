//! The part of an invocation that a refusal needs, where there is no place for the call, or
//! where it cannot be decoded as a whole.

use serde::Deserialize;

use crate::front::wasmbus::msgpack::decode;

/// Returns the id of an invocation, also of one that cannot be decoded as a whole: Rust
/// hosts take no answer under another id. It is empty where there is none.
pub fn id_of(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Id {
        #[serde(default)]
        id: String,
    }
    decode::<Id>(payload).map_or_else(|_| String::new(), |found| found.id)
}

/// The part of an invocation that a refusal needs. Reading it copies nothing, whatever the
/// size of the invocation.
#[derive(Deserialize)]
pub struct Head<'a> {
    /// Id of the invocation.
    #[serde(default)]
    pub id: &'a str,
    /// Full name of the operation.
    pub operation: &'a str,
    /// The caller.
    #[serde(borrow)]
    pub origin: Origin<'a>,
}

/// The caller, as an invocation names it.
#[derive(Deserialize)]
pub struct Origin<'a> {
    /// Public key of the actor.
    pub public_key: &'a str,
}

impl<'a> Head<'a> {
    /// Reads it, if that is an invocation.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        decode(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use wasmbus_rpc::core::Invocation;

    use super::*;

    #[test]
    fn the_id_is_found_in_what_is_no_invocation() {
        let bytes = rmp_serde::to_vec_named(&serde_json::json!({ "id": "abc", "x": 1 })).unwrap();
        assert_eq!(id_of(&bytes), "abc");
        assert_eq!(id_of(b"\xc1garbage"), "");
    }

    #[test]
    fn what_a_refusal_needs_is_read_of_a_whole_invocation() {
        let mut invocation = Invocation::default();
        invocation.id = "abc".into();
        invocation.operation = "LatticeController.GetHosts".into();
        invocation.origin.public_key = "M1".into();
        let bytes = rmp_serde::to_vec_named(&invocation).unwrap();
        let head = Head::read(&bytes).unwrap();
        assert_eq!(
            (head.id, head.operation),
            ("abc", "LatticeController.GetHosts")
        );
        assert_eq!(head.origin.public_key, "M1");
        assert!(Head::read(b"\xc1garbage").is_none());
    }

    #[test]
    fn input_that_is_nested_deeply_is_none_and_no_overflow() {
        let mut bytes = b"\x81\xa1x".to_vec();
        bytes.extend(std::iter::repeat_n(0x91, 1_000_000));
        assert!(Head::read(&bytes).is_none());
        assert_eq!(id_of(&bytes), "");
    }
}
