//! The rosters of all lattices that were called.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::credentials::Route;
use crate::lattice::roster::Roster;

/// New rosters between two looks for rosters that nobody needs.
const SWEEP_EVERY: usize = 64;

/// A roster for each route: other credentials, or another JetStream domain, may lead
/// to other hosts.
#[derive(Default)]
pub struct Rosters {
    table: DashMap<u64, Arc<Roster>>,
    added: AtomicUsize,
}

impl Rosters {
    /// Returns the roster of a route, or makes an empty one. Rosters of lattices that
    /// are bound elsewhere leave the table once in a while.
    pub fn of(&self, route: &Arc<Route>) -> Arc<Roster> {
        // The guard of the table ends with this statement.
        let known = self.table.get(&route.number).map(|roster| roster.clone());
        if let Some(roster) = known {
            return roster;
        }
        let roster = self.table.entry(route.number).or_default().clone();
        let _ = roster.route.set(Arc::downgrade(route));
        let added = self.added.fetch_add(1, Ordering::Relaxed);
        if added.is_multiple_of(SWEEP_EVERY) {
            self.table.retain(|_, roster| !roster.is_unbound());
        }
        roster
    }
}
