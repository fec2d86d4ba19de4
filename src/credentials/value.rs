//! What a lattice is reached with, checked when it is set.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::ServerAddr;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::credentials::vault::Entry;
use crate::error::Error;
use crate::json;
use crate::nats::{Access, Login, Tls};

/// Servers of a lattice and how to log in there. Two equal ones share a
/// connection; the JetStream domain is no part of it.
#[derive(Clone, Debug)]
pub struct Credentials {
    access: Access,
    /// When they expire, in seconds since 1970; 0 is never.
    expires: u64,
}

impl Credentials {
    /// What is said of a JWT alone.
    pub const NO_SEED: &str = "userSeed is missing: userJwt needs its seed";

    /// Checks that a seed is that of a user.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_seed(seed: &SecretString) -> Result<(), Error> {
        user_key(seed.expose_secret()).map(drop)
    }

    /// Checks and takes what an actor set.
    ///
    /// # Errors
    /// `Invalid`: JWT without seed or seed without JWT, one that cannot be read,
    /// a pair that does not belong together, an expired JWT, an unusable URL.
    /// No message quotes any of them.
    pub fn new(set: &Entry) -> Result<Self, Error> {
        let credentials = Self::kept(set)?;
        match credentials.expired() {
            Some(_) => Err(Error::invalid("userJwt has expired; set one that has not")),
            None => Ok(credentials),
        }
    }

    /// The same for what was set before: it may have expired since.
    ///
    /// # Errors
    /// As [`Credentials::new`], but for that.
    pub fn kept(set: &Entry) -> Result<Self, Error> {
        let (login, expires) = match (&set.jwt, &set.seed) {
            (None, None) => (Login::Anonymous, 0),
            (Some(jwt), Some(seed)) => user_login(jwt.expose_secret(), seed.expose_secret())?,
            (Some(_), None) => {
                return Err(Error::invalid(Self::NO_SEED));
            }
            (None, Some(_)) => {
                return Err(Error::invalid("userJwt is missing: userSeed needs its JWT"));
            }
        };
        let access = Access::parse(set.urls.expose_secret(), login)
            .map_err(|problem| Error::invalid(format!("natsUrl cannot be used: {problem}")))?;
        Ok(Self { access, expires })
    }

    /// That they have expired, if they have.
    pub(crate) fn expired(&self) -> Option<String> {
        let over = self.expires > 0 && self.expires <= now();
        over.then(|| "the user JWT has expired".to_owned())
    }

    /// `host:port` of every server, separated by commas.
    pub fn address(&self) -> String {
        self.access.address()
    }

    /// How they log in, for people: `anonymous`, `jwt`, …
    pub fn kind(&self) -> String {
        format!("{:?}", self.access.login())
    }

    /// The same, with what TLS is checked and answered with. It is no part of
    /// what makes credentials the same: all of a provider have one.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self {
            access: self.access.with_tls(tls),
            ..self
        }
    }

    /// How to connect.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// What makes these credentials the same as others.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        part(&HEXLOWER.encode(&key.0[..]));
        for server in self.access.servers() {
            // Not its text: `h` and `nats://h:4222` are one server.
            part(server.scheme());
            part(server.host());
            part(&server.port().to_string());
            if server.is_websocket() {
                part(path(server));
            }
        }
        match self.access.login() {
            Login::Anonymous => part("anonymous"),
            // Which names the one user whose seed fits.
            Login::Jwt { jwt, .. } => {
                part("jwt");
                part(jwt.expose_secret());
            }
            Login::Nkey(seed) => {
                part("nkey");
                part(seed.expose_secret());
            }
            Login::Password { user, password } => {
                part("password");
                part(user.expose_secret());
                part(password.expose_secret());
            }
            Login::Token(token) => {
                part("token");
                part(token.expose_secret());
            }
        }
        Fingerprint(hash.finalize().into())
    }
}

/// The path of a server's URL, from its first slash on.
fn path(server: &ServerAddr) -> &str {
    let (_, rest) = server.as_url_str().split_once("://").unwrap_or_default();
    rest.find('/').map_or("", |start| &rest[start..])
}

/// The key of a user.
fn user_key(seed: &str) -> Result<KeyPair, Error> {
    KeyPair::from_seed(seed)
        .ok()
        .filter(|key| key.key_pair_type() == KeyPairType::User)
        .ok_or_else(|| Error::invalid("userSeed is not the seed of a NATS user (SU…)"))
}

