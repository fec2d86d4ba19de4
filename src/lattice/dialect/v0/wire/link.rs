//! Link definitions, on `linkdefs.*`, in answers to `get.links` and in the
//! bucket: the same JSON everywhere.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::lattice::dialect::v0::wire::{TextMap, list, text_map, text_or_empty};

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

impl Link {
    /// Whether hosts take the other for the same link: with other values, or to
    /// another provider, it replaces this one.
    pub fn is_under(&self, other: &LinkKey) -> bool {
        self.actor_id == other.actor_id
            && self.contract_id == other.contract_id
            && self.link_name == other.link_name
    }

    /// Its key in the bucket. Hosts refuse a value under any other.
    pub fn key(&self) -> BucketKey {
        BucketKey::of_link(&self.actor_id, &self.contract_id, &self.link_name)
    }
}

/// Key of an entry of the bucket: one token, whatever the entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketKey(String);

impl BucketKey {
    /// Where hosts keep the link of an actor under a contract and a link name.
    pub fn of_link(actor: &str, contract: &str, link_name: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [actor, contract, link_name] {
            hash.update(part);
        }
        Self(format!("LINKDEF_{}", HEXUPPER.encode(&hash.finalize())))
    }

    /// Where OTP hosts from 0.60 on keep of which actor an image reference is.
    pub fn of_reference(image_ref: &str) -> Self {
        Self(format!(
            "REFMAP_{}",
            BASE64URL_NOPAD.encode(image_ref.as_bytes())
        ))
    }
}

impl fmt::Display for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_one_that_hosts_compute() {
        let link = Link {
            actor_id: "Mbob".into(),
            provider_id: String::new(),
            link_name: "default".into(),
            contract_id: "wasmcloud:testy".into(),
            values: TextMap::new(),
        };
        assert_eq!(
            link.key().to_string(),
            "LINKDEF_B40411AD09B70A2C83D59923584F66BA2C5A3C274DC4F19416DA49CCD6531F9C"
        );
    }
}
