//! One remote lattice: what can be asked of its hosts, and how that looks on
//! the wire (control interface: JSON on `wasmbus.ctl.{lattice}.…`).
//!
//! - [`subject`]: every subject, built from validated names only
//! - [`wire`]: every JSON body
//! - [`request`]: one question, one answer
//! - [`gather`]: one question, an answer from every host
//! - [`metadata`]: the bucket in which hosts keep links and claims
//! - [`generation`]: how hosts differ
//! - [`roster`]: the hosts of a lattice, as far as they are known
//! - [`plan`]: from what is meant to what a host must be told
//! - [`hosts`], [`actors`], [`providers`], [`links`]: what a lattice is asked for

pub mod actors;
pub mod gather;
pub mod generation;
pub mod hosts;
pub mod links;
pub mod metadata;
pub mod plan;
pub mod providers;
pub mod request;
pub mod roster;
pub mod subject;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::pool::Connection;
use roster::Roster;

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
    /// What is known of its hosts.
    pub roster: Arc<Roster>,
}

/// Time for a ping that nobody waits for.
const REFRESH_WITHIN: Duration = Duration::from_secs(2);

impl Lattice {
    /// The same lattice, for a ping that outlives the call.
    fn clone_for_refresh(&self) -> Self {
        Self {
            id: self.id.clone(),
            connection: self.connection.clone(),
            js_domain: self.js_domain.clone(),
            deadline: Deadline::new(Instant::now(), REFRESH_WITHIN),
            roster: self.roster.clone(),
        }
    }

    /// `lattice "x"`, for messages.
    pub fn called(&self) -> String {
        format!("lattice {:?}", self.id.as_str())
    }

    /// `host N… of lattice "x"`, for messages.
    pub fn host_called(&self, host: &HostId) -> String {
        format!("host {host} of {}", self.called())
    }
}
