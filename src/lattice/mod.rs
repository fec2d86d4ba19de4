//! One remote lattice: what its hosts are asked and told.
//!
//! From top to bottom; each room uses only those below it:
//!
//! - [`ops`]: the operations on a lattice, whichever hosts it has
//! - [`bucket`]: the bucket in which hosts keep links and claims
//! - [`roster`]: the hosts, as far as they are known, and how that is kept fresh
//! - [`exchange`]: a question to one host or to all of them, and how it ends
//! - [`commands`]: what hosts were told a moment ago
//! - [`dialect`]: how a host is talked to, and how hosts differ
//! - [`model`]: what lattices consist of

pub mod bucket;
pub mod commands;
pub mod dialect;
pub mod exchange;
pub mod model;
pub mod ops;
pub mod roster;
pub mod rosters;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::connections::{Connection, Lease};
use crate::deadline::Deadline;
use crate::lattice::roster::Roster;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::settings::Limits;

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
    /// What is known of its hosts.
    pub roster: Arc<Roster>,
    /// What goes on when a call is over, and must not be left half done.
    pub duties: TaskTracker,
    /// Counts the call as a use of the connection. A task in the background has none.
    _lease: Option<Lease>,
}

impl Lattice {
    /// Makes the lattice of a call. From here on its roster is kept fresh.
    pub fn new(
        id: LatticeId,
        js_domain: Option<JsDomain>,
        lease: Lease,
        roster: Arc<Roster>,
        deadline: Deadline,
        limits: Limits,
        duties: TaskTracker,
    ) -> Self {
        let lattice = Self {
            id,
            connection: lease.connection().clone(),
            _lease: Some(lease),
            js_domain,
            deadline,
            limits,
            roster,
            duties,
        };
        if lattice.roster.used() {
            roster::watch::begin(&lattice);
        }
        lattice
    }

    /// Returns the same lattice for a task that goes on after the call, for this time
    /// at most. It is no use of the connection, which may close when it is idle.
    fn beyond_the_call(&self, time: Duration) -> Self {
        Self {
            id: self.id.clone(),
            connection: self.connection.clone(),
            js_domain: self.js_domain.clone(),
            deadline: Deadline::new(Instant::now(), time),
            limits: Limits::default(),
            roster: self.roster.clone(),
            duties: self.duties.clone(),
            _lease: None,
        }
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
