//! What hosts answer, apart from the neutral types of the model: acknowledgements,
//! refusals, bids, lists of claims and links.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};

use crate::error::cut;
use crate::json;
use crate::lattice::model::lenient::{JoinedText, Unreadable, list, text_or_empty};
use crate::lattice::model::{Claims, FromHost, Link, TextMap};

/// A host's reply to a command: `{"accepted":bool,"error":str}`.
#[derive(Debug, PartialEq, Eq)]
pub enum Ack {
    /// The host took the command.
    Accepted,
    /// The host refused, for this reason, or the first thousand characters of it.
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
    /// Rust hosts up to 0.82 paste their error text into the JSON unescaped, so that a
    /// text with quotes is not JSON (docs/hosts.md#refusal-that-is-not-json). The text
    /// is read all the same.
    ///
    /// # Errors
    /// Why it is no acknowledgement.
    pub fn parse(payload: &[u8]) -> Result<Self, Unreadable> {
        match json::from_slice::<RawAck>(payload) {
            Ok(RawAck { accepted: true, .. }) => Ok(Self::Accepted),
            Ok(RawAck { error, .. }) => Ok(Self::Refused(cut(&error))),
            Err(error) => match unescaped_refusal(payload) {
                Some(reason) => Ok(Self::Refused(cut(reason))),
                None => Err(error.into()),
            },
        }
    }
}

fn unescaped_refusal(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?.trim();
    text.strip_prefix(r#"{"accepted":false,"error":""#)?
        .strip_suffix(r#""}"#)
}

/// Returns the reason of a refusal, where `payload` is one: hosts answer questions that
/// they cannot read with a failed acknowledgement.
pub fn refusal(payload: &[u8]) -> Option<String> {
    match Ack::parse(payload) {
        Ok(Ack::Refused(reason)) => Some(reason),
        _ => None,
    }
}

/// Reply to an auction. The host echoes the question; only who bids matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Bid {
    /// Public key of the host that bids.
    #[serde(deserialize_with = "text_or_empty")]
    pub host_id: String,
}

impl FromHost for Bid {
    fn host(&self) -> &str {
        &self.host_id
    }
}

/// A host's reply to a question for all links.
#[derive(Debug, Deserialize)]
pub struct LinksReply {
    /// The links. The member is required: it tells an answer from a refusal.
    #[serde(deserialize_with = "list")]
    pub links: Vec<Link>,
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        HashMap::deserialize(input).map(|members| Self(flat(members)))
    }
}

/// Makes claims of a body. Hosts up to 0.80 write a flat map of text (a null version is
/// possible). Hosts from 0.81 on write other names, and lists: the old names are added,
/// and lists become text with commas.
fn flat(members: HashMap<String, JoinedText>) -> TextMap {
    const RENAMED: [(&str, &str); 4] = [
        ("subject", "sub"),
        ("issuer", "iss"),
        ("revision", "rev"),
        ("capabilities", "caps"),
    ];
    let mut claims: TextMap = members
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.0?)))
        .collect();
    for (new, old) in RENAMED {
        if let (Some(value), false) = (claims.get(new).cloned(), claims.contains_key(old)) {
            claims.insert(old.to_owned(), value);
        }
    }
    claims
}

/// A host's reply to a question for all claims.
#[derive(Debug, Deserialize)]
pub struct ClaimsReply {
    /// The claims. The member is required: it tells an answer from a refusal.
    #[serde(deserialize_with = "list")]
    pub claims: Vec<Claims>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::lenient::parse;

    #[test]
    fn new_names_get_the_old_ones_beside_them() {
        let Claims(claims) = parse(
            br#"{"subject":"M1","issuer":"A1","revision":"4","capabilities":["a:b","c:d"],
                "tags":[],"name":"n","version":null}"#,
        )
        .unwrap();
        assert_eq!(claims["sub"], "M1");
        assert_eq!(claims["subject"], "M1");
        assert_eq!(claims["caps"], "a:b,c:d");
        assert_eq!(claims["tags"], "");
        assert!(!claims.contains_key("version"));
    }

    #[test]
    fn one_bad_entry_is_left_out() {
        let reply: ClaimsReply = parse(br#"{"claims":[{"sub":"M1"},7,{"sub":"M2"}]}"#).unwrap();
        assert_eq!(reply.claims.len(), 2);
    }

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
