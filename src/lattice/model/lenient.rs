//! Reads bodies of hosts, and makes the best of what is odd in them.
//!
//! Unknown members are ignored, a missing or `null` member counts as absent, a number
//! where text is expected is taken as text, and an entry of a list that cannot be read
//! is left out: one odd member must not cost the whole answer. Only a list where an
//! object belongs is never read (`json`).

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tracing::warn;

use crate::error::without_values;
use crate::json;
use crate::lattice::model::text_map::TextMap;

/// Why a body cannot be read, without the values in it: they may be secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self(without_values(&error.to_string()))
    }
}

/// Reads a body.
///
/// # Errors
/// Why it cannot be read, without quoting it.
pub fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Unreadable> {
    Ok(json::from_slice(payload)?)
}

/// Makes text of a value: `None` for null, objects and lists.
pub(in crate::lattice) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(in crate::lattice) fn optional_text<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<String>, D::Error> {
    Ok(text(Value::deserialize(input)?))
}

pub(in crate::lattice) fn text_or_empty<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<String, D::Error> {
    Ok(text(Value::deserialize(input)?).unwrap_or_default())
}

/// Reads a map of text; entries that are no text are left out.
pub(in crate::lattice) fn optional_text_map<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<TextMap>, D::Error> {
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

pub(in crate::lattice) fn text_map<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<TextMap, D::Error> {
    Ok(optional_text_map(input)?.unwrap_or_default())
}

/// Reads a list, empty where there is none. A member that cannot be read is left out.
pub(in crate::lattice) fn list<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
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

/// Reads a count of seconds. What is negative, fractional or no number becomes the
/// nearest whole number, or 0.
pub(in crate::lattice) fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().map(|value| value as u64))
            .unwrap_or(0),
        _ => 0,
    })
}

/// Reads a revision: hosts send the time of signing in seconds, or 0.
pub(in crate::lattice) fn revision<'de, D: Deserializer<'de>>(input: D) -> Result<i32, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Number(number) => number.as_i64().map_or(0, |value| {
            value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
        }),
        _ => 0,
    })
}
