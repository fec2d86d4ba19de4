//! The commands that the hosts of a lattice were sent a moment ago. Commands for one actor
//! take effect in the order in which they were accepted, and none is decided by an
//! inventory that does not show yet what the one before does.
//!
//! - [`target`]: what a command is about
//! - [`locks`]: which commands may be decided and sent at the same time
//! - [`in_flight`]: what hosts acknowledged, or may have, and do not show yet; `pending`
//!   is one such thing
//! - [`scales`]: the same for hosts of 1.x, which take an order before they do anything
//! - [`updates`]: components of 1.x that another client had updated
//! - [`learned`]: of which actor a reference is, which updates an inventory does not
//!   show, and which revisions were found to be right

pub mod in_flight;
pub mod learned;
pub mod locks;
mod pending;
pub mod scales;
pub mod target;
pub mod updates;

use crate::lattice::commands::in_flight::InFlight;
use crate::lattice::commands::learned::Learned;
use crate::lattice::commands::locks::Locks;
use crate::lattice::commands::scales::Scales;
use crate::lattice::commands::updates::Updates;
use crate::lattice::model::HostNews;
use crate::name::HostId;

/// Commands of a moment ago to the hosts of one lattice.
#[derive(Default)]
pub struct Commands {
    /// Which commands may be decided and sent now.
    pub locks: Locks,
    /// What hosts do not show yet.
    pub in_flight: InFlight,
    /// What was learned.
    pub learned: Learned,
    /// What hosts of 1.x do not show yet.
    pub scales: Scales,
    /// What another client had hosts of 1.x update.
    pub updates: Updates,
}

impl Commands {
    /// Notes what a host of 1.x says of what it runs.
    pub fn note_1x(&self, host: &HostId, news: &HostNews) {
        self.scales.note(host, news);
        self.updates.note(host, news);
    }

    /// Forgets a host that stopped or started again: the commands in flight to it have no
    /// effect any more.
    pub fn forget(&self, host: &HostId) {
        self.in_flight.forget(host);
        self.learned.forget(host);
        self.scales.forget(host);
        self.updates.forget(host);
    }
}
