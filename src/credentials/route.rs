//! The way that calls to a lattice go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::credentials::shared::SharedCredentials;
use crate::name::JsDomain;

static ROUTES: AtomicU64 = AtomicU64::new(0);

/// The way that calls to a lattice go. A lattice that is bound to the same
/// credentials and domain again keeps its route.
pub struct Route {
    /// Tells it from every other route.
    pub number: u64,
    /// What the lattice is reached with.
    pub credentials: Arc<SharedCredentials>,
    /// JetStream domain of the lattice.
    pub js_domain: Option<JsDomain>,
}

impl Route {
    pub(super) fn new(credentials: Arc<SharedCredentials>, js_domain: Option<JsDomain>) -> Self {
        Self {
            number: ROUTES.fetch_add(1, Ordering::Relaxed),
            credentials,
            js_domain,
        }
    }

    /// Whether both lead to the same place.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.credentials, &other.credentials) && self.js_domain == other.js_domain
    }
}
