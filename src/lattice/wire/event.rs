//! Events that hosts publish, as far as they say who is there: CloudEvents of
//! types `com.wasmcloud.lattice.host_{heartbeat,started,stopped}`. Source:
//! control-interface reference, section 4.

use std::borrow::Cow;

use serde::Deserialize;

use super::{optional_text, parse};

/// What is new of a host.
#[derive(Debug, PartialEq, Eq)]
pub enum HostNews {
    /// It is there, of this version. OTP up to 0.54 says none.
    Beats {
        /// Version of the host software.
        version: Option<String>,
    },
    /// It started. Not every version says which it is.
    Started,
    /// It stopped.
    Stopped,
}

/// News of a host.
#[derive(Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// Public key of the host, as the event says.
    pub host: String,
    /// What is new.
    pub news: HostNews,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Heartbeat {
    data: HeartbeatData,
}

#[derive(Deserialize)]
struct HeartbeatData {
    #[serde(default, deserialize_with = "optional_text")]
    version: Option<String>,
}

impl HostEvent {
    /// Reads an event; `None` for what is none, or about something else: actors,
    /// providers and links have theirs on the same subject.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let envelope: Envelope<'_> = parse(payload).ok()?;
        let news = match envelope.kind.strip_prefix("com.wasmcloud.lattice.")? {
            "host_heartbeat" => HostNews::Beats {
                version: parse::<Heartbeat>(payload).ok()?.data.version,
            },
            "host_started" => HostNews::Started,
            "host_stopped" => HostNews::Stopped,
            _ => return None,
        };
        Some(Self {
            host: envelope.source.into_owned(),
            news,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_news_of_a_host_is_passed_over() {
        for other in [
            &b""[..],
            b"null",
            br#"{"type":"com.wasmcloud.lattice.host_started"}"#,
            br#"{"type":"com.wasmcloud.lattice.linkdef_set","source":"n/a","data":{}}"#,
            br#"{"type":"com.wasmcloud.lattice.host_heartbeat","source":"N1"}"#,
            br#"{"type":"host_stopped","source":"N1","data":{}}"#,
        ] {
            assert_eq!(HostEvent::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_heartbeat_without_version_is_one_of_an_old_host() {
        let event = HostEvent::parse(
            br#"{"type":"com.wasmcloud.lattice.host_heartbeat","source":"N1",
                "data":{"actors":[],"version":null}}"#,
        );
        let news = HostNews::Beats { version: None };
        let host = "N1".to_owned();
        assert_eq!(event, Some(HostEvent { host, news }));
    }
}
