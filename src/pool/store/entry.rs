//! An entry of the store: what an actor set for a lattice, sealed.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::StoreKey;
use crate::name::{JsDomain, LatticeId};

/// Version of the format.
const VERSION: u32 = 1;

/// What a lattice is reached with, as an actor set it.
pub struct Entry {
    /// The lattice.
    pub lattice: LatticeId,
    /// The actor that set it.
    pub actor: String,
    /// When, in milliseconds since 1970.
    pub set_at: u64,
    /// Servers; a secret, because of user info.
    pub urls: SecretString,
    /// JWT of a user.
    pub jwt: Option<SecretString>,
    /// Seed of the user.
    pub seed: Option<SecretString>,
    /// JetStream domain of the lattice.
    pub js_domain: Option<JsDomain>,
}

/// Why an entry cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// Sealed with another key, or changed since.
    Sealed,
    /// Of a version that this program does not know.
    Version,
    /// Written for another lattice: somebody moved it.
    Moved,
    /// Nothing that this program writes.
    Malformed,
}

/// The entry as JSON, which is what is sealed.
#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    version: u32,
    #[serde(borrow)]
    lattice: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    set_at: u64,
    #[serde(borrow)]
    urls: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    jwt: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    seed: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    js_domain: Option<Cow<'a, str>>,
}

/// Any version says what it is.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Entry {
    /// Seals it; `None` where that fails.
    pub fn seal(&self, key: &StoreKey) -> Option<Vec<u8>> {
        fn secret(text: &Option<SecretString>) -> Option<Cow<'_, str>> {
            text.as_ref().map(|text| text.expose_secret().into())
        }
        let plain = Plain {
            version: VERSION,
            lattice: self.lattice.as_str().into(),
            actor: self.actor.as_str().into(),
            set_at: self.set_at,
            urls: self.urls.expose_secret().into(),
            jwt: secret(&self.jwt),
            seed: secret(&self.seed),
            js_domain: self.js_domain.as_ref().map(|domain| domain.as_str().into()),
        };
        // Large enough never to move, which would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        serde_json::to_writer(&mut *bytes, &plain).ok()?;
        key.seal(&bytes)
    }

    /// Opens an entry that was found under this lattice.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(key: &StoreKey, lattice: &LatticeId, sealed: &[u8]) -> Result<Self, Unopened> {
        let bytes = key.open(sealed).ok_or(Unopened::Sealed)?;
        let version: Versioned = serde_json::from_slice(&bytes).map_err(|_| Unopened::Malformed)?;
        if version.version != VERSION {
            return Err(Unopened::Version);
        }
        let plain: Plain = serde_json::from_slice(&bytes).map_err(|_| Unopened::Malformed)?;
        if plain.lattice != lattice.as_str() {
            return Err(Unopened::Moved);
        }
        let secret = |text: Option<Cow<'_, str>>| text.map(|text| text.into_owned().into());
        let js_domain = plain.js_domain.as_deref().map(JsDomain::parse).transpose();
        Ok(Self {
            lattice: lattice.clone(),
            actor: plain.actor.into_owned(),
            set_at: plain.set_at,
            urls: plain.urls.into_owned().into(),
            jwt: secret(plain.jwt),
            seed: secret(plain.seed),
            js_domain: js_domain.map_err(|_| Unopened::Malformed)?,
        })
    }

    /// Now, for [`Entry::set_at`].
    pub fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(lattice: &str) -> Entry {
        Entry {
            lattice: LatticeId::parse(lattice).unwrap(),
            actor: "MACTOR".into(),
            set_at: 1_700_000_000_000,
            urls: "nats://alice:s3cret@h:4222".into(),
            jwt: Some("a-jwt".into()),
            seed: Some("SUASEED".into()),
            js_domain: Some(JsDomain::parse("hub").unwrap()),
        }
    }

    fn key(seed: &str) -> StoreKey {
        StoreKey::of_cluster(&seed.into()).unwrap()
    }

    fn cluster() -> String {
        let pair = nkeys::KeyPair::new(nkeys::KeyPairType::Cluster);
        pair.seed().unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_under_the_same_lattice_only() {
        let (ours, theirs) = (cluster(), cluster());
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = entry("x").seal(&key(&ours)).unwrap();
        let opened = Entry::open(&key(&ours), &lattice, &sealed).unwrap();
        assert_eq!(opened.urls.expose_secret(), "nats://alice:s3cret@h:4222");
        assert_eq!(opened.seed.unwrap().expose_secret(), "SUASEED");
        assert_eq!(
            (opened.actor.as_str(), opened.set_at),
            ("MACTOR", 1_700_000_000_000)
        );
        assert_eq!(opened.js_domain.unwrap().as_str(), "hub");
        let refused = |key: &StoreKey, lattice: &str, sealed: &[u8]| {
            Entry::open(key, &LatticeId::parse(lattice).unwrap(), sealed).err()
        };
        assert_eq!(refused(&key(&theirs), "x", &sealed), Some(Unopened::Sealed));
        assert_eq!(refused(&key(&ours), "y", &sealed), Some(Unopened::Moved));
        for plain in ["s3cret", "SUASEED", "a-jwt", "alice"] {
            let found = sealed
                .windows(plain.len())
                .any(|part| part == plain.as_bytes());
            assert!(!found, "{plain}");
        }
    }

    #[test]
    fn an_entry_of_a_later_version_is_told_from_rubbish() {
        let key = key(&cluster());
        let lattice = LatticeId::parse("x").unwrap();
        let later = key.seal(br#"{"version":2,"lattice":7}"#).unwrap();
        assert_eq!(
            Entry::open(&key, &lattice, &later).err(),
            Some(Unopened::Version)
        );
        let rubbish = key.seal(b"[1]").unwrap();
        assert_eq!(
            Entry::open(&key, &lattice, &rubbish).err(),
            Some(Unopened::Malformed)
        );
    }

    #[test]
    fn a_set_key_is_another_than_the_clusters() {
        let seed = nkeys::XKey::new().seed().unwrap();
        let key = StoreKey::from_seed(&seed.as_str().into()).unwrap();
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = entry("x").seal(&key).unwrap();
        assert!(Entry::open(&key, &lattice, &sealed).is_ok());
        for bad in ["", "SXAAA", cluster().as_str()] {
            let problem = StoreKey::from_seed(&bad.into()).err().unwrap();
            assert!(problem.contains("xkey"), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_opens(at in 0usize..200, by in 1u8..) {
            let key = key(&cluster());
            let mut sealed = entry("x").seal(&key).unwrap();
            let at = at % sealed.len();
            sealed[at] ^= by;
            let lattice = LatticeId::parse("x").unwrap();
            prop_assert_eq!(Entry::open(&key, &lattice, &sealed).err(), Some(Unopened::Sealed));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>, cut in 0usize..300) {
            let key = key(&cluster());
            let lattice = LatticeId::parse("x").unwrap();
            prop_assert!(Entry::open(&key, &lattice, &bytes).is_err());
            let mut sealed = entry("x").seal(&key).unwrap();
            sealed.truncate(cut.min(sealed.len() - 1));
            prop_assert!(Entry::open(&key, &lattice, &sealed).is_err());
        }
    }
}
