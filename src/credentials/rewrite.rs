//! Writes credentials of earlier releases, which do not say where they belong, once
//! more with their place. One of the instances does it.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, info};

use crate::credentials::registry::Registry;
use crate::credentials::vault::bucket::{Bucket, Version, WriteError};
use crate::name::LatticeId;

/// Credentials of an earlier release that were taken over.
pub(super) struct Rewrite {
    pub(super) lattice: LatticeId,
    /// What was found, sealed once more with its place.
    pub(super) placed: Bytes,
    /// Where they were found.
    pub(super) version: Version,
}

/// Writes all of them over what was found, where that still stands. What fails is
/// written when the bucket is read the next time.
pub(super) async fn rewrite(registry: Arc<Registry>, bucket: Arc<Bucket>, all: Vec<Rewrite>) {
    let mut written = 0;
    for Rewrite {
        lattice,
        placed,
        version,
    } in all
    {
        // Other instances write them as well, and this one hears of it.
        if !registry.is_bound_to(&lattice, version) {
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
