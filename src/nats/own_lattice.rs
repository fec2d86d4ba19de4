//! The lattice that the provider lives in, for what is kept there.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_nats::Client;
use tokio::sync::{Semaphore, watch};

use crate::name::JsDomain;
use crate::nats::error_feed::ErrorFeed;

/// Questions to JetStream of our own lattice under way at once.
const AT_ONCE: usize = 8;

/// Questions to JetStream of our own lattice.
pub struct OpenRequests {
    /// Places for them: each has a subscription, and servers may allow few.
    pub places: Semaphore,
    /// Bytes of the largest, without headers.
    pub largest: AtomicUsize,
}

impl Default for OpenRequests {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
            largest: AtomicUsize::new(0),
        }
    }
}

/// Our own lattice, and our connection to its NATS.
#[derive(Clone)]
pub struct OwnLattice {
    /// Its connection; may be down, now or later.
    pub client: Client,
    /// How often it connected: after each time, subscriptions are new.
    pub connects: watch::Receiver<u64>,
    /// What its server says in passing.
    pub server_errors: ErrorFeed,
    /// Questions to its JetStream.
    pub requests: Arc<OpenRequests>,
    /// JetStream domain, where the host told us.
    pub js_domain: Option<JsDomain>,
    /// Name of the lattice; may have dots.
    pub lattice: String,
    /// Our public key.
    pub provider_key: String,
    /// Our link name.
    pub link_name: String,
}
