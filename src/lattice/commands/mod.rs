//! What the hosts of a lattice were told a moment ago, so that orders for one
//! actor take effect in the order in which they were accepted, and none rests on
//! an inventory that does not show the one before.
//!
//! - [`turns`]: who may read and order now
//! - [`flights`]: what hosts took on and do not show yet; `flight` is one thing
//! - [`memory`]: what was learned of references, and of updates that inventories
//!   do not show

pub mod in_flight;
pub mod learned;
pub mod locks;
mod pending;

use crate::name::HostId;

/// Commands of a moment ago.
#[derive(Default)]
pub struct Commands {
    /// Who may order now.
    pub locks: locks::Locks,
    /// What hosts do not show yet.
    pub in_flight: in_flight::InFlight,
    /// What was learned.
    pub learned: learned::Learned,
}

impl Commands {
    /// A host stopped, or started again: nothing it was told comes true any more.
    pub fn forget(&self, host: &HostId) {
        self.in_flight.forget(host);
        self.learned.forget(host);
    }
}
