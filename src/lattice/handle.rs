//! One lattice for the length of one call: its connection, its roster, its limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::connections::{Connection, Lease};
use crate::deadline::Deadline;
use crate::lattice::roster::Roster;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::settings::{ComponentSettings, Limits};

/// A lattice, reached over a leased connection, for the length of one call.
pub struct Lattice {
    /// Its id.
    pub id: LatticeId,
    /// The connection.
    pub connection: Arc<Connection>,
    /// JetStream domain of its metadata bucket.
    pub js_domain: Option<JsDomain>,
    /// When the call must be answered.
    pub deadline: Deadline,
    /// How long parts of it may take.
    pub limits: Limits,
    /// How components and providers of 1.x hosts are named and kept.
    pub components: Arc<ComponentSettings>,
    /// What is known of its hosts.
    pub roster: Arc<Roster>,
    /// What goes on when a call is over, and must not be left half done.
    pub duties: TaskTracker,
    /// Counts the call as a use of the connection. A task in the background has none.
    _lease: Option<Lease>,
}

impl Lattice {
    /// Makes the lattice of a call.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the members, but for the lease"
    )]
    pub fn new(
        id: LatticeId,
        js_domain: Option<JsDomain>,
        lease: Lease,
        roster: Arc<Roster>,
        deadline: Deadline,
        limits: Limits,
        components: Arc<ComponentSettings>,
        duties: TaskTracker,
    ) -> Self {
        Self {
            id,
            components,
            connection: lease.connection().clone(),
            _lease: Some(lease),
            js_domain,
            deadline,
            limits,
            roster,
            duties,
        }
    }

    /// Makes the lattice of a task in the background, which ends after this time at most. It
    /// is no use of the connection, which may close when it is idle.
    pub(super) fn in_background(
        id: LatticeId,
        js_domain: Option<JsDomain>,
        connection: Arc<Connection>,
        roster: Arc<Roster>,
        time: Duration,
        duties: TaskTracker,
    ) -> Self {
        Self {
            id,
            connection,
            js_domain,
            deadline: Deadline::new(Instant::now(), time),
            limits: Limits::default(),
            components: Arc::default(),
            roster,
            duties,
            _lease: None,
        }
    }

    /// Returns the same lattice for a task that goes on after the call.
    pub(super) fn beyond_the_call(&self, time: Duration) -> Self {
        let (id, js_domain) = (self.id.clone(), self.js_domain.clone());
        let (connection, roster) = (self.connection.clone(), self.roster.clone());
        Self::in_background(id, js_domain, connection, roster, time, self.duties.clone())
    }

    /// Returns `lattice "x"`, for messages.
    pub fn display_name(&self) -> String {
        format!("lattice {:?}", self.id.as_str())
    }

    /// Returns `host N… of lattice "x"`, for messages.
    pub fn display_host(&self, host: &HostId) -> String {
        format!("host {host} of {}", self.display_name())
    }
}
