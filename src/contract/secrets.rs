//! How arguments that hold secrets are overwritten: the generated types would leave
//! them in memory.

use zeroize::Zeroize;

use crate::contract::{SetLatticeCredentialsRequest, SetRegistryCredentialsRequest};

impl Zeroize for SetLatticeCredentialsRequest {
    fn zeroize(&mut self) {
        self.nats_url.zeroize();
        self.user_jwt.zeroize();
        self.user_seed.zeroize();
    }
}

impl Zeroize for SetRegistryCredentialsRequest {
    fn zeroize(&mut self) {
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
    fn what_is_overwritten_has_no_secret_left() {
        let mut request = SetLatticeCredentialsRequest {
            lattice_id: "x".into(),
            nats_url: Some("nats://u:secret@h".into()),
            user_jwt: Some("secret".into()),
            user_seed: Some("secret".into()),
            js_domain: None,
        };
        request.zeroize();
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
        request.zeroize();
        let left = &request.credentials.unwrap()["ghcr.io"];
        assert!(left.password.is_none() && left.token.is_none() && left.username.is_none());
    }
}
