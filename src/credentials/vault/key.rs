//! The key that entries of the store are sealed with.

use hkdf::Hkdf;
use nkeys::XKey;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::credentials::FingerprintKey;

/// What a key is derived from a cluster seed for. Another purpose, another label.
const SEAL: &[u8] = b"lattice-controller 1 credentials store";
/// The same, for what credentials are told from others by.
const FINGERPRINT: &[u8] = b"lattice-controller 1 credentials fingerprint";

/// An xkey (X25519) that seals entries for itself. Cannot be printed.
pub struct StoreKey {
    key: XKey,
    fingerprint: Zeroizing<[u8; 16]>,
}

impl StoreKey {
    /// Reads the seed of an xkey, `SX…`, as `nk -gen curve` makes them.
    ///
    /// # Errors
    /// A sentence that does not quote it.
    pub fn from_seed(seed: &SecretString) -> Result<Self, String> {
        let unusable = || "it is not the seed of an xkey (SX…, made by `nk -gen curve`)".to_owned();
        let (_, mut bytes) = nkeys::decode_seed(seed.expose_secret()).map_err(|_| unusable())?;
        let key = XKey::from_seed(seed.expose_secret()).map_err(|_| unusable());
        let fingerprint = expand(&bytes, FINGERPRINT);
        bytes.zeroize();
        Ok(Self {
            key: key?,
            fingerprint,
        })
    }

    /// The key that every provider of a cluster has: derived from the cluster
    /// seed in the host data (HKDF-SHA256). `None` where that is no seed.
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

    /// What makes fingerprints comparable between the instances that share this
    /// key, and with nobody else's.
    pub fn fingerprint_key(&self) -> FingerprintKey {
        FingerprintKey::new(*self.fingerprint)
    }
}

fn expand<const N: usize>(secret: &[u8], label: &[u8]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    // Fails for more than 8,160 bytes only.
    let _ = Hkdf::<Sha256>::new(None, secret).expand(label, out.as_mut());
    out
}
