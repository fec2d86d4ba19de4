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

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::connections::{Connection, Held};
use crate::credentials::Lease;
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
    /// That a call uses the connection; nothing in the background does.
    _held: Option<Held>,
}

impl Lattice {
    /// A lattice that is called now. From here on its roster is kept fresh.
    pub fn new(
        id: LatticeId,
        lease: Lease<Roster>,
        deadline: Deadline,
        limits: Limits,
        duties: TaskTracker,
    ) -> Self {
        let lattice = Self {
            id,
            connection: lease.held.connection().clone(),
            _held: Some(lease.held),
            js_domain: lease.js_domain,
            deadline,
            limits,
            roster: lease.kept,
            duties,
        };
        if lattice.roster.used() {
            roster::watch::begin(&lattice);
        }
        lattice
    }

    /// The same lattice for what goes on when the call is over, so long at most.
    /// It does not hold the connection open: what has to, takes the lattice itself.
    fn beyond_the_call(&self, time: Duration) -> Self {
        Self {
            id: self.id.clone(),
            connection: self.connection.clone(),
            js_domain: self.js_domain.clone(),
            deadline: Deadline::new(Instant::now(), time),
            limits: Limits::default(),
            roster: self.roster.clone(),
            duties: self.duties.clone(),
            _held: None,
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
