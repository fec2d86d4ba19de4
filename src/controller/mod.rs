//! The seventeen operations, grouped by what they are about. Each checks its request,
//! connects to the lattice, says what is wanted in the words of [`crate::lattice`], and turns
//! the answer into the contract's types.

mod actors;
mod auctions;
mod claims;
mod credentials;
mod dispatch;
mod execution;
mod hosts;
mod limits;
mod links;
mod providers;

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::contract::{Request, Response};
use crate::controller::execution::Execution;
#[doc(hidden)]
pub use crate::controller::hosts::described;
use crate::credentials::Pool;
use crate::credentials::vault::StoreKey;
use crate::error::Error;
use crate::lattice::roster::Roster;
use crate::nats::OwnLattice;
use crate::serve::places::Limiter;
use crate::serve::{Call, Operations};
use crate::settings::ProviderSettings;
use crate::telemetry::LogLimiter;

/// Carries out the operations of the contract.
pub struct Controller {
    settings: ProviderSettings,
    pool: Arc<Pool<Roster>>,
    /// Places for the calls to each lattice.
    lattices: Arc<Limiter>,
    /// Work that goes on after its call and must not be left half done.
    duties: TaskTracker,
    /// Limits the log lines about calls that find no place.
    busy_log: LogLimiter,
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
    ) -> Result<Self, String> {
        let (pool, tls) = (&settings.pool, settings.tls.clone());
        let key = match &pool.key {
            Some(seed) => StoreKey::from_seed(seed).ok(),
            None => cluster_seed.and_then(StoreKey::of_cluster),
        };
        let pool = Arc::new(Pool::new(name, pool, tls, key)?);
        Ok(Self {
            lattices: Limiter::new(settings.calls.to_lattice()),
            settings,
            pool,
            duties: TaskTracker::new(),
            busy_log: LogLimiter::default(),
        })
    }
}

impl Operations for Controller {
    async fn carry_out(&self, call: &Call<'_>, request: Request) -> Result<Response, Error> {
        let execution = Execution::new(self, call);
        let result = dispatch::dispatch(&execution, &request).await;
        execution.ended(&result);
        result
    }

    fn begin(&self, home: OwnLattice) {
        self.pool.follow(home);
    }

    async fn finish(&self) {
        self.duties.close();
        if !self.duties.is_empty() {
            info!(
                duties = self.duties.len(),
                "commands are carried out to their end"
            );
        }
        self.duties.wait().await;
    }

    fn health(&self) -> Result<(), String> {
        self.pool.store().health()
    }
}
