//! What hosts of a lattice share: links and claims.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lattice::model::lenient::{
    Unreadable, parse, text_map, text_or_empty, text_view_map, text_view_or_empty,
};
use crate::lattice::model::text_map::TextMap;

/// A link definition. Written without `id`: OTP hosts would keep the link under
/// a foreign one and could not delete it.
///
/// To remove a link, hosts' own client sends a whole definition with an empty provider
/// and no values; so do we.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Link {
    /// Public key of the actor.
    #[serde(deserialize_with = "text_or_empty")]
    pub actor_id: String,
    /// Public key of the provider.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub provider_id: String,
    /// Link name.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub link_name: String,
    /// Contract id.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub contract_id: String,
    /// Values; always written, Rust hosts require them.
    #[serde(default, deserialize_with = "text_map")]
    pub values: TextMap,
}

/// A link definition as it is in a body, of which it has no copies.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "they are those of a link")]
pub struct LinkView<'a> {
    #[serde(borrow, deserialize_with = "text_view_or_empty")]
    pub actor_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_view_or_empty")]
    pub provider_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_view_or_empty")]
    pub link_name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_view_or_empty")]
    pub contract_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text_view_map")]
    pub values: BTreeMap<String, Cow<'a, str>>,
}

impl<'a> LinkView<'a> {
    /// Reads a link. Nearly all are read in one pass, as every member is a text; else each
    /// is read as well as it can be.
    ///
    /// # Errors
    /// Why it cannot be read, without quoting it.
    pub fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        match parse::<PlainLink<'a>>(body) {
            Ok(plain) => Ok(plain.into()),
            Err(_) => parse(body),
        }
    }
}

/// A link of which every member is there, and a text.
#[derive(Deserialize)]
struct PlainLink<'a> {
    #[serde(borrow)]
    actor_id: Cow<'a, str>,
    #[serde(borrow)]
    provider_id: Cow<'a, str>,
    #[serde(borrow)]
    link_name: Cow<'a, str>,
    #[serde(borrow)]
    contract_id: Cow<'a, str>,
    #[serde(borrow)]
    values: BTreeMap<String, PlainText<'a>>,
}

#[derive(Deserialize)]
struct PlainText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<PlainLink<'a>> for LinkView<'a> {
    fn from(plain: PlainLink<'a>) -> Self {
        let values = plain.values.into_iter();
        Self {
            actor_id: plain.actor_id,
            provider_id: plain.provider_id,
            link_name: plain.link_name,
            contract_id: plain.contract_id,
            values: values.map(|(name, PlainText(text))| (name, text)).collect(),
        }
    }
}

impl<'a> From<&'a Link> for LinkView<'a> {
    fn from(link: &'a Link) -> Self {
        let values = link.values.iter();
        Self {
            actor_id: link.actor_id.as_str().into(),
            provider_id: link.provider_id.as_str().into(),
            link_name: link.link_name.as_str().into(),
            contract_id: link.contract_id.as_str().into(),
            values: values
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
        }
    }
}

impl Link {
    /// Tells whether hosts take the other for the same link: it then replaces this one,
    /// whatever its values and its provider.
    pub fn is_replaced_by(&self, other: &Self) -> bool {
        self.actor_id == other.actor_id
            && self.contract_id == other.contract_id
            && self.link_name == other.link_name
    }
}

/// The claims of one actor or provider as text by text, under the names that
/// the contract's callers know: `sub`, `iss`, `rev`, `name`, `version`,
/// `call_alias`, `tags`, `caps`, `contract_id`.
#[derive(Debug, PartialEq, Eq)]
pub struct Claims(pub TextMap);

impl Claims {
    /// Tells whether they are those of the actor or provider with this key.
    pub fn is_of(&self, key: &str) -> bool {
        self.0.get("sub").is_some_and(|subject| subject == key)
    }

    /// Returns the key of the actor or provider.
    pub fn subject(&self) -> Option<String> {
        self.0.get("sub").cloned()
    }

    /// Returns the revision.
    pub fn revision(&self) -> Option<i32> {
        self.0.get("rev")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_view_of_a_link_tells_what_the_link_does() {
        for body in [
            r#"{"actor_id":"M1","provider_id":"V1","link_name":"a\u00e4\"b","contract_id":"","id":7,
                "values":{"a\n":"1","b":2,"c":null,"d":{},"e":"\\","b":"\"","c":"x","a\n":null}}"#,
            r#"{"actor_id":"M1","provider_id":"V1","link_name":"a\u00e4\"b","contract_id":"c:d",
                "id":7,"values":{"a\n":"1","b":"2","a\n":"\\","c":"x"}}"#,
            r#"{"actor_id":"M1","provider_id":"V1","link_name":"l","contract_id":"c","values":{"a":7}}"#,
            r#"{"actor_id":"M1","provider_id":"V1","link_name":"l","contract_id":"c","values":null}"#,
            r#"{"actor_id":7,"link_name":null,"values":[1]}"#,
            r#"{"actor_id":[],"contract_id":true,"values":"{}"}"#,
            r#"{"actor_id":"","provider_id":-1.50,"values":{}}"#,
            r#"{"link_name":"default"}"#,
            r#"{"actor_id":"\ud800"}"#,
            r#"{"actor_id":"M1","values":{"a":1e999}}"#,
            r#"["M1"]"#,
            "",
        ] {
            let (link, view) = (
                parse::<Link>(body.as_bytes()),
                LinkView::read(body.as_bytes()),
            );
            let (Ok(link), Ok(view)) = (&link, &view) else {
                assert!(link.is_err() && view.is_err(), "{body}");
                continue;
            };
            let read = json!([
                view.actor_id,
                view.provider_id,
                view.link_name,
                view.contract_id,
                view.values
            ]);
            let owned = json!([
                link.actor_id,
                link.provider_id,
                link.link_name,
                link.contract_id,
                link.values
            ]);
            assert_eq!(read, owned, "{body}");
            let same = LinkView::from(link);
            assert_eq!(
                (&same.actor_id, &same.values),
                (&view.actor_id, &view.values)
            );
        }
    }
}
