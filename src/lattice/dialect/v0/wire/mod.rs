//! The JSON bodies of the control interface, generations G1 to G3 (OTP hosts, and
//! Rust hosts 0.78 to 0.82), which share their names.
//!
//! What we send is exact. What we read is forgiving: unknown members are
//! ignored, a missing or `null` member counts as absent, a number where text is
//! expected is taken as text. One host's oddity must not cost the answer. Only a
//! list where an object belongs is none ([`json`]).
//! Source: control-interface reference, sections 1 and 2.

mod claims;
mod command;
mod event;
mod host;
mod link;

pub use crate::lattice::dialect::v0::wire::claims::{Claims, ClaimsReply};
pub use crate::lattice::dialect::v0::wire::command::{
    ActorAuction, ProviderAuction, RegistryEntry, ScaleActor, StartActor, StartProvider, StopActor,
    StopHost, StopProvider, UpdateActor,
};
pub use crate::lattice::dialect::v0::wire::event::{HostEvent, HostNews};
pub use crate::lattice::dialect::v0::wire::host::{
    Actor, ActorInstance, Bid, Host, Inventory, Provider, V1Ping,
};
pub use crate::lattice::dialect::v0::wire::link::{BucketKey, Link, LinkKey, LinksReply};

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tracing::warn;

use crate::error::{cut, without_values};
use crate::json;

/// Text with text: annotations, labels, constraints, link values.
pub type TextMap = HashMap<String, String>;

/// A host's answer to an order: `{"accepted":bool,"error":str}`.
#[derive(Debug, PartialEq, Eq)]
pub enum Ack {
    /// The host took the order.
    Accepted,
    /// The host said no, in these words, or the first thousand characters of
    /// them.
    Refused(String),
}

#[derive(Deserialize)]
struct RawAck {
    accepted: bool,
    #[serde(default, deserialize_with = "text_or_empty")]
    error: String,
}

impl Ack {
    /// Reads an acknowledgement.
    ///
    /// Rust hosts up to 0.82 paste their error text into the JSON unescaped, so
    /// a text with quotes is not JSON (trap T17); its words are saved.
    ///
    /// # Errors
    /// A sentence that says why it is none.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        match json::from_slice::<RawAck>(payload) {
            Ok(RawAck { accepted: true, .. }) => Ok(Self::Accepted),
            Ok(RawAck { error, .. }) => Ok(Self::Refused(cut(&error))),
            Err(error) => match unescaped_refusal(payload) {
                Some(words) => Ok(Self::Refused(cut(words))),
                None => Err(without_values(&error.to_string())),
            },
        }
    }
}

fn unescaped_refusal(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?.trim();
    text.strip_prefix(r#"{"accepted":false,"error":""#)?
        .strip_suffix(r#""}"#)
}

/// The words of a refusal, where `payload` is one: hosts answer questions that
/// they cannot read with a failed acknowledgement.
pub fn refusal(payload: &[u8]) -> Option<String> {
    match Ack::parse(payload) {
        Ok(Ack::Refused(words)) => Some(words),
        _ => None,
    }
}

/// Decodes a reply.
///
/// # Errors
/// A sentence that says why it cannot be read, without quoting it.
pub fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, String> {
    json::from_slice(payload).map_err(|error| without_values(&error.to_string()))
}

/// Text from whatever is there: `None` for null, objects and lists.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn optional_text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(text(Value::deserialize(input)?))
}

fn text_or_empty<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Ok(text(Value::deserialize(input)?).unwrap_or_default())
}

/// A map of text; entries that are no text are left out.
fn optional_text_map<'de, D: Deserializer<'de>>(input: D) -> Result<Option<TextMap>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Object(members) => Some(
            members
                .into_iter()
                .filter_map(|(name, value)| Some((name, text(value)?)))
                .collect(),
        ),
        _ => None,
    })
}

fn text_map<'de, D: Deserializer<'de>>(input: D) -> Result<TextMap, D::Error> {
    Ok(optional_text_map(input)?.unwrap_or_default())
}

/// A list, empty where there is none. A member that cannot be read is left out.
fn list<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let Value::Array(members) = Value::deserialize(input)? else {
        return Ok(Vec::new());
    };
    let all = members.len();
    let read = members.into_iter().map(json::from_value);
    let read: Vec<T> = read.filter_map(Result::ok).collect();
    if read.len() < all {
        let unreadable = all - read.len();
        warn!(
            unreadable,
            "entries of a host's answer cannot be read and were left out"
        );
    }
    Ok(read)
}

/// A count of seconds; what is negative, fractional or no number becomes the
/// nearest whole number, or 0.
fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().map(|value| value as u64))
            .unwrap_or(0),
        _ => 0,
    })
}

/// A revision: hosts send the time of signing in seconds, or 0.
fn revision<'de, D: Deserializer<'de>>(input: D) -> Result<i32, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Number(number) => number.as_i64().map_or(0, |value| {
            value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
        }),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_that_is_not_json_keeps_the_hosts_words() {
        let reply = br#"{"accepted":false,"error":"Policy denied request: `Some("denied")`"}"#;
        assert_eq!(
            Ack::parse(reply).unwrap(),
            Ack::Refused(r#"Policy denied request: `Some("denied")`"#.into())
        );
    }

    #[test]
    fn what_is_no_acknowledgement_is_not_taken_for_one() {
        for reply in [
            &b"{}"[..],
            b"",
            b"null",
            b"[]",
            br#"[true,""]"#,
            br#"[false,"no"]"#,
            br#"{"success":true,"message":""}"#,
        ] {
            assert!(Ack::parse(reply).is_err(), "{reply:?}");
        }
    }

    #[test]
    fn acknowledgements_are_read() {
        assert_eq!(
            Ack::parse(br#"{"accepted":true,"error":""}"#).unwrap(),
            Ack::Accepted
        );
        assert_eq!(
            Ack::parse(br#"{"error":null,"accepted":false}"#).unwrap(),
            Ack::Refused(String::new())
        );
    }
}
