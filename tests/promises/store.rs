//! An entry of the bucket of credentials opens only where it was sealed with
//! the key, unchanged and for its place; and whatever it holds is then used or
//! refused.

use std::sync::OnceLock;

use lattice_controller::internals::credentials::vault::key::SealingKey;
use lattice_controller::internals::credentials::vault::place::Places;
use lattice_controller::internals::credentials::vault::sealed::{Opened, Sealer, Unopened};
use lattice_controller::internals::credentials::{Credentials, FingerprintKey, GivenCredentials};
use lattice_controller::internals::name::{JsDomain, LatticeId};
use lattice_controller::internals::settings::Unplaced;
use nkeys::{KeyPairType, XKey};
use secrecy::SecretString;
use serde_json::json;

use super::invocation::edited;

/// Checks the promise. The input is an entry, the changes of a sealed one, and
/// the text that is sealed.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    let lattice = LatticeId::parse("x").unwrap();
    let key = SealingKey::from_seed(&seed()).unwrap();
    let opened = sealer(&key, &places()).open(&lattice, input);
    assert_eq!(opened.err(), Some(Unopened::Sealed));

    let sealed = sealed(&key);
    let changed = edited(sealed, input);
    match sealer(&key, &places()).open(&lattice, &changed) {
        Ok(_) => assert!(changed == sealed, "another entry opens"),
        Err(why) => assert_eq!(why, Unopened::Sealed),
    }

    // This may have been written by a later version, or by somebody who has the
    // key.
    let xkey = XKey::new_from_raw([7; 32]);
    let others = xkey.seal(input, &xkey).unwrap();
    let text = String::from_utf8_lossy(input);
    match sealer(&key, &places()).open(&lattice, &others) {
        Ok(Opened { given: entry, .. }) => {
            assert_eq!(entry.lattice, lattice);
            assert!(text.contains(r#""version""#));
            check_credentials(&entry);
        }
        Err(why) => assert_ne!(why, Unopened::Sealed),
    }
    let texts = super::texts(input);
    let text = |at: usize| {
        texts
            .get(at)
            .map(|text| format!("{}{text}", super::secret()).into())
    };
    let plain = texts.first().cloned().unwrap_or_default();
    for urls in [plain, format!("nats://{}@h", super::secret())] {
        check_credentials(&GivenCredentials {
            lattice: lattice.clone(),
            actor: "M1".into(),
            set_at: 0,
            urls: urls.into(),
            jwt: text(1),
            seed: text(2),
            js_domain: texts.get(3).and_then(|text| JsDomain::parse(text).ok()),
        });
    }
}

fn check_credentials(entry: &GivenCredentials) {
    for taken in [Credentials::new(entry), Credentials::from_store(entry)] {
        match taken {
            Ok(credentials) => {
                let shown = format!("{credentials:?} {}", credentials.kind());
                assert!(!shown.contains(&super::secret()), "{shown}");
                let key = FingerprintKey::new([7; 16]);
                let _ = (credentials.address(), credentials.fingerprint(&key));
            }
            Err(error) => super::check_message(&error.to_string(), 300),
        }
    }
}

fn seed() -> SecretString {
    XKey::new_from_raw([7; 32]).seed().unwrap().into()
}

fn sealer<'a>(key: &'a SealingKey, places: &'a Places) -> Sealer<'a> {
    Sealer {
        key,
        places,
        unplaced: Unplaced::Accepted,
    }
}

fn places() -> Places {
    Places::new("home", "V1", "default")
}

/// Makes an entry that opens.
fn sealed(key: &SealingKey) -> &'static [u8] {
    static SEALED: OnceLock<Vec<u8>> = OnceLock::new();
    SEALED.get_or_init(|| {
        let entry = GivenCredentials {
            lattice: LatticeId::parse("x").unwrap(),
            actor: "MACTOR".into(),
            set_at: 1_700_000_000_000,
            urls: "nats://alice:s3cret@h:4222".into(),
            jwt: Some("a-jwt".into()),
            seed: Some("SUASEED".into()),
            js_domain: Some(JsDomain::parse("hub").unwrap()),
        };
        sealer(key, &places()).seal(&entry).unwrap()
    })
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let user = super::key(KeyPairType::User);
    let claims = json!({ "sub": user.public_key(), "exp": 4_000_000_000_u64 }).to_string();
    let jwt = data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes());
    let plain = json!({
        "version": 1, "lattice": "x", "actor": "M1", "set_at": u64::MAX,
        "urls": "nats://h:1,tls://i", "jwt": format!("e30.{jwt}.e30"),
        "seed": user.seed().unwrap(), "js_domain": "hub",
    });
    let mut moved = plain.clone();
    moved["lattice"] = "y".into();
    let mut placed = plain.clone();
    placed["place"] = "LATTICECREDS_home/V1.default.x".into();
    let mut misplaced = plain.clone();
    misplaced["place"] = "LATTICECREDS_home/V2.default.x".into();
    vec![
        placed.to_string().into_bytes(),
        misplaced.to_string().into_bytes(),
        plain.to_string().into_bytes(),
        moved.to_string().into_bytes(),
        br#"{"version":2}"#.to_vec(),
        super::of_texts(&["nats://u:p@h,ws://i", "a.b.c", "SUA", "hub"]),
        vec![60, 0, 3, 1],
    ]
}
