//! Sealed credentials: what an actor gave for a lattice, as it stands in the bucket.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::credentials::given::GivenCredentials;
use crate::credentials::vault::json;
use crate::credentials::vault::key::SealingKey;
use crate::credentials::vault::place::Places;
use crate::name::{JsDomain, LatticeId};
use crate::settings::Unplaced;

/// Version of the format.
const VERSION: u32 = 1;

/// Why sealed credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// They were sealed with another key, or changed since.
    Sealed,
    /// They have a version that this program does not know.
    Version,
    /// They were written for another lattice, key or bucket: somebody moved them.
    Moved,
    /// They do not say where they belong, and such are refused
    /// (`unplaced_credentials`).
    Unplaced,
    /// This program writes nothing like it.
    Malformed,
}

/// The JSON that is sealed.
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
    /// Where it belongs ([`Places::of`]). Releases that do not know this member
    /// ignore it, and do not write it.
    place: &'a str,
}

/// The same JSON when it is read. Secrets stay in the buffer, unparsed.
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

/// The member that every version of the format has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Credentials that were opened.
pub struct Opened {
    /// What an actor gave.
    pub given: GivenCredentials,
    /// Whether they say where they belong. If so, that is where they were found.
    pub is_placed: bool,
}

/// Seals credentials for their place; `None` where that fails.
pub fn seal(given: &GivenCredentials, key: &SealingKey, places: &Places) -> Option<Vec<u8>> {
    fn secret(text: &Option<SecretString>) -> Option<&str> {
        text.as_ref().map(|text| text.expose_secret())
    }
    let plain = Plain {
        version: VERSION,
        lattice: given.lattice.as_str(),
        actor: &given.actor,
        set_at: given.set_at,
        urls: given.urls.expose_secret(),
        jwt: secret(&given.jwt),
        seed: secret(&given.seed),
        js_domain: given.js_domain.as_ref().map(|domain| domain.as_str()),
        place: &places.of(&given.lattice),
    };
    key.seal(&json::written(&plain)?)
}

/// Opens credentials that were found in the place of a lattice.
///
/// # Errors
/// Why they cannot be used.
pub fn open(
    key: &SealingKey,
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
    let given = GivenCredentials {
        lattice: lattice.clone(),
        actor: read.actor,
        set_at: read.set_at,
        urls: secret(read.urls)?,
        jwt: read.jwt.map(secret).transpose()?,
        seed: read.seed.map(secret).transpose()?,
        js_domain: js_domain.map_err(|_| Unopened::Malformed)?,
    };
    Ok(Opened {
        given,
        is_placed: read.place.is_some(),
    })
}

/// Seals and opens the credentials of one provider, as its settings say.
#[derive(Clone, Copy)]
pub(super) struct Sealer<'a> {
    pub(super) key: &'a SealingKey,
    pub(super) places: &'a Places,
    /// What becomes of credentials that do not say where they belong.
    pub(super) unplaced: Unplaced,
}

impl Sealer<'_> {
    pub(super) fn seal(&self, given: &GivenCredentials) -> Option<Vec<u8>> {
        seal(given, self.key, self.places)
    }

    pub(super) fn open(&self, lattice: &LatticeId, sealed: &[u8]) -> Result<Opened, Unopened> {
        let opened = open(self.key, self.places, lattice, sealed)?;
        match opened.is_placed || self.unplaced == Unplaced::Accepted {
            true => Ok(opened),
            false => Err(Unopened::Unplaced),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(lattice: &str) -> GivenCredentials {
        GivenCredentials {
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

    fn open(key: &SealingKey, lattice: &LatticeId, sealed: &[u8]) -> Result<Opened, Unopened> {
        super::open(key, &places(), lattice, sealed)
    }

    fn sealed(lattice: &str, key: &SealingKey) -> Vec<u8> {
        seal(&given(lattice), key, &places()).unwrap()
    }

    fn key(seed: &str) -> SealingKey {
        SealingKey::of_cluster(&seed.into()).unwrap()
    }

    fn cluster() -> String {
        let pair = nkeys::KeyPair::new(nkeys::KeyPairType::Cluster);
        pair.seed().unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_under_the_same_lattice_only() {
        let (ours, theirs) = (cluster(), cluster());
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = sealed("x", &key(&ours));
        let opened = open(&key(&ours), &lattice, &sealed).unwrap().given;
        assert_eq!(opened.urls.expose_secret(), "nats://alice:s3cret@h:4222");
        assert_eq!(opened.seed.unwrap().expose_secret(), "SUASEED");
        assert_eq!(
            (opened.actor.as_str(), opened.set_at),
            ("MACTOR", 1_700_000_000_000)
        );
        assert_eq!(opened.js_domain.unwrap().as_str(), "hub");
        let refused = |key: &SealingKey, lattice: &str, sealed: &[u8]| {
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
    fn sealed_credentials_open_in_their_place_only() {
        let key = key(&cluster());
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = sealed("x", &key);
        assert!(open(&key, &lattice, &sealed).unwrap().is_placed);
        for elsewhere in [
            Places::new("home2", "V1", "default"),
            Places::new("home", "V2", "default"),
            Places::new("home", "V1", "default2"),
        ] {
            let opened = super::open(&key, &elsewhere, &lattice, &sealed);
            assert_eq!(opened.err(), Some(Unopened::Moved));
        }
    }

    #[test]
    fn a_later_version_differs_from_rubbish() {
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
        let key = SealingKey::from_seed(&seed.as_str().into()).unwrap();
        let lattice = LatticeId::parse("x").unwrap();
        let sealed = sealed("x", &key);
        assert!(open(&key, &lattice, &sealed).is_ok());
        for bad in ["", "SXAAA", cluster().as_str()] {
            assert!(SealingKey::from_seed(&bad.into()).is_none());
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_opens(at in 0usize..200, by in 1u8..) {
            let key = key(&cluster());
            let mut sealed = sealed("x", &key);
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
            let mut sealed = sealed("x", &key);
            sealed.truncate(cut.min(sealed.len() - 1));
            prop_assert!(open(&key, &lattice, &sealed).is_err());
        }
    }
}
