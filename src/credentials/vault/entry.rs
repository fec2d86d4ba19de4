//! An entry of the store: what an actor set for a lattice, sealed.

use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::credentials::FingerprintKey;
use crate::credentials::vault::place::Places;
use crate::credentials::vault::{StoreKey, json};
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
    /// Written for another lattice, key or bucket: somebody moved it.
    Moved,
    /// It does not say where it belongs, and such are refused
    /// (`unplaced_credentials`).
    Unplaced,
    /// Nothing that this program writes.
    Malformed,
}

/// The entry as JSON, which is what is sealed.
#[derive(Serialize)]
struct Plain<'a> {
    version: u32,
    lattice: &'a str,
    actor: &'a str,
    set_at: u64,
    urls: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    js_domain: Option<&'a str>,
    /// Where it belongs ([`Places::of`]). Releases that do not know it read over it,
    /// and write none.
    place: &'a str,
}

/// The same as it is read. What may be a secret stays as it stands there.
#[derive(Deserialize)]
struct Read<'a> {
    lattice: String,
    actor: String,
    set_at: u64,
    #[serde(borrow)]
    urls: &'a RawValue,
    #[serde(borrow, default)]
    jwt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    seed: Option<&'a RawValue>,
    #[serde(default)]
    js_domain: Option<String>,
    #[serde(default)]
    place: Option<String>,
}

/// What was found in an entry.
pub struct Opened {
    /// What an actor set.
    pub entry: Entry,
    /// Whether it says where it belongs, which is where it was found.
    pub is_placed: bool,
}

/// Keyed hash of all that an actor set: what has the same one changes nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark([u8; 32]);

