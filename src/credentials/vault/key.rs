//! The key that credentials in the bucket are sealed with.

use hkdf::Hkdf;
use nkeys::XKey;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::credentials::fingerprint::FingerprintKey;

/// Labels of what is derived from a seed: each purpose has its own.
const SEAL: &[u8] = b"lattice-controller 1 credentials store";
const FINGERPRINT: &[u8] = b"lattice-controller 1 credentials fingerprint";

/// An xkey (X25519) that seals for itself. It cannot be printed.
pub struct SealingKey {
    key: XKey,
    fingerprint: Zeroizing<[u8; 16]>,
}

impl SealingKey {
    /// Reads the seed of an xkey, `SX…`, as `nk -gen curve` makes them. `None`
    /// where it is something else.
    pub fn from_seed(seed: &SecretString) -> Option<Self> {
        let key = XKey::from_seed(seed.expose_secret()).ok()?;
        let (_, mut bytes) = nkeys::decode_seed(seed.expose_secret()).ok()?;
        let fingerprint = expand(&bytes, FINGERPRINT);
        bytes.zeroize();
        Some(Self { key, fingerprint })
    }

    /// Derives the key that every provider of a cluster has from the cluster seed in
    /// the host data (HKDF-SHA256). `None` where that is no seed.
    pub fn of_cluster(seed: &SecretString) -> Option<Self> {
        let (_, mut bytes) = nkeys::decode_seed(seed.expose_secret()).ok()?;
        let secret = expand::<32>(&bytes, SEAL);
        let fingerprint = expand(&bytes, FINGERPRINT);
        bytes.zeroize();
        Some(Self {
            key: XKey::new_from_raw(*secret),
            fingerprint,
        })
    }

    /// Seals (NaCl box: X25519, XSalsa20, Poly1305; `xkv1`, nonce, box).
    pub(super) fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.key.seal(plain, &self.key).ok()
    }

    /// Opens what this key sealed, unchanged.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.key.open(sealed, &self.key).ok().map(Zeroizing::new)
    }

    /// Derives the key of fingerprints: instances that share this key can compare
    /// theirs, and nobody else can.
    pub fn fingerprint_key(&self) -> FingerprintKey {
        FingerprintKey::new(*self.fingerprint)
    }
}

fn expand<const N: usize>(secret: &[u8], label: &[u8]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    // It fails for more than 8,160 bytes only.
    let _ = Hkdf::<Sha256>::new(None, secret).expand(label, out.as_mut());
    out
}
