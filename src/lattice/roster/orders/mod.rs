//! What the hosts of a lattice were told a moment ago, so that orders for one
//! actor take effect in the order in which they were accepted, and none rests on
//! an inventory that does not show the one before.
//!
//! - [`turns`]: who may read and order now
//! - [`flights`]: what hosts took on and do not show yet; `flight` is one thing
//! - [`memory`]: what was learned of references, and of updates that inventories
//!   do not show

mod flight;
pub mod flights;
pub mod memory;
pub mod turns;

use crate::name::HostId;

/// Orders of a moment ago.
#[derive(Default)]
pub struct Orders {
    /// Who may order now.
    pub turns: turns::Turns,
    /// What hosts do not show yet.
    pub flights: flights::Flights,
    /// What was learned.
    pub memory: memory::Memory,
}

impl Orders {
    /// A host stopped, or started again: nothing it was told comes true any more.
    pub fn forget(&self, host: &HostId) {
        self.flights.forget(host);
        self.memory.forget(host);
    }
}
