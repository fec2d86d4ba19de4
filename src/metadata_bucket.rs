//! Under which keys hosts keep what they know in the metadata bucket.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use sha2::{Digest as _, Sha256};

use crate::lattice::model::Link;

/// Key of an entry of the bucket: one token, whatever the entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketKey(String);

impl BucketKey {
    /// Returns the key of a link. Hosts refuse a link under any other.
    pub fn of(link: &Link) -> Self {
        Self::of_link(&link.actor_id, &link.contract_id, &link.link_name)
    }

    /// Returns the key of the link of an actor under a contract and a link name.
    pub fn of_link(actor: &str, contract: &str, link_name: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [actor, contract, link_name] {
            hash.update(part);
        }
        Self(format!("LINKDEF_{}", HEXUPPER.encode(&hash.finalize())))
    }

    /// Returns the key under which OTP hosts from 0.60 on keep of which actor an image
    /// reference is.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::TextMap;

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
            BucketKey::of(&link).to_string(),
            "LINKDEF_B40411AD09B70A2C83D59923584F66BA2C5A3C274DC4F19416DA49CCD6531F9C"
        );
    }
}
