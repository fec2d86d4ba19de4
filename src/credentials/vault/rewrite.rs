//! Binds to their places the entries of earlier releases, which do not say where they
//! belong: each is written once more, as it is, by one of the instances.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tracing::{debug, info};

use crate::credentials::Pool;
use crate::credentials::vault::bucket::{Bucket, Version, WriteError};
use crate::name::LatticeId;

/// An entry that was taken over.
pub struct Rewrite {
    /// Of this lattice.
    pub lattice: LatticeId,
    /// The same, bound to its place, by the same actor and of the same time.
    pub placed: Bytes,
    /// Where it was found.
    pub version: Version,
}

/// Writes them over what was found, where it still stands. What fails is done when
/// the bucket is read the next time.
pub(super) async fn rewrite<K: Default + Send + Sync + 'static>(
    pool: Weak<Pool<K>>,
    bucket: Arc<Bucket>,
    all: Vec<Rewrite>,
) {
    let mut written = 0;
    for Rewrite {
        lattice,
        placed,
        version,
    } in all
    {
        // Other instances do the same, and what they wrote is heard of.
        let counts = |pool: Arc<Pool<K>>| pool.is_bound_at(&lattice, version);
        if !pool.upgrade().is_some_and(counts) {
            continue;
        }
        match bucket.write(&lattice, placed, version.revision).await {
            Ok(_) => written += 1,
            Err(WriteError::Changed) => {}
            Err(WriteError::Failed(why)) => {
                debug!(%lattice, %why, "credentials are not bound to their place yet");
                break;
            }
        }
    }
    if written > 0 {
        info!(
            lattices = written,
            "credentials of an earlier release are bound to their places"
        );
    }
}
