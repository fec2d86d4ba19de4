//! Reads bodies of hosts, and makes the best of what is odd in them.
//!
//! Unknown members are ignored, a missing or `null` member counts as absent, a number
//! where text is expected is taken as text, and an entry of a list that cannot be read
//! is left out: one odd member must not cost the whole answer. Only a list where an
//! object belongs is never read (`json`).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};
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

/// Reads a member as it stands, without taking memory for what is in it: a list of empty
/// objects would take forty times its bytes.
fn raw<'de, D: Deserializer<'de>>(input: D) -> Result<&'de RawValue, D::Error> {
    Deserialize::deserialize(input)
}

/// Reads what is in a member.
fn within<'de, T: Deserialize<'de>, E: serde::de::Error>(raw: &'de RawValue) -> Result<T, E> {
    json::from_slice(raw.get().as_bytes()).map_err(E::custom)
}

/// Text, or what is taken as text: `None` for null, objects and lists. Text in which
/// nothing is escaped stays where it is.
pub(in crate::lattice) struct TextView<'a>(pub(in crate::lattice) Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for TextView<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let raw = raw(input)?;
        let text = raw.get();
        Ok(Self(match text.as_bytes().first() {
            Some(b'"') => Some(match text.contains('\\') {
                true => within::<String, _>(raw)?.into(),
                false => text.trim_matches('"').into(),
            }),
            None | Some(b'{' | b'[' | b'n') => None,
            Some(_) => Some(within::<Value, _>(raw)?.to_string().into()),
        }))
    }
}

/// A [`TextView`] with text of its own.
#[derive(Default)]
pub(in crate::lattice) struct Text(pub(in crate::lattice) Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let view = TextView::deserialize(input)?;
        Ok(Self(view.0.map(Cow::into_owned)))
    }
}

/// Text, or a list of text, which becomes one text with commas.
pub(in crate::lattice) struct JoinedText(pub(in crate::lattice) Option<String>);

impl<'de> Deserialize<'de> for JoinedText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let raw = raw(input)?;
        if !raw.get().starts_with('[') {
            return Ok(Self(within::<Text, _>(raw)?.0));
        }
        let members: Vec<Text> = within(raw)?;
        let texts: Vec<String> = members.into_iter().filter_map(|text| text.0).collect();
        Ok(Self(Some(texts.join(","))))
    }
}

pub(in crate::lattice) fn optional_text<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<String>, D::Error> {
    Ok(Text::deserialize(input)?.0)
}

pub(in crate::lattice) fn text_or_empty<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<String, D::Error> {
    Ok(optional_text(input)?.unwrap_or_default())
}

/// Reads a map of text; entries that are no text are left out.
pub(in crate::lattice) fn optional_text_map<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<TextMap>, D::Error> {
    let raw = raw(input)?;
    if !raw.get().starts_with('{') {
        return Ok(None);
    }
    let members: HashMap<String, Text> = within(raw)?;
    let texts = members.into_iter();
    Ok(Some(
        texts
            .filter_map(|(name, text)| Some((name, text.0?)))
            .collect(),
    ))
}

pub(in crate::lattice) fn text_map<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<TextMap, D::Error> {
    Ok(optional_text_map(input)?.unwrap_or_default())
}

/// Reads text, which stays where it is.
pub(in crate::lattice) fn text_view_or_empty<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Cow<'de, str>, D::Error> {
    Ok(TextView::deserialize(input)?.0.unwrap_or_default())
}

/// Reads a map of text, as [`text_map`] does; its text stays where it is.
pub(in crate::lattice) fn text_view_map<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<String, Cow<'de, str>>, D::Error> {
    let raw = raw(input)?;
    if !raw.get().starts_with('{') {
        return Ok(BTreeMap::new());
    }
    let members: BTreeMap<String, TextView<'de>> = within(raw)?;
    let texts = members.into_iter();
    Ok(texts
        .filter_map(|(name, text)| Some((name, text.0?)))
        .collect())
}

/// Reads a list, empty where there is none. A member that cannot be read is left out.
pub(in crate::lattice) fn list<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let raw = raw(input)?;
    if !raw.get().starts_with('[') {
        return Ok(Vec::new());
    }
    let Members { read, unreadable } = within(raw)?;
    if unreadable > 0 {
        warn!(
            unreadable,
            "entries of a host's answer cannot be read and were left out"
        );
    }
    Ok(read)
}

/// Most entries of a list that must be read whole.
const MAX_WHOLE: usize = 256;

/// Reads a list that has a few entries, of which every one can be read; `None` for anything
/// else.
pub(in crate::lattice) fn whole_list<'de, D, T>(input: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let list = within::<Whole<T>, D::Error>(raw(input)?);
    Ok(list.ok().map(|Whole(list)| list))
}