fn user_login(jwt: &str, seed: &str) -> Result<(Login, u64), Error> {
    let key = user_key(seed)?;
    let claims = user_claims(jwt)
        .ok_or_else(|| Error::invalid("userJwt is not a NATS user JWT: it cannot be decoded"))?;
    if claims.sub != key.public_key() {
        return Err(Error::invalid(
            "userSeed does not belong to userJwt: they are of different users",
        ));
    }
    let login = Login::Jwt {
        jwt: SecretString::from(jwt),
        seed: SecretString::from(seed),
    };
    Ok((login, claims.exp))
}

/// Claims of a NATS user JWT that can be checked without its issuer.
#[derive(Deserialize)]
struct UserClaims {
    /// Public key of the user.
    sub: String,
    /// When it expires, in seconds since 1970; 0 or absent: never.
    #[serde(default)]
    exp: u64,
}

fn user_claims(jwt: &str) -> Option<UserClaims> {
    let mut parts = jwt.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    json::from_slice(&payload).ok()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Keeps fingerprints of those who share it from being compared with others.
pub struct FingerprintKey(Zeroizing<[u8; 16]>);

impl FingerprintKey {
    /// A key that others have, too.
    pub fn new(key: [u8; 16]) -> Self {
        Self(key.into())
    }

    /// A new key, from the randomness of the operating system.
    ///
    /// # Errors
    /// That it gives none.
    pub fn random() -> Result<Self, String> {
        let mut key = Zeroizing::new([0; 16]);
        getrandom::fill(&mut key[..])
            .map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
        Ok(Self(key))
    }

    /// Keyed hash of these parts, each told from the next.
    pub(crate) fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&self.0[..]);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Keyed hash of credentials. Shows its first eight digits only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::LatticeId;

    const URL: &str = "nats://127.0.0.1:4222";

    fn jwt(sub: &str, exp: u64) -> String {
        let payload = serde_json::json!({ "sub": sub, "exp": exp }).to_string();
        format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes()))
    }

    fn new(urls: &str, jwt: Option<&str>, seed: Option<&str>) -> Result<Credentials, Error> {
        Credentials::new(&Entry {
            lattice: LatticeId::parse("x").unwrap(),
            actor: "M".into(),
            set_at: 0,
            urls: urls.into(),
            jwt: jwt.map(SecretString::from),
            seed: seed.map(SecretString::from),
            js_domain: None,
        })
    }

    fn problem(urls: &str, jwt: Option<&str>, seed: Option<&str>) -> String {
        let error = new(urls, jwt, seed).unwrap_err().to_string();
        for secret in [jwt, seed].into_iter().flatten() {
            assert!(!error.contains(secret), "{error}");
        }
        error
    }

    #[test]
    fn credentials_that_cannot_work_are_refused_when_set() {
        let user = KeyPair::new(KeyPairType::User);
        let seed = user.seed().unwrap();
        let good = jwt(&user.public_key(), 0);
        assert!(new(URL, Some(&good), Some(&seed)).is_ok());
        assert!(problem(URL, Some(&good), None).contains("userSeed is missing"));
        assert!(problem(URL, None, Some(&seed)).contains("userJwt is missing"));
        assert!(problem(URL, Some("a.b"), Some(&seed)).contains("cannot be decoded"));
        assert!(problem(URL, Some(&good), Some("SUAAA")).contains("not the seed"));
        let account = KeyPair::new(KeyPairType::Account).seed().unwrap();
        assert!(problem(URL, Some(&good), Some(&account)).contains("not the seed"));
        let other = KeyPair::new(KeyPairType::User).seed().unwrap();
        assert!(problem(URL, Some(&good), Some(&other)).contains("does not belong"));
        let old = jwt(&user.public_key(), 1_000);
        assert!(problem(URL, Some(&old), Some(&seed)).contains("expired"));
        assert!(problem("http://x", None, None).contains("natsUrl"));
    }

    #[test]
    fn equal_credentials_have_equal_fingerprints_and_others_do_not() {
        let key = FingerprintKey::random().unwrap();
        let print = |url: &str| new(url, None, None).unwrap().fingerprint(&key);
        assert_eq!(print("nats://h:4222"), print("h"));
        assert_ne!(print("nats://h"), print("nats://i"));
        assert_ne!(print("nats://a:b@h"), print("nats://a:c@h"));
        assert_ne!(print("nats://a@h"), print("nats://h"));
        assert_ne!(print("nats://a:@h"), print("nats://a@h"));
        assert_eq!(print("nats://h/"), print("h"));
        assert_eq!(print("ws://h"), print("ws://h:80/"));
        assert_ne!(print("ws://h/a"), print("ws://h/b"));
        let other = FingerprintKey::random().unwrap();
        let credentials = new("h", None, None).unwrap();
        assert_ne!(
            credentials.fingerprint(&key),
            credentials.fingerprint(&other)
        );
    }
}
