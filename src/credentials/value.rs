//! Servers of a lattice and a login there, checked when they are set.

use async_nats::ServerAddr;
use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::credentials::fingerprint::{Fingerprint, FingerprintKey};
use crate::credentials::given::GivenCredentials;
use crate::deadline::unix_time;
use crate::error::Error;
use crate::json;
use crate::nats::{Access, Login};

/// Servers of a lattice and how to log in there. Lattices with equal credentials
/// share a connection; the JetStream domain is no part of them.
#[derive(Clone, Debug)]
pub struct Credentials {
    access: Access,
    /// When they expire, in seconds since 1970; 0 is never.
    expires: u64,
}

impl Credentials {
    /// The message where there is a JWT without a seed.
    pub const NO_SEED: &str = "userSeed is missing: userJwt needs its seed";

    /// Checks that a seed is that of a user.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_seed(seed: &SecretString) -> Result<(), Error> {
        user_key(seed.expose_secret()).map(drop)
    }

    /// Checks what an actor gives now.
    ///
    /// # Errors
    /// `Invalid`: JWT without seed or seed without JWT, one that cannot be read,
    /// a pair that does not belong together, an expired JWT, an unusable URL.
    /// No message quotes any of them.
    pub fn new(given: &GivenCredentials) -> Result<Self, Error> {
        let credentials = Self::from_store(given)?;
        match credentials.expired() {
            Some(_) => Err(Error::invalid("userJwt has expired; set one that has not")),
            None => Ok(credentials),
        }
    }

    /// Checks what an actor gave some time ago: its JWT may have expired since.
    ///
    /// # Errors
    /// `Invalid`, as [`Credentials::new`], but not for an expired JWT.
    pub fn from_store(given: &GivenCredentials) -> Result<Self, Error> {
        let (login, expires) = match (&given.jwt, &given.seed) {
            (None, None) => (Login::Anonymous, 0),
            (Some(jwt), Some(seed)) => user_login(jwt.expose_secret(), seed.expose_secret())?,
            (Some(_), None) => {
                return Err(Error::invalid(Self::NO_SEED));
            }
            (None, Some(_)) => {
                return Err(Error::invalid("userJwt is missing: userSeed needs its JWT"));
            }
        };
        let access = Access::parse(given.urls.expose_secret(), login)
            .map_err(|e| Error::invalid(format!("natsUrl cannot be used: {e}")).caused_by(e))?;
        Ok(Self { access, expires })
    }

    /// Returns a sentence where the JWT has expired.
    pub(crate) fn expired(&self) -> Option<String> {
        let over = self.expires > 0 && self.expires <= unix_time().as_secs();
        over.then(|| "the user JWT has expired".to_owned())
    }

    /// Returns `host:port` of every server, separated by commas.
    pub fn address(&self) -> String {
        self.access.address()
    }

    /// Returns the kind of login for people: `anonymous`, `jwt`, …
    pub fn kind(&self) -> String {
        format!("{:?}", self.access.login())
    }

    /// Servers and login, for a dial.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Returns the keyed hash that equal credentials share.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        let servers = self.access.servers();
        let ports: Vec<String> = servers.iter().map(|one| one.port().to_string()).collect();
        let mut parts = Vec::new();
        for (server, port) in servers.iter().zip(&ports) {
            // Not the text of the URL: `h` and `nats://h:4222` are one server.
            parts.extend([server.scheme(), server.host(), port]);
            if server.is_websocket() {
                parts.push(path(server));
            }
        }
        match self.access.login() {
            Login::Anonymous => parts.push("anonymous"),
            // The JWT names the one user whose seed fits.
            Login::Jwt { jwt, .. } => parts.extend(["jwt", jwt.expose_secret()]),
            Login::Nkey(seed) => parts.extend(["nkey", seed.expose_secret()]),
            Login::Password { user, password } => {
                parts.extend(["password", user.expose_secret(), password.expose_secret()]);
            }
            Login::Token(token) => parts.extend(["token", token.expose_secret()]),
        }
        key.fingerprint(&parts)
    }
}

/// Returns the path of a server's URL, from its first slash on.
fn path(server: &ServerAddr) -> &str {
    let (_, rest) = server.as_url_str().split_once("://").unwrap_or_default();
    rest.find('/').map_or("", |start| &rest[start..])
}

/// Reads the seed of a user.
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
        Credentials::new(&GivenCredentials {
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
