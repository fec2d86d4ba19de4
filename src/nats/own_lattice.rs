//! The lattice that the provider itself lives in: credentials and large bodies are kept
//! in its JetStream.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_nats::Client;
use tokio::sync::{Semaphore, watch};

use crate::name::JsDomain;
use crate::nats::error_feed::ErrorFeed;

/// Requests to JetStream of our own lattice that may be in flight at once.
const AT_ONCE: usize = 8;

/// Requests to JetStream of our own lattice that are in flight.
pub struct OpenRequests {
    /// Places for them: each needs a subscription, and a server may allow few.
    pub places: Semaphore,
    /// Bytes of the largest one sent so far, without headers.
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

/// Our own lattice, and our connection to its NATS server.
#[derive(Clone)]
pub struct OwnLattice {
    /// The connection; it may be down at any time.
    pub client: Client,
    /// How often it has connected: each time, subscriptions are made anew.
    pub connects: watch::Receiver<u64>,
    /// The errors that its server reports.
    pub server_errors: ErrorFeed,
    /// Requests to its JetStream.
    pub requests: Arc<OpenRequests>,
    /// Its JetStream domain, where the host names one.
    pub js_domain: Option<JsDomain>,
    /// Its name; may have dots.
    pub lattice: String,
    /// The public key of this provider.
    pub provider_key: String,
    /// The link name of this provider.
    pub link_name: String,
}
