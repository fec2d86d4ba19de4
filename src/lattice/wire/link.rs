//! Link definitions, on `linkdefs.*`, in answers to `get.links` and in the
//! bucket: the same JSON everywhere.

use serde::{Deserialize, Serialize};

use super::{TextMap, list, text_map, text_or_empty};

/// A link definition. Written without `id`: OTP hosts would keep the link under
/// a foreign one and could not delete it.
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

/// What identifies a link, for `linkdefs.del`. Hosts' own client sends a whole
/// definition with an empty provider and no values; so do we.
pub type LinkKey = Link;

/// Answer to `get.links`.
#[derive(Debug, Deserialize)]
pub struct LinksReply {
    /// The links. Required: it tells an answer from a refusal.
    #[serde(deserialize_with = "list")]
    pub links: Vec<Link>,
}
