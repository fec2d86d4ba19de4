//! Keyed hashes of credentials: equal ones are found by them, and a log or a table
//! can name credentials without showing them.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The operating system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}")]
pub struct NoRandomNumbers(#[from] getrandom::Error);

/// Key of the hashes. Without it nobody can compare a fingerprint with guesses.
pub struct FingerprintKey(Zeroizing<[u8; 16]>);

impl FingerprintKey {
    /// Takes a key that other instances of the provider have, too.
    pub fn new(key: [u8; 16]) -> Self {
        Self(key.into())
    }

    /// Makes a new key from the randomness of the operating system.
    ///
    /// # Errors
    /// Where the operating system gives none.
    pub fn random() -> Result<Self, NoRandomNumbers> {
        let mut key = Zeroizing::new([0; 16]);
        getrandom::fill(&mut key[..])?;
        Ok(Self(key))
    }

    /// Hashes parts, so that moving a byte from one part to the next makes another
    /// hash.
    pub(super) fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&self.0[..]);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Hashes the parts of credentials. The key is the first part here, in
    /// hexadecimal digits: so it was in every release, and operators compare what
    /// the log and `lattice bindings` show.
    pub(super) fn fingerprint(&self, parts: &[&str]) -> Fingerprint {
        let mut hash = Sha256::new();
        let key = Zeroizing::new(HEXLOWER.encode(&self.0[..]));
        for part in [key.as_str()].iter().chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Fingerprint(hash.finalize().into())
    }
}

/// Keyed hash of credentials. Shows its first eight digits only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
