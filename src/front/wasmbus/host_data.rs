//! Host data: one line of base64 JSON that the host writes to the provider's standard input.
//! Reads what hosts from 0.50 to 0.82 send, and the test harness.

use std::time::Duration;

use data_encoding::{BASE64_NOPAD, DecodeError};
use nkeys::KeyPair;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::without_values;
use crate::front::wasmbus::link_definition::{WireLinkDefinition, or_default};
use crate::json;
use crate::name::{JsDomain, is_token};
use crate::nats::{Access, AccessError, Login, LoginMembers, LoginTextError};
use crate::serve::links::LinkDefinition;

/// Most bytes that are read of a line.
const MAX_LINE: u64 = 64 * 1024 * 1024;
/// The time that hosts give a call if they do not say it.
const DEFAULT_RPC_TIMEOUT: Duration = Duration::from_millis(2000);
/// What some editors and shells put in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Host id that turns on test mode (wasmcloud-test-util).
const TEST_HOST: &str = "_TEST_";

/// Why the provider cannot start with what is on its standard input. Quotes nothing of it: host
/// data holds seeds.
#[derive(Debug, thiserror::Error)]
pub enum HostDataError {
    /// Nothing can be read.
    #[error("no host data on standard input: {0}")]
    NoInput(#[from] std::io::Error),
    /// It is not text.
    #[error("no host data on standard input: it is not UTF-8")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// The line is blank.
    #[error("no host data on standard input: this program is started by a wasmCloud host")]
    Blank,
    /// It is not base64.
    #[error("host data is not base64")]
    NotBase64(#[from] DecodeError),
    /// It is not JSON, or a member is of another type.
    #[error("host data is not the JSON object it should be: {0}")]
    NotTheObject(String),
    /// A member cannot be part of a subject.
    #[error("host data: {0} is missing or no token of a NATS subject")]
    NotToken(&'static str),
    /// The lattice cannot be part of a subject.
    #[error("host data: lattice_rpc_prefix is missing or no NATS subject")]
    NotPrefix,
    /// The JWT or the seed cannot be read.
    #[error("host data: {0}")]
    Login(#[from] LoginTextError),
    /// There is a JWT and no seed.
    #[error("host data: lattice_rpc_user_jwt without lattice_rpc_user_seed")]
    NoSeed,
    /// The seed is not one.
    #[error("host data: lattice_rpc_user_seed is no seed")]
    NotSeed(#[from] nkeys::error::Error),
    /// The servers cannot be used, or not with the login or with TLS.
    #[error("host data: lattice_rpc_url cannot be used: {0}")]
    Url(#[from] AccessError),
}

/// What the host says at the start. Seeds are in types that cannot be printed. The cluster
/// seed could sign as any actor: it is taken out to derive other keys from it, and not kept.
pub struct HostData {
    /// Public key of the host, or `_TEST_`.
    pub host_id: String,
    /// The provider's lattice.
    pub lattice: String,
    /// Public key of the provider.
    pub provider_key: String,
    /// The provider's link name.
    pub link_name: String,
    /// NATS of the provider's lattice; over TLS only, if the host asks for that.
    pub access: Access,
    /// JetStream domain of the provider's lattice. Only OTP hosts say it.
    pub js_domain: Option<JsDomain>,
    /// Links that exist already.
    pub links: Vec<LinkDefinition>,
    /// Public keys that sign invocations.
    pub cluster_issuers: Vec<String>,
    /// Signs invocations; other keys are derived from it.
    pub cluster_seed: Option<SecretString>,
    /// The provider's settings, not parsed yet.
    pub config_json: Option<SecretString>,
    /// The time that hosts give a call.
    pub rpc_timeout: Duration,
    /// Whether to log as JSON.
    pub structured_logging: bool,
    /// Level to log at.
    pub log_level: Option<String>,
}

/// The JSON object. Every member may be missing or null.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(deserialize_with = "or_default")]
    host_id: String,
    #[serde(deserialize_with = "or_default")]
    lattice_rpc_prefix: String,
    #[serde(deserialize_with = "or_default")]
    link_name: String,
    #[serde(deserialize_with = "or_default")]
    lattice_rpc_user_jwt: Zeroizing<String>,
    #[serde(deserialize_with = "or_default")]
    lattice_rpc_user_seed: Zeroizing<String>,
    #[serde(deserialize_with = "or_default")]
    lattice_rpc_url: Zeroizing<String>,
    /// Whether the connection must have TLS. Only OTP hosts say it.
    lattice_rpc_tls: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    provider_key: String,
    #[serde(deserialize_with = "readable")]
    link_definitions: Vec<WireLinkDefinition>,
    #[serde(deserialize_with = "readable")]
    cluster_issuers: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    config_json: Zeroizing<String>,
    #[serde(deserialize_with = "or_default")]
    invocation_seed: Zeroizing<String>,
    default_rpc_timeout_ms: Option<Value>,
    structured_logging: Option<Value>,
    log_level: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    js_domain: String,
}

/// Reads a list without those of its members that cannot be read: one odd link must not keep
/// the provider from starting.
fn readable<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let members: Vec<Value> = or_default(input)?;
    let read = members.into_iter().map(json::from_value);
    Ok(read.filter_map(Result::ok).collect())
}

impl HostData {
    /// Reads the first line of `input`. What follows, and its end, mean nothing: Rust hosts
    /// close it at once, OTP hosts never.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(input: impl std::io::Read) -> Result<Self, HostDataError> {
        let line = first_line(input.take(MAX_LINE))?;
        let line = std::str::from_utf8(&line)?;
        if line.trim().is_empty() {
            return Err(HostDataError::Blank);
        }
        Self::parse(line)
    }

    /// Reads a line of host data: base64, with or without padding and line end.
    ///
    /// # Errors
    /// As [`HostData::read`].
    pub fn parse(line: &str) -> Result<Self, HostDataError> {
        let around = |c: char| c.is_whitespace() || c == BYTE_ORDER_MARK;
        let text = line.trim_matches(around).trim_end_matches('=').as_bytes();
        let text = Zeroizing::new(BASE64_NOPAD.decode(text)?);
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        let raw: Raw = json::from_slice(text)
            .map_err(|error| HostDataError::NotTheObject(without_values(&error.to_string())))?;
        Self::checked(raw)
    }

    fn checked(raw: Raw) -> Result<Self, HostDataError> {
        for (name, value) in [
            ("provider_key", &raw.provider_key),
            ("link_name", &raw.link_name),
        ] {
            if !is_token(value) {
                return Err(HostDataError::NotToken(name));
            }
        }
        // A prefix with dots works on hosts up to 0.82 for RPC.
        if !raw.lattice_rpc_prefix.split('.').all(is_token) {
            return Err(HostDataError::NotPrefix);
        }
        let url = match raw.lattice_rpc_url.trim() {
            "" => "nats://127.0.0.1:4222",
            url => url,
        };
        let login = login(&raw.lattice_rpc_user_jwt, &raw.lattice_rpc_user_seed)?;
        let access = Access::parse(url, login)?;
        let access = match raw.lattice_rpc_tls.as_ref().is_some_and(is_yes) {
            true => access.over_tls_only()?,
            false => access,
        };
        Ok(Self {
            host_id: raw.host_id,
            lattice: raw.lattice_rpc_prefix,
            provider_key: raw.provider_key,
            link_name: raw.link_name,
            access,
            js_domain: JsDomain::parse(raw.js_domain.trim()).ok(),
            links: raw.link_definitions.into_iter().map(Into::into).collect(),
            cluster_issuers: raw.cluster_issuers,
            cluster_seed: secret(&raw.invocation_seed),
            config_json: secret(&raw.config_json),
            rpc_timeout: raw
                .default_rpc_timeout_ms
                .and_then(|value| value.as_u64())
                .filter(|ms| *ms > 0)
                .map_or(DEFAULT_RPC_TIMEOUT, |ms| {
                    Duration::from_millis(ms.min(3_600_000))
                }),
            structured_logging: raw.structured_logging.is_some_and(|value| match value {
                Value::Bool(flag) => flag,
                Value::Number(number) => number.as_u64() == Some(1),
                Value::String(text) => text == "true",
                _ => false,
            }),
            log_level: raw
                .log_level
                .and_then(|value| value.as_str().map(str::to_owned)),
        })
    }

    /// Whether the test harness started the provider. It sends JSON where hosts send
    /// MessagePack.
    pub fn test_mode(&self) -> bool {
        self.host_id == TEST_HOST
    }
}

/// Returns a secret, in memory of just its size: to shrink a larger one would copy the text
/// and leave the old copy behind.
fn secret(text: &str) -> Option<SecretString> {
    (!text.trim().is_empty()).then(|| SecretString::from(text))
}

/// Reads to the end of a line; bytes after it may be lost. Every buffer that held the line is
/// overwritten, also one that became too small for it.
fn first_line(mut input: impl std::io::Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // Larger than the buffer of standard input, which keeps a copy of smaller reads.
    let mut line = Zeroizing::new(Vec::with_capacity(64 * 1024));
    loop {
        if line.len() == line.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(line.capacity() * 2));
            larger.extend_from_slice(&line);
            line = larger;
        }
        let (end, room) = (line.len(), line.capacity());
        line.resize(room, 0);
        let read = match input.read(&mut line[end..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                line.truncate(end);
                continue;
            }
            read => read?,
        };
        let ends_at = line[end..end + read].iter().position(|byte| *byte == b'\n');
        line.truncate(end + ends_at.unwrap_or(read));
        if read == 0 || ends_at.is_some() {
            return Ok(line);
        }
    }
}

/// The members of host data that are a login.
const MEMBERS: LoginMembers = LoginMembers {
    jwt: "lattice_rpc_user_jwt",
    seed: "lattice_rpc_user_seed",
};

fn login(jwt: &str, seed: &str) -> Result<Login, HostDataError> {
    let (jwt, seed) = match (MEMBERS.jwt(jwt)?, MEMBERS.seed(seed)?) {
        (None, None) => return Ok(Login::Anonymous),
        (Some(_), None) => return Err(HostDataError::NoSeed),
        (jwt, Some(seed)) => (jwt, seed),
    };
    KeyPair::from_seed(seed.expose_secret())?;
    Ok(match jwt {
        None => Login::Nkey(seed),
        Some(jwt) => Login::Jwt { jwt, seed },
    })
}

/// Whether a host means yes. OTP hosts send a number or a boolean. Anything else that is not
/// plainly no counts as yes, which is the safe side: nothing is sent in the clear.
fn is_yes(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            !matches!(text.as_str(), "" | "0" | "false" | "no" | "off")
        }
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;