/// A list of at most [`MAX_WHOLE`] entries.
struct Whole<T>(Vec<T>);

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);

        impl<'de, T: serde::de::DeserializeOwned> Visitor<'de> for All<T> {
            type Value = Whole<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_WHOLE} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Whole<T>, A::Error> {
                let mut read = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    if read.len() >= MAX_WHOLE {
                        return Err(serde::de::Error::invalid_length(read.len() + 1, &self));
                    }
                    read.push(entry);
                }
                Ok(Whole(read))
            }
        }

        input.deserialize_seq(All(PhantomData))
    }
}

/// The members of a list that can be read, and how many cannot.
struct Members<T> {
    read: Vec<T>,
    unreadable: usize,
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct OneByOne<T>(PhantomData<T>);

        impl<'de, T: serde::de::DeserializeOwned> Visitor<'de> for OneByOne<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Members<T>, A::Error> {
                let (mut read, mut unreadable) = (Vec::new(), 0);
                while let Some(member) = members.next_element::<&RawValue>()? {
                    match json::from_slice(member.get().as_bytes()) {
                        Ok(member) => read.push(member),
                        Err(_) => unreadable += 1,
                    }
                }
                Ok(Members { read, unreadable })
            }
        }

        input.deserialize_seq(OneByOne(PhantomData))
    }
}

/// Reads a number; `None` where there is none.
fn number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Number>, D::Error> {
    let raw = raw(input)?;
    match raw
        .get()
        .starts_with(|c: char| c == '-' || c.is_ascii_digit())
    {
        true => within(raw).map(Some),
        false => Ok(None),
    }
}

/// Reads a count of seconds. What is negative, fractional or no number becomes the
/// nearest whole number, or 0.
pub(in crate::lattice) fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let whole = |number: Number| {
        let nearest = || number.as_f64().map(|value| value as u64);
        number.as_u64().or_else(nearest)
    };
    Ok(number(input)?.and_then(whole).unwrap_or(0))
}

/// Reads a revision: hosts send the time of signing in seconds, or 0.
pub(in crate::lattice) fn revision<'de, D: Deserializer<'de>>(input: D) -> Result<i32, D::Error> {
    let value = number(input)?.and_then(|number| number.as_i64());
    Ok(value.map_or(0, |value| {
        value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::Inventory;

    #[derive(Debug, Deserialize)]
    struct Odd {
        #[serde(deserialize_with = "optional_text")]
        text: Option<String>,
        #[serde(deserialize_with = "seconds")]
        seconds: u64,
        #[serde(deserialize_with = "revision")]
        revision: i32,
    }

    fn odd(text: &str, seconds: &str, revision: &str) -> (Option<String>, u64, i32) {
        let body = format!(r#"{{"text": {text} ,"seconds": {seconds},"revision":{revision} }}"#);
        let odd: Odd = parse(body.as_bytes()).unwrap();
        (odd.text, odd.seconds, odd.revision)
    }

    #[test]
    fn what_is_odd_is_read_as_well_as_it_can_be() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(odd(r#""a\u0041\n""#, "7", "-3"), (text("aA\n"), 7, -3));
        assert_eq!(odd("1.50", "7.9", "1.5"), (text("1.5"), 7, 0));
        assert_eq!(odd("-12", "-7", "99999999999"), (text("-12"), 0, i32::MAX));
        assert_eq!(odd("true", r#""7""#, "null"), (text("true"), 0, 0));
        assert_eq!(odd("null", "null", "[1]"), (None, 0, 0));
        assert_eq!(odd(r#"{"a":[1]}"#, "[7]", r#"{"a":1}"#), (None, 0, 0));
        assert!(parse::<Odd>(br#"{"text":"a","seconds":1e999,"revision":0}"#).is_err());
    }

    #[test]
    fn members_that_cannot_be_read_are_left_out() {
        let body = br#"{"labels":{"a":"1","b":2,"c":null,"d":{}},"providers":7,
            "actors":[{"id":"M1","instances":[{},7,{"annotations":[]}]},{"id":7},[],null]}"#;
        let inventory: Inventory = parse(body).unwrap();
        assert_eq!((inventory.labels.len(), inventory.actors.len()), (2, 1));
        assert_eq!(inventory.actors[0].instances.len(), 2);
        assert!(inventory.providers.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn text_is_read_as_serde_json_does(value: String) {
            let body = serde_json::to_string(&serde_json::json!({
                "text": value, "seconds": 0, "revision": 0,
            })).unwrap();
            let read: Odd = parse(body.as_bytes()).unwrap();
            proptest::prop_assert_eq!(read.text, Some(value));
        }
    }
}
