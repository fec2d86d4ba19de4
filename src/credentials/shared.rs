//! Credentials in use: one value for all lattices that are bound to equal ones, so
//! that they share one connection.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use crate::credentials::fingerprint::{Fingerprint, FingerprintKey};
use crate::credentials::value::Credentials;

/// New values between two looks for table entries that nobody uses.
const SWEEP_EVERY: usize = 64;

/// Credentials that one or more lattices are bound to. It lives as long as one of
/// them is, and a little longer where a dial is under way.
pub struct SharedCredentials {
    credentials: Credentials,
    fingerprint: Fingerprint,
    address: Arc<str>,
    times_set: AtomicU64,
    unbound: CancellationToken,
}

impl SharedCredentials {
    fn new(credentials: Credentials, fingerprint: Fingerprint) -> Self {
        Self {
            address: credentials.address().into(),
            credentials,
            fingerprint,
            times_set: AtomicU64::new(0),
            unbound: CancellationToken::new(),
        }
    }

    /// The hash that no other credentials in use have.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// `host:port` of every server, separated by commas.
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Counts how often these credentials were set. A failure that was met at a
    /// smaller number does not count any more: somebody may have mended its cause.
    pub(crate) fn times_set(&self) -> u64 {
        self.times_set.load(Ordering::Relaxed)
    }

    /// Notes that they were set, or found in the store, once more.
    pub(super) fn set_again(&self) {
        self.times_set.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns a token that is cancelled when no lattice is bound to them any more.
    pub(crate) fn unbound(&self) -> CancellationToken {
        self.unbound.clone()
    }
}

impl Deref for SharedCredentials {
    type Target = Credentials;

    fn deref(&self) -> &Credentials {
        &self.credentials
    }
}

impl Drop for SharedCredentials {
    fn drop(&mut self) {
        self.unbound.cancel();
    }
}

/// All credentials in use, by fingerprint.
#[derive(Default)]
pub(super) struct SharedTable {
    table: DashMap<Fingerprint, Weak<SharedCredentials>>,
    added: AtomicUsize,
}

impl SharedTable {
    /// Returns the value in use for these credentials, or makes it.
    pub(super) fn share(
        &self,
        key: &FingerprintKey,
        credentials: Credentials,
    ) -> Arc<SharedCredentials> {
        let fingerprint = credentials.fingerprint(key);
        let new = {
            let mut entry = self.table.entry(fingerprint).or_default();
            if let Some(shared) = entry.upgrade() {
                return shared;
            }
            let new = Arc::new(SharedCredentials::new(credentials, fingerprint));
            *entry = Arc::downgrade(&new);
            new
        };
        let added = self.added.fetch_add(1, Ordering::Relaxed);
        if added.is_multiple_of(SWEEP_EVERY) {
            self.table.retain(|_, shared| shared.strong_count() > 0);
        }
        new
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::credentials::given::GivenCredentials;
    use crate::name::LatticeId;

    /// Credentials without a login.
    pub(crate) fn credentials(url: &str) -> Credentials {
        let given = GivenCredentials {
            lattice: LatticeId::parse("x").unwrap(),
            actor: "M".into(),
            set_at: 0,
            urls: url.into(),
            jwt: None,
            seed: None,
            js_domain: None,
        };
        Credentials::new(&given).unwrap()
    }

    /// Makes shared credentials for a server.
    pub(crate) fn shared(url: &str) -> Arc<SharedCredentials> {
        let credentials = credentials(url);
        let fingerprint = credentials.fingerprint(&FingerprintKey::new([7; 16]));
        Arc::new(SharedCredentials::new(credentials, fingerprint))
    }

    #[test]
    fn equal_credentials_are_one_value_until_nobody_is_bound_to_them() {
        let (table, key) = (SharedTable::default(), FingerprintKey::new([7; 16]));
        let share = |url: &str| table.share(&key, credentials(url));
        let one = share("h");
        assert!(Arc::ptr_eq(&one, &share("nats://h:4222")));
        assert!(!Arc::ptr_eq(&one, &share("i")));
        let unbound = one.unbound();
        assert!(!unbound.is_cancelled());
        drop(one);
        assert!(unbound.is_cancelled() && !share("h").unbound().is_cancelled());
    }

    #[test]
    fn credentials_that_nobody_uses_leave_the_table() {
        let table = SharedTable::default();
        let key = FingerprintKey::new([7; 16]);
        for number in 0..10 * SWEEP_EVERY {
            drop(table.share(&key, credentials(&format!("h{number}"))));
        }
        assert!(table.table.len() <= SWEEP_EVERY);
    }
}