    const OTP: &str = r#"{"host_id":"N1","lattice_rpc_prefix":"default","link_name":"default",
        "lattice_rpc_user_jwt":"","lattice_rpc_user_seed":"","lattice_rpc_url":"127.0.0.1:4299",
        "lattice_rpc_tls":0,"provider_key":"V1","invocation_seed":"SCXXX","env_values":{},
        "instance_id":"i","link_definitions":[{"actor_id":"M1","provider_id":"V1",
        "link_name":"default","contract_id":"c","values":{"a":"b"},"id":"x"}],
        "cluster_issuers":["C1"],"config_json":"","default_rpc_timeout_ms":3000,
        "structured_logging":true,"log_level":"notice","js_domain":"hub"}"#;

    fn encoded(json: &str) -> String {
        BASE64.encode(json.as_bytes())
    }

    #[test]
    fn host_data_of_every_kind_of_host_is_read() {
        let padded = encoded(OTP);
        let bare = padded.trim_end_matches('=');
        for line in [
            format!("{padded}\n"),
            format!("{padded}\r\n"),
            format!("{bare}\r\n"),
            bare.to_owned(),
        ] {
            let data = HostData::read(line.as_bytes()).unwrap();
            assert_eq!(data.access.address(), "127.0.0.1:4299");
            assert_eq!(data.rpc_timeout, Duration::from_secs(3));
            assert_eq!(data.links.len(), 1);
            assert!(data.config_json.is_none() && data.structured_logging);
            assert_eq!(data.js_domain.unwrap().as_str(), "hub");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_host_data() {
        for line in [
            format!("\u{feff}{}\r\n", encoded(OTP)),
            encoded(&format!("\u{feff}{OTP}")),
        ] {
            let data = HostData::read(line.as_bytes()).unwrap();
            assert_eq!(data.access.address(), "127.0.0.1:4299");
        }
    }

    #[test]
    fn a_host_that_asks_for_tls_is_reached_over_nothing_else() {
        let read = |asks: &str, url: &str| {
            let json = OTP.replace(
                "\"lattice_rpc_tls\":0",
                &format!("\"lattice_rpc_tls\":{asks}"),
            );
            let data = HostData::parse(&encoded(&json.replace("127.0.0.1:4299", url)))?;
            let servers = data.access.servers().iter();
            Ok::<_, HostDataError>(
                servers
                    .map(|s| s.as_url_str().to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        for asks in ["1", "true", "\"true\"", "\"1\"", "2"] {
            let servers = read(asks, "h:1,nats://i:2,tls://j").unwrap();
            assert_eq!(servers, ["tls://h:1", "tls://i:2", "tls://j"], "{asks}");
            let problem = read(asks, "ws://h").unwrap_err().to_string();
            assert!(problem.contains("wss://"), "{asks}: {problem}");
        }
        for asks in ["0", "false", "null", "\"\"", "\"false\"", "0.0"] {
            assert_eq!(read(asks, "h:1").unwrap(), ["nats://h:1"], "{asks}");
            assert!(read(asks, "ws://h").is_ok(), "{asks}");
        }
    }

    #[test]
    fn a_login_is_taken_as_it_was_pasted() {
        let seed = KeyPair::new_user().seed().unwrap();
        let armoured =
            format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------");
        for pasted in [seed.clone(), format!("\u{feff}\"{seed}\"\r\n"), armoured] {
            let login = login("", &pasted).unwrap();
            assert!(matches!(login, Login::Nkey(taken) if taken.expose_secret() == seed));
        }
        let problem = login("-----BEGIN USER NKEY SEED-----", "").unwrap_err();
        let problem = problem.to_string();
        assert!(
            problem.contains("belongs in lattice_rpc_user_seed"),
            "{problem}"
        );
        let problem = login("a.b.c", &seed).unwrap_err().to_string();
        assert!(
            problem.contains("lattice_rpc_user_jwt is not a NATS user JWT"),
            "{problem}"
        );
    }

    #[test]
    fn null_missing_and_unknown_members_are_fine() {
        let line = encoded(
            r#"{"lattice_rpc_prefix":"x","link_name":"l","provider_key":"V1","future":[1],
            "host_id":null,"lattice_rpc_user_jwt":null,"lattice_rpc_user_seed":null,
            "lattice_rpc_url":null,"env_values":null,"link_definitions":null,
            "cluster_issuers":null,"config_json":null,"structured_logging":null,
            "log_level":null,"js_domain":null,"default_rpc_timeout_ms":null}"#,
        );
        let data = HostData::parse(&line).unwrap();
        assert_eq!(data.access.address(), "127.0.0.1:4222");
        assert_eq!(data.rpc_timeout, Duration::from_secs(2));
        assert!(!data.test_mode());
    }

    #[test]
    fn one_odd_link_or_issuer_does_not_cost_the_others() {
        let line = encoded(
            r#"{"lattice_rpc_prefix":"x","link_name":"l","provider_key":"V1",
            "link_definitions":[7,["M2","V1","l","c",{}],{"actor_id":"M1","values":{"a":null,"b":"c"}}],
            "cluster_issuers":[null,"C1"]}"#,
        );
        let data = HostData::parse(&line).unwrap();
        assert_eq!(data.cluster_issuers, ["C1"]);
        assert_eq!(data.links.len(), 1);
        assert_eq!(data.links[0].values.len(), 1);
    }

    #[test]
    fn unreadable_host_data_is_refused_without_quoting_it() {
        let seed = "SUAKEKSRSQXWPVQTJ44OVUHIXZBA6SEKRET";
        let cases = [
            "".to_owned(),
            "\n".to_owned(),
            "%%%".to_owned(),
            encoded("[1]"),
            encoded(r#"["N1","x","l","","","","V1"]"#),
            encoded(&format!(
                r#"{{"env_values":{{}},"cluster_issuers":"{seed}"}}"#
            )),
            encoded(&format!(
                r#"{{"lattice_rpc_prefix":"x","link_name":"l","provider_key":"V1",
                "lattice_rpc_user_seed":"{seed}"}}"#
            )),
            encoded(r#"{"lattice_rpc_prefix":"a b","link_name":"l","provider_key":"V1"}"#),
            encoded(r#"{"lattice_rpc_prefix":"x","link_name":"*","provider_key":"V1"}"#),
            encoded(r#"{"lattice_rpc_prefix":"x","link_name":"l"}"#),
        ];
        for line in cases {
            let problem = HostData::read(line.as_bytes()).err().unwrap().to_string();
            assert!(!problem.contains(seed), "{problem}");
        }
    }
}
