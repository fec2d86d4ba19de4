//! What an actor gave with `SetLatticeCredentials`, as it is checked, sealed and kept.

use secrecy::{ExposeSecret as _, SecretString};

use crate::credentials::fingerprint::FingerprintKey;
use crate::name::{JsDomain, LatticeId};

/// Credentials for a lattice, as an actor gave them.
pub struct GivenCredentials {
    /// The lattice.
    pub lattice: LatticeId,
    /// Public key of the actor.
    pub actor: String,
    /// When it gave them, in milliseconds since 1970.
    pub set_at: u64,
    /// URLs of the servers; a secret, because they may hold a password.
    pub urls: SecretString,
    /// JWT of a user.
    pub jwt: Option<SecretString>,
    /// Seed of the user.
    pub seed: Option<SecretString>,
    /// JetStream domain of the lattice.
    pub js_domain: Option<JsDomain>,
}

/// Keyed hash of all that an actor gave, but for the time. Giving credentials with
/// the same hash again changes nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

impl GivenCredentials {
    /// Returns the hash of everything but the time.
    pub fn content_hash(&self, key: &FingerprintKey) -> ContentHash {
        // A part that is missing differs from one that is empty.
        let [jwt, seed] = [&self.jwt, &self.seed].map(|secret| match secret {
            Some(secret) => ("+", secret.expose_secret()),
            None => ("-", ""),
        });
        let domain = self.js_domain.as_ref().map_or("", |domain| domain.as_str());
        let parts = [
            self.lattice.as_str(),
            &self.actor,
            self.urls.expose_secret(),
            jwt.0,
            jwt.1,
            seed.0,
            seed.1,
            domain,
        ];
        ContentHash(key.hash(parts.map(str::as_bytes)))
    }

    /// Counts the bytes of all texts.
    pub fn bytes(&self) -> usize {
        let length = |text: &SecretString| text.expose_secret().len();
        let secrets = [Some(&self.urls), self.jwt.as_ref(), self.seed.as_ref()];
        let secrets: usize = secrets.into_iter().flatten().map(length).sum();
        let domain = self.js_domain.as_ref().map_or(0, |it| it.as_str().len());
        secrets + self.lattice.as_str().len() + self.actor.len() + domain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> GivenCredentials {
        GivenCredentials {
            lattice: LatticeId::parse("x").unwrap(),
            actor: "MACTOR".into(),
            set_at: 1_700_000_000_000,
            urls: "nats://alice:s3cret@h:4222".into(),
            jwt: Some("a-jwt".into()),
            seed: Some("SUASEED".into()),
            js_domain: Some(JsDomain::parse("hub").unwrap()),
        }
    }

    #[test]
    fn hashes_differ_where_anything_does_but_the_time() {
        let key = FingerprintKey::new([7; 16]);
        let hash = |change: fn(&mut GivenCredentials)| {
            let mut given = given();
            change(&mut given);
            given.content_hash(&key)
        };
        let same = hash(|_| {});
        assert!(same == hash(|given| given.set_at = 7));
        let changes: [fn(&mut GivenCredentials); 8] = [
            |given| given.lattice = LatticeId::parse("y").unwrap(),
            |given| given.actor = "MOTHER".into(),
            |given| given.urls = "nats://h:4222".into(),
            |given| given.jwt = None,
            |given| given.jwt = Some("".into()),
            |given| given.seed = Some("SUAOTHER".into()),
            |given| given.js_domain = None,
            |given| (given.jwt, given.seed) = (given.seed.take(), given.jwt.take()),
        ];
        for change in changes {
            assert!(hash(change) != same);
        }
        assert!(given().content_hash(&FingerprintKey::new([8; 16])) != same);
    }
}
