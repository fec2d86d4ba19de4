//! One remote lattice: what can be asked of its hosts, and how that looks on
//! the wire (control interface: JSON on `wasmbus.ctl.{lattice}.…`).
//!
//! - [`subject`]: every subject, built from validated names only
//! - [`wire`]: every JSON body
//! - [`request`]: one question, one answer
//! - [`pings`]: one question, an answer from every host
//! - [`gather`]: when such a question is over
//! - [`metadata`]: the bucket in which hosts keep links and claims
//! - [`refmap`]: of which actor a reference is, as the bucket says
//! - [`generation`]: how hosts differ
//! - [`roster`]: the hosts of a lattice, as far as they are known
//! - [`watch`]: how they become known while the lattice is in use
//! - [`export_check`]: whether more than one of them gets through to us
//! - [`orders`]: what they were told a moment ago
//! - [`plan`]: from what is meant to what a host must be told
//! - [`hosts`], [`auctions`], [`actors`], [`providers`], [`links`]: what a lattice
//!   is asked for

pub mod bucket;
pub mod commands;
pub mod dialect;
pub mod exchange;
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

    /// `lattice "x"`, for messages.
    pub fn display_name(&self) -> String {
        format!("lattice {:?}", self.id.as_str())
    }

    /// `host N… of lattice "x"`, for messages.
    pub fn display_host(&self, host: &HostId) -> String {
        format!("host {host} of {}", self.display_name())
    }
}
