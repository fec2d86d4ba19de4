//! What hosts of a lattice share: links and claims.

use serde::{Deserialize, Serialize};

use crate::lattice::model::lenient::{text_map, text_or_empty};
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
