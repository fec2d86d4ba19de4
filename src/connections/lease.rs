//! A connection for the length of one call.

use std::ops::Deref;
use std::sync::Arc;

use crate::connections::connection::Connection;

/// The use of a connection by a call. A connection is idle from the end of its last
/// lease on, and does not close before.
pub struct Lease(Arc<Connection>);

impl Lease {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        connection.usage().begin();
        Self(connection)
    }

    /// The connection, for what goes on in the background and does not count as use.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.usage().end();
    }
}
