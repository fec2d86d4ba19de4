//! An operator, an account and users of a NATS server with JWT authentication,
//! minted here: keys and tokens exist for one test only.

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use super::secrets;

/// An operator with one account.
pub struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

/// A user's token and seed, planted.
pub struct User {
    pub jwt: String,
    pub seed: String,
    pub key: String,
}

impl Operator {
    pub fn new() -> Self {
        Self {
            operator: KeyPair::new(KeyPairType::Operator),
            account: KeyPair::new(KeyPairType::Account),
        }
    }

    /// Configuration of a server that trusts this operator.
    pub fn server_config(&self) -> String {
        let operator = token(
            &self.operator,
            &self.operator.public_key(),
            json!({ "type": "operator", "version": 2 }),
            0,
        );
        let account = token(
            &self.operator,
            &self.account.public_key(),
            json!({
                "type": "account", "version": 2,
                "limits": { "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                            "wildcards": true, "conn": -1, "leaf": -1 },
            }),
            0,
        );
        format!(
            "operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {account} }}\n",
            self.account.public_key()
        )
    }

    /// A user who may do everything, until `expires` (seconds since 1970; 0 is
    /// never).
    pub fn user(&self, expires: u64) -> User {
        let user = KeyPair::new(KeyPairType::User);
        let rights = json!({
            "type": "user", "version": 2, "pub": {}, "sub": {},
            "subs": -1, "data": -1, "payload": -1,
        });
        User {
            jwt: secrets::plant(token(&self.account, &user.public_key(), rights, expires)),
            seed: secrets::plant(user.seed().unwrap()),
            key: user.public_key(),
        }
    }
}

fn token(issuer: &KeyPair, subject: &str, nats: Value, expires: u64) -> String {
    let mut claims = json!({
        "jti": "test", "iat": 1_600_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject, "nats": nats,
    });
    if expires > 0 {
        claims["exp"] = expires.into();
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
