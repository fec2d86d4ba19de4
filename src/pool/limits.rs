//! What all connections of a pool share: how many there may be.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::failure::DialFailure;
use crate::nats::Allowed;
use crate::settings::PoolLimits;

/// Longest that a dial waits for others to end.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// The limits, and what is left of them.
pub(super) struct Shared {
    pub(super) limits: PoolLimits,
    /// How connections show up at servers.
    pub(super) name: String,
    /// Where they may go.
    pub(super) allowed: Allowed,
    connections: Arc<Semaphore>,
    dials: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(name: String, limits: PoolLimits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections)),
            dials: Arc::new(Semaphore::new(limits.dials)),
            limits,
            name,
            allowed: Allowed::default(),
        }
    }

    /// The same, where connections may go to these servers.
    pub(super) fn within(self, allowed: Allowed) -> Self {
        Self { allowed, ..self }
    }

    /// Whether there may be no further connection.
    pub(super) fn is_full(&self) -> bool {
        self.connections.available_permits() == 0
    }

    /// The right to be a connection, for as long as it is one.
    pub(super) fn connection(&self) -> Result<OwnedSemaphorePermit, DialFailure> {
        let permit = self.connections.clone().try_acquire_owned();
        permit.map_err(|_| {
            DialFailure::Limit(format!(
                "{} connections are in use, and the provider may have no more (max_connections)",
                self.limits.connections
            ))
        })
    }

    /// The right to dial; others are waited for, for a while.
    pub(super) async fn dial(&self) -> Result<OwnedSemaphorePermit, DialFailure> {
        let waited = timeout(WAIT_FOR_OTHERS, self.dials.clone().acquire_owned());
        match waited.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DialFailure::Limit(format!(
                "{} connections are being dialled, and the provider may dial no more at once \
                 (max_dials)",
                self.limits.dials
            ))),
        }
    }
}
