//! Names of the buckets of a lattice: that in which hosts from OTP 0.60 on keep what they
//! know of it, and that in which hosts of 1.x keep named configs. Both our own lattice and
//! those that are controlled have them.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use sha2::{Digest as _, Sha256};

use crate::name::LatticeId;

/// Name of the stream of a bucket: one token of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName(String);

impl StreamName {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the name of the stream of the metadata bucket.
pub fn stream(lattice: &LatticeId) -> StreamName {
    StreamName(format!("KV_LATTICEDATA_{lattice}"))
}

/// Returns the name of the stream of the bucket of named configs.
pub fn configs_stream(lattice: &LatticeId) -> StreamName {
    StreamName(format!("KV_CONFIGDATA_{lattice}"))
}

/// Returns how the subjects of entries begin in that stream, which is the same in every
/// JetStream domain.
pub fn entries(lattice: &LatticeId) -> String {
    format!("$KV.LATTICEDATA_{lattice}.")
}

/// Key of an entry of the bucket: one token, whatever the entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketKey(String);

impl BucketKey {
    /// Returns the key of the link of an actor under a contract and a link name. Hosts refuse
    /// a link under any other.
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

    #[test]
    fn the_key_is_the_one_that_hosts_compute() {
        assert_eq!(
            BucketKey::of_link("Mbob", "wasmcloud:testy", "default").to_string(),
            "LINKDEF_B40411AD09B70A2C83D59923584F66BA2C5A3C274DC4F19416DA49CCD6531F9C"
        );
    }
}
