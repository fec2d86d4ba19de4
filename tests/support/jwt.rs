//! An operator, an account and users of a NATS server with JWT authentication.
//! Their keys and tokens are made here and exist for one test only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use super::nats::NatsServer;
use super::secrets;

/// An operator with one account beside the system account.
pub struct Operator {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

/// A user's token and seed, remembered as secrets that no log may show.
pub struct User {
    pub jwt: String,
    pub seed: String,
    pub key: String,
}

/// What an account may do, and which of its users are revoked.
#[derive(Default)]
pub struct Account<'a> {
    /// The most connections at once.
    pub connections: Option<u32>,
    /// The public keys of revoked users.
    pub revoked: &'a [&'a str],
    /// The most subscriptions of a connection.
    pub subscriptions: Option<u32>,
    /// The most bytes of a message.
    pub payload: Option<u32>,
    /// Whether it may use JetStream.
    pub jetstream: bool,
}

impl Operator {
    pub fn new() -> Self {
        Self {
            operator: KeyPair::new(KeyPairType::Operator),
            system: KeyPair::new(KeyPairType::Account),
            account: KeyPair::new(KeyPairType::Account),
        }
    }

    /// Returns the configuration of a server that trusts this operator.
    pub fn server_config(&self) -> String {
        self.server_config_with(&Account::default())
    }

    /// Returns the configuration of a server that trusts this operator and has
    /// this account.
    pub fn server_config_with(&self, account: &Account<'_>) -> String {
        let operator = token(
            &self.operator,
            &self.operator.public_key(),
            json!({ "type": "operator", "version": 2 }),
            0,
        );
        let system = self.account_token(&self.system, &Account::default());
        let account = self.account_token(&self.account, account);
        let (system_key, account_key) = (self.system.public_key(), self.account.public_key());
        format!(
            "operator: {operator}\nsystem_account: {system_key}\nresolver: MEMORY\n\
             resolver_preload: {{\n{system_key}: {system}\n{account_key}: {account}\n}}\n"
        )
    }

    fn account_token(&self, key: &KeyPair, account: &Account<'_>) -> String {
        let connections = account.connections.map_or(-1, i64::from);
        let subscriptions = account.subscriptions.map_or(-1, i64::from);
        let revoked = account.revoked.iter().map(|key| (*key, json!(now())));
        let mut claims = json!({
            "type": "account", "version": 2,
            "limits": { "subs": subscriptions, "data": -1, "payload": account.payload.map_or(-1, i64::from), "imports": -1, "exports": -1,
                        "wildcards": true, "conn": connections, "leaf": -1 },
            "revocations": revoked.collect::<HashMap<_, _>>(),
        });
        if account.jetstream {
            for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
                claims["limits"][limit] = json!(-1);
            }
        }
        token(&self.operator, &key.public_key(), claims, 0)
    }

    /// Gives a running server this account in the place of its present one. The
    /// server has acted on it when this returns.
    pub async fn update(&self, server: &NatsServer, account: &Account<'_>) {
        let system = connect(user_of(&self.system, &json!({}), 0), server).await;
        let subject = format!(
            "$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE",
            self.account.public_key()
        );
        let token = self.account_token(&self.account, account);
        let answer = system.request(subject, token.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer["data"]["code"], 200, "{answer}");
    }

    /// Makes a user who may do everything until `expires` (seconds since 1970;
    /// 0 is never).
    pub fn user(&self, expires: u64) -> User {
        user_of(&self.account, &json!({}), expires)
    }

    /// Connects a client that may do everything.
    pub async fn client(&self, server: &NatsServer) -> async_nats::Client {
        connect(self.user(0), server).await
    }

    /// Makes a user with these permissions and limits, such as `{ "pub": {
    /// "allow": ["x"] }, "sub": …, "subs": 10, "payload": 300 }`.
    pub fn user_with(&self, permissions: &Value) -> User {
        user_of(&self.account, permissions, 0)
    }
}

async fn connect(user: User, server: &NatsServer) -> async_nats::Client {
    let key = Arc::new(KeyPair::from_seed(&user.seed).unwrap());
    let options = async_nats::ConnectOptions::with_jwt(user.jwt, move |nonce| {
        let key = key.clone();
        async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
    });
    options.connect(server.url()).await.unwrap()
}

/// Returns the seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn user_of(account: &KeyPair, permissions: &Value, expires: u64) -> User {
    let user = KeyPair::new(KeyPairType::User);
    let of = |what: &str| permissions.get(what).cloned().unwrap_or(json!({}));
    let most = |what: &str| permissions.get(what).cloned().unwrap_or(json!(-1));
    let rights = json!({
        "type": "user", "version": 2, "pub": of("pub"), "sub": of("sub"),
        "subs": most("subs"), "data": -1, "payload": most("payload"),
    });
    User {
        jwt: secrets::plant(token(account, &user.public_key(), rights, expires)),
        seed: secrets::plant(user.seed().unwrap()),
        key: user.public_key(),
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
