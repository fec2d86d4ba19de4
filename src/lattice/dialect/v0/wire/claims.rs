//! Claims of actors and providers, in answers to `get.claims` and in the
//! bucket.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::lattice::dialect::v0::wire::{TextMap, list, text};

/// The claims of one actor or provider as text with text, under the names that
/// the contract's callers know: `sub`, `iss`, `rev`, `name`, `version`,
/// `call_alias`, `tags`, `caps`, `contract_id`.
#[derive(Debug, PartialEq, Eq)]
pub struct Claims(pub TextMap);

impl Claims {
    /// Whether they are those of the actor or provider with this key.
    pub fn is_of(&self, key: &str) -> bool {
        self.0.get("sub").is_some_and(|subject| subject == key)
    }

    /// The revision.
    pub fn revision(&self) -> Option<i32> {
        self.0.get("rev")?.parse().ok()
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Map::deserialize(input).map(|members| Self(flat(members)))
    }
}

/// Hosts up to 0.80 write a flat map of text (a null version is possible);
/// hosts from 0.81 on write other names and lists, which get the old names and
/// commas.
fn flat(members: Map<String, Value>) -> TextMap {
    const RENAMED: [(&str, &str); 4] = [
        ("subject", "sub"),
        ("issuer", "iss"),
        ("revision", "rev"),
        ("capabilities", "caps"),
    ];
    let mut claims: TextMap = members
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::Array(items) => {
                let items: Vec<String> = items.into_iter().filter_map(text).collect();
                Some((name, items.join(",")))
            }
            value => Some((name, text(value)?)),
        })
        .collect();
    for (new, old) in RENAMED {
        if let (Some(value), false) = (claims.get(new).cloned(), claims.contains_key(old)) {
            claims.insert(old.to_owned(), value);
        }
    }
    claims
}

/// Answer to `get.claims`.
#[derive(Debug, Deserialize)]
pub struct ClaimsReply {
    /// The claims. Required: it tells an answer from a refusal.
    #[serde(deserialize_with = "list")]
    pub claims: Vec<Claims>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::dialect::v0::wire::parse;

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
}