/// Any version says what it is.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Entry {
    /// Seals it for its place among these; `None` where that fails.
    pub fn seal(&self, key: &StoreKey, places: &Places) -> Option<Vec<u8>> {
        fn secret(text: &Option<SecretString>) -> Option<&str> {
            text.as_ref().map(|text| text.expose_secret())
        }
        let plain = Plain {
            version: VERSION,
            lattice: self.lattice.as_str(),
            actor: &self.actor,
            set_at: self.set_at,
            urls: self.urls.expose_secret(),
            jwt: secret(&self.jwt),
            seed: secret(&self.seed),
            js_domain: self.js_domain.as_ref().map(|domain| domain.as_str()),
            place: &places.of(&self.lattice),
        };
        key.seal(&json::written(&plain)?)
    }

    /// Opens an entry that was found under this lattice, among these places.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(
        key: &StoreKey,
        places: &Places,
        lattice: &LatticeId,
        sealed: &[u8],
    ) -> Result<Opened, Unopened> {
        let bytes = key.open(sealed).ok_or(Unopened::Sealed)?;
        let version: Versioned = serde_json::from_slice(&bytes).map_err(|_| Unopened::Malformed)?;
        if version.version != VERSION {
            return Err(Unopened::Version);
        }
        let read: Read = serde_json::from_slice(&bytes).map_err(|_| Unopened::Malformed)?;
        let is_elsewhere = |place: &String| *place != places.of(lattice);
        if read.lattice != lattice.as_str() || read.place.as_ref().is_some_and(is_elsewhere) {
            return Err(Unopened::Moved);
        }
        let secret = |raw| json::secret(raw).ok_or(Unopened::Malformed);
        let js_domain = read.js_domain.as_deref().map(JsDomain::parse).transpose();
        let entry = Self {
            lattice: lattice.clone(),
            actor: read.actor,
            set_at: read.set_at,
            urls: secret(read.urls)?,
            jwt: read.jwt.map(secret).transpose()?,
            seed: read.seed.map(secret).transpose()?,
            js_domain: js_domain.map_err(|_| Unopened::Malformed)?,
        };
        Ok(Opened {
            entry,
            is_placed: read.place.is_some(),
        })
    }

    /// What it is told from others by; when it was set is no part of it.
    pub fn mark(&self, key: &FingerprintKey) -> Mark {
        // A part that is missing is told from one that is empty.
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
        Mark(key.hash(parts.map(str::as_bytes)))
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        let secret = |text: &SecretString| text.expose_secret().len();
        let secrets = [Some(&self.urls), self.jwt.as_ref(), self.seed.as_ref()];
        let secrets: usize = secrets.into_iter().flatten().map(secret).sum();
        let domain = self.js_domain.as_ref().map_or(0, |it| it.as_str().len());
        secrets + self.lattice.as_str().len() + self.actor.len() + domain
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

    fn places() -> Places {
        Places::new("home", "V1", "default")
    }

    fn open(key: &StoreKey, lattice: &LatticeId, sealed: &[u8]) -> Result<Opened, Unopened> {
        Entry::open(key, &places(), lattice, sealed)
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
        let sealed = entry("x").seal(&key(&ours), &places()).unwrap();
        let opened = open(&key(&ours), &lattice, &sealed).unwrap().entry;
        assert_eq!(opened.urls.expose_secret(), "nats://alice:s3cret@h:4222");
        assert_eq!(opened.seed.unwrap().expose_secret(), "SUASEED");
        assert_eq!(
            (opened.actor.as_str(), opened.set_at),
            ("MACTOR", 1_700_000_000_000)
        );
        assert_eq!(opened.js_domain.unwrap().as_str(), "hub");
        let refused = |key: &StoreKey, lattice: &str, sealed: &[u8]| {
            open(key, &LatticeId::parse(lattice).unwrap(), sealed).err()
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
    fn an_entry_opens_in_its_place_only() {
        let key = key(&cluster());
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = entry("x").seal(&key, &places()).unwrap();
        assert!(open(&key, &lattice, &sealed).unwrap().is_placed);
        for elsewhere in [
            Places::new("home2", "V1", "default"),
            Places::new("home", "V2", "default"),
            Places::new("home", "V1", "default2"),
        ] {
            let opened = Entry::open(&key, &elsewhere, &lattice, &sealed);
            assert_eq!(opened.err(), Some(Unopened::Moved));
        }
    }

    #[test]
    fn marks_differ_where_anything_does_but_the_time() {
        let key = FingerprintKey::new([7; 16]);
        let mark = |change: fn(&mut Entry)| {
            let mut entry = entry("x");
            change(&mut entry);
            entry.mark(&key)
        };
        let same = mark(|_| {});
        assert!(same == mark(|entry| entry.set_at = 7));
        let changes: [fn(&mut Entry); 8] = [
            |entry| entry.lattice = LatticeId::parse("y").unwrap(),
            |entry| entry.actor = "MOTHER".into(),
            |entry| entry.urls = "nats://h:4222".into(),
            |entry| entry.jwt = None,
            |entry| entry.jwt = Some("".into()),
            |entry| entry.seed = Some("SUAOTHER".into()),
            |entry| entry.js_domain = None,
            |entry| (entry.jwt, entry.seed) = (entry.seed.take(), entry.jwt.take()),
        ];
        for change in changes {
            assert!(mark(change) != same);
        }
        assert!(entry("x").mark(&FingerprintKey::new([8; 16])) != same);
    }

    #[test]
    fn an_entry_of_a_later_version_is_told_from_rubbish() {
        let key = key(&cluster());
        let lattice = LatticeId::parse("x").unwrap();
        let later = key.seal(br#"{"version":2,"lattice":7}"#).unwrap();
        assert_eq!(open(&key, &lattice, &later).err(), Some(Unopened::Version));
        let rubbish = key.seal(b"[1]").unwrap();
        assert_eq!(
            open(&key, &lattice, &rubbish).err(),
            Some(Unopened::Malformed)
        );
    }

    #[test]
    fn a_set_key_is_another_than_the_clusters() {
        let seed = nkeys::XKey::new().seed().unwrap();
        let key = StoreKey::from_seed(&seed.as_str().into()).unwrap();
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = entry("x").seal(&key, &places()).unwrap();
        assert!(open(&key, &lattice, &sealed).is_ok());
        for bad in ["", "SXAAA", cluster().as_str()] {
            let problem = StoreKey::from_seed(&bad.into()).err().unwrap();
            assert!(problem.contains("xkey"), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_opens(at in 0usize..200, by in 1u8..) {
            let key = key(&cluster());
            let mut sealed = entry("x").seal(&key, &places()).unwrap();
            let at = at % sealed.len();
            sealed[at] ^= by;
            let lattice = LatticeId::parse("x").unwrap();
            prop_assert_eq!(open(&key, &lattice, &sealed).err(), Some(Unopened::Sealed));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>, cut in 0usize..300) {
            let key = key(&cluster());
            let lattice = LatticeId::parse("x").unwrap();
            prop_assert!(open(&key, &lattice, &bytes).is_err());
            let mut sealed = entry("x").seal(&key, &places()).unwrap();
            sealed.truncate(cut.min(sealed.len() - 1));
            prop_assert!(open(&key, &lattice, &sealed).is_err());
        }
    }
}
