//! One remote lattice: what can be asked of its hosts, and how that looks on
//! the wire (control interface: JSON on `wasmbus.ctl.{lattice}.…`).
//!
//! - [`subject`]: every subject, built from validated names only
//! - [`wire`]: every JSON body
//! - [`request`]: one question, one answer
//! - [`gather`]: one question, an answer from every host
//! - [`metadata`]: the bucket in which hosts keep links and claims

pub mod gather;
pub mod metadata;
pub mod request;
pub mod subject;
pub mod wire;

use std::sync::Arc;

use crate::deadline::Deadline;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::pool::Connection;

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
}

impl Lattice {
    /// `lattice "x"`, for messages.
    pub fn called(&self) -> String {
        format!("lattice {:?}", self.id.as_str())
    }

    /// `host N… of lattice "x"`, for messages.
    pub fn host_called(&self, host: &HostId) -> String {
        format!("host {host} of {}", self.called())
    }
}
