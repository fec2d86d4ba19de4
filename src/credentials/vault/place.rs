//! Where sealed credentials belong: in which bucket, under which key. The place is
//! sealed with them, so that a copy elsewhere does not count.

use data_encoding::HEXLOWER;

use crate::name::LatticeId;
use crate::nats::OwnLattice;

/// The places of all credentials of one provider, which its instances share: the
/// bucket, and what stands before the lattice in every key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    bucket: String,
    prefix: String,
}

impl Places {
    /// Returns the places of the provider with this key and link name, in this
    /// lattice.
    pub fn new(lattice: &str, provider_key: &str, link_name: &str) -> Self {
        let (provider, link) = (token(provider_key, '='), token(link_name, '='));
        Self {
            bucket: bucket(lattice),
            prefix: format!("{provider}.{link}."),
        }
    }

    /// Returns the places of this provider.
    pub fn at(home: &OwnLattice) -> Self {
        Self::new(&home.lattice, &home.provider_key, &home.link_name)
    }

    /// The part of every key before the lattice.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the one place of a lattice: bucket and key. Names of buckets have no
    /// `/`.
    pub fn of(&self, lattice: &LatticeId) -> String {
        format!("{}/{}{}", self.bucket, self.prefix, lattice.as_str())
    }
}

/// Returns the name of the bucket of the provider's own lattice.
pub fn bucket(lattice: &str) -> String {
    format!("LATTICECREDS_{}", token(lattice, '_'))
}

/// Returns a name as it stands in keys and buckets, which take `A-Za-z0-9_-` and
/// little else: the name itself, or `sign` and hexadecimal digits.
fn token(name: &str, sign: char) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match name.bytes().all(plain) && !name.starts_with(sign) {
        true => name.to_owned(),
        false => format!("{sign}{}", HEXLOWER.encode(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_key_of_its_own() {
        assert_eq!(bucket("home"), "LATTICECREDS_home");
        assert_eq!(bucket("a.b"), "LATTICECREDS__612e62");
        assert_eq!(token("default", '='), "default");
        assert_eq!(token("a b", '='), "=612062");
        let all = ["_612e62", "a.b", "home", "=x", "_x", ""].map(|name| token(name, '_'));
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_place_is_a_bucket_and_a_whole_key() {
        let x = LatticeId::parse("x").unwrap();
        let place = Places::new("home", "V1", "a b").of(&x);
        assert_eq!(place, "LATTICECREDS_home/V1.=612062.x");
        for other in [
            Places::new("home2", "V1", "a b"),
            Places::new("home", "V2", "a b"),
            Places::new("home", "V1", "ab"),
        ] {
            assert_ne!(other.of(&x), place);
        }
    }
}
