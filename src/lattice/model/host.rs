//! What a host says of itself when it is pinged.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::lattice::model::lenient::{optional_text, optional_text_map, seconds, text_or_empty};
use crate::lattice::model::text_map::TextMap;

/// The control protocol that a host speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// That of wasmCloud 0.x.
    #[default]
    V0,
    /// That of 1.x.
    V1,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0 => "0.x",
            Self::V1 => "1.x",
        })
    }
}

/// A host, as it describes itself. OTP up to 0.54 says only `id`, `uptime_seconds` and
/// `friendly_name`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Host {
    /// On the ping of which protocol it answered.
    #[serde(skip)]
    pub protocol: Protocol,
    /// Public key.
    #[serde(deserialize_with = "text_or_empty")]
    pub id: String,
    /// Seconds since it started.
    #[serde(deserialize_with = "seconds")]
    pub uptime_seconds: u64,
    /// Its uptime, in words for people.
    #[serde(deserialize_with = "optional_text")]
    pub uptime_human: Option<String>,
    /// Labels.
    #[serde(deserialize_with = "optional_text_map")]
    pub labels: Option<TextMap>,
    /// Name that the host makes up when it starts; OTP up to 0.51.4 has none.
    #[serde(deserialize_with = "optional_text")]
    pub friendly_name: Option<String>,
    /// Version of the host software.
    #[serde(deserialize_with = "optional_text")]
    pub version: Option<String>,
    /// Issuers it accepts, separated by commas.
    #[serde(deserialize_with = "optional_text")]
    pub cluster_issuers: Option<String>,
    /// JetStream domain.
    #[serde(deserialize_with = "optional_text")]
    pub js_domain: Option<String>,
    /// Control NATS: a host name (OTP) or a URL (Rust).
    #[serde(deserialize_with = "optional_text")]
    pub ctl_host: Option<String>,
    /// Provider NATS.
    #[serde(deserialize_with = "optional_text")]
    pub prov_rpc_host: Option<String>,
    /// RPC NATS.
    #[serde(deserialize_with = "optional_text")]
    pub rpc_host: Option<String>,
    /// Lattice id, up to 0.82.
    #[serde(deserialize_with = "optional_text")]
    pub lattice_prefix: Option<String>,
    /// Lattice id, from 0.82 on.
    #[serde(deserialize_with = "optional_text")]
    pub lattice: Option<String>,
}

/// A reply that says which host it is from.
pub trait FromHost: DeserializeOwned {
    /// Returns the public key of the host, as it says.
    fn host(&self) -> &str;

    /// Tells whether this and another reply with the same id are of two hosts, as far
    /// as they show it.
    fn is_of_another_host(&self, _other: &Self) -> bool {
        false
    }
}

impl FromHost for Host {
    fn host(&self) -> &str {
        &self.id
    }

    /// The same host may be heard twice: a cluster may deliver a ping, or its reply,
    /// more than once.
    fn is_of_another_host(&self, other: &Self) -> bool {
        /// Most seconds between two replies of one host to one ping.
        const APART: u64 = 5;
        self.friendly_name != other.friendly_name
            || self.version != other.version
            || self.labels != other.labels
            || self.uptime_seconds.abs_diff(other.uptime_seconds) > APART
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::lenient::parse;

    #[test]
    fn one_odd_member_does_not_cost_the_host() {
        let host: Host = parse(
            br#"{"id":"N1","labels":{"a":"1","b":2,"c":null},"uptime_seconds":-1.5,
                "version":null,"js_domain":null,"unknown":[1]}"#,
        )
        .unwrap();
        assert_eq!(host.id, "N1");
        assert_eq!(host.uptime_seconds, 0);
        let labels = host.labels.unwrap();
        assert_eq!(labels.len(), 2);
        assert_eq!(labels["b"], "2");
        assert_eq!(host.version, None);
    }

    #[test]
    fn one_host_that_is_heard_twice_is_not_two() {
        let host = |name: &str, uptime: u64| -> Host {
            let text =
                format!(r#"{{"id":"N1","friendly_name":"{name}","uptime_seconds":{uptime}}}"#);
            parse(text.as_bytes()).unwrap()
        };
        assert!(!host("a", 10).is_of_another_host(&host("a", 10)));
        assert!(!host("a", 10).is_of_another_host(&host("a", 11)));
        assert!(host("a", 10).is_of_another_host(&host("b", 10)));
        assert!(host("a", 10).is_of_another_host(&host("a", 70)));
    }
}
