//! Who uses a connection, and since when nobody does.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::connections::connection::Connection;

/// Uses of one connection.
pub(crate) struct Uses {
    now: AtomicUsize,
    since: Instant,
    /// When the last use ended, in milliseconds after `since`.
    ended: AtomicU64,
}

impl Uses {
    pub(crate) fn new() -> Self {
        Self {
            now: AtomicUsize::new(0),
            since: Instant::now(),
            ended: AtomicU64::new(0),
        }
    }

    /// How long there is a connection.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// When the last use ended, unless there is one now.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.now.load(Ordering::Acquire) == 0).then(|| self.last_end())
    }

    fn last_end(&self) -> Instant {
        self.since + Duration::from_millis(self.ended.load(Ordering::Acquire))
    }
}

/// The use of a connection by a call. The connection is idle from the end of the
/// last one on.
pub struct Held(Arc<Connection>);

impl Held {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        connection.uses().now.fetch_add(1, Ordering::AcqRel);
        Self(connection)
    }

    /// The connection, for what goes on in the background and is no use of it.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Deref for Held {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let uses = self.0.uses();
        let ended = uses.since.elapsed().as_millis() as u64;
        uses.ended.fetch_max(ended, Ordering::AcqRel);
        uses.now.fetch_sub(1, Ordering::AcqRel);
    }
}
