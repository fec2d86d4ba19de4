//! The seventeen operations, grouped by what they are about. Each checks its request,
//! connects to the lattice, says what is wanted in the words of [`crate::lattice`], and turns
//! the answer into the contract's types.

mod actors;
mod auctions;
mod claims;
mod credentials;
mod dispatch;
mod execution;
#[doc(hidden)]
pub mod hosts;
mod limits;
mod links;
mod providers;

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::task::TaskTracker;

use crate::connections::Connections;
use crate::credentials::vault::key::SealingKey;
use crate::credentials::{NoRandomNumbers, Registry};
use crate::lattice::rosters::Rosters;
use crate::serve::places::Limiter;
use crate::settings::ProviderSettings;
use crate::telemetry::PartyLimiter;

/// Carries out the operations of the contract.
pub struct Controller {
    settings: ProviderSettings,
    credentials: Arc<Registry>,
    connections: Connections,
    rosters: Arc<Rosters>,
    /// Places for the calls to each lattice.
    lattices: Arc<Limiter>,
    /// Work that goes on after its call and must not be left half done.
    duties: TaskTracker,
    /// Limits the log lines about calls that find no place.
    busy_log: PartyLimiter,
}

impl Controller {
    /// Makes a controller that knows no lattice yet.
    ///
    /// `name` is how its connections show up at NATS servers. Credentials are sealed with a
    /// key that is derived from `cluster_seed` where the settings have none.
    ///
    /// # Errors
    /// That the operating system gives no random numbers.
    pub fn new(
        settings: ProviderSettings,
        name: String,
        cluster_seed: Option<&SecretString>,
    ) -> Result<Self, NoRandomNumbers> {
        let (lattices, tls) = (&settings.lattices, settings.tls.clone());
        let key = match &lattices.key {
            Some(seed) => SealingKey::from_seed(seed),
            None => cluster_seed.and_then(SealingKey::of_cluster),
        };
        Ok(Self {
            lattices: Limiter::new(
                settings.calls.to_lattice(),
                settings.calls.of_actor_to_lattice(),
            ),
            credentials: Arc::new(Registry::new(lattices, key)?),
            connections: Connections::new(name, lattices, tls),
            rosters: Arc::default(),
            settings,
            duties: TaskTracker::new(),
            busy_log: PartyLimiter::default(),
        })
    }
}
