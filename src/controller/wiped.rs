//! Arguments that hold secrets, wiped when they are dropped: the generated code
//! would leave them in memory.

use wasmbus_rpc::common::Message;
use wasmbus_rpc::error::{RpcError, RpcResult};
use zeroize::Zeroize as _;

use crate::contract::{SetLatticeCredentialsRequest, SetRegistryCredentialsRequest};

/// Arguments with secrets.
pub(super) trait Wipe {
    /// Overwrites them.
    fn wipe(&mut self);
}

/// Arguments that are wiped when they are dropped, wherever the call ends.
pub(super) struct Wiped<T: Wipe>(pub(super) T);

impl<T: Wipe + serde::de::DeserializeOwned> Wiped<T> {
    /// Decodes the arguments of a call.
    pub(super) fn decode(message: &Message<'_>) -> RpcResult<Self> {
        let decoded = wasmbus_rpc::common::deserialize(&message.arg);
        decoded
            .map(Self)
            .map_err(|error| RpcError::Deser(format!("'{}': {error}", message.method)))
    }
}

impl<T: Wipe> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl Wipe for SetLatticeCredentialsRequest {
    fn wipe(&mut self) {
        self.nats_url.zeroize();
        self.user_jwt.zeroize();
        self.user_seed.zeroize();
    }
}

impl Wipe for SetRegistryCredentialsRequest {
    fn wipe(&mut self) {
        for credential in self.credentials.iter_mut().flat_map(|all| all.values_mut()) {
            credential.password.zeroize();
            credential.token.zeroize();
            credential.username.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::RegistryCredential;

    #[test]
    fn what_is_wiped_has_no_secret_left() {
        let mut request = SetLatticeCredentialsRequest {
            lattice_id: "x".into(),
            nats_url: Some("nats://u:secret@h".into()),
            user_jwt: Some("secret".into()),
            user_seed: Some("secret".into()),
            js_domain: None,
        };
        request.wipe();
        assert!(request.nats_url.is_none() && request.user_jwt.is_none());
        assert!(request.user_seed.is_none());
        let credential = RegistryCredential {
            password: Some("secret".into()),
            token: Some("secret".into()),
            username: Some("secret".into()),
            registry_type: "oci".into(),
        };
        let mut request = SetRegistryCredentialsRequest {
            lattice_id: "x".into(),
            credentials: Some([("ghcr.io".to_owned(), credential)].into()),
        };
        request.wipe();
        let left = &request.credentials.unwrap()["ghcr.io"];
        assert!(left.password.is_none() && left.token.is_none() && left.username.is_none());
    }
}
