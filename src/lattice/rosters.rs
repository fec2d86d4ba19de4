//! The rosters of all lattices that were called.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::connections::AnswerRoom;
use crate::credentials::Route;
use crate::lattice::roster::Roster;
use crate::shares::Shares;

/// Most new rosters between two looks for rosters that nobody needs.
const SWEEP_EVERY: usize = 64;

/// A roster for each route: other credentials, or another JetStream domain, may lead
/// to other hosts.
pub struct Rosters {
    table: DashMap<u64, Arc<Roster>>,
    /// The room for answers, which all lattices share.
    answers: Arc<Shares<u64>>,
    /// How many were added since the last look.
    added: AtomicUsize,
}

impl Default for Rosters {
    fn default() -> Self {
        Self {
            table: DashMap::new(),
            answers: AnswerRoom::for_all(),
            added: AtomicUsize::new(0),
        }
    }
}

impl Rosters {
    /// Returns the roster of a route, or makes an empty one. Rosters of lattices that
    /// are bound elsewhere leave the table once in a while: a roster may hold thousands of
    /// hosts, so that there are never many more of them than of the others.
    pub fn of(&self, route: &Arc<Route>) -> Arc<Roster> {
        // The guard of the table ends with this statement.
        let known = self.table.get(&route.number).map(|roster| roster.clone());
        if let Some(roster) = known {
            return roster;
        }
        let new = || Arc::new(Roster::new(AnswerRoom::of(&self.answers, route.number)));
        let roster = self.table.entry(route.number).or_insert_with(new).clone();
        let _ = roster.route.set(Arc::downgrade(route));
        let added = self.added.fetch_add(1, Ordering::Relaxed) + 1;
        if added >= SWEEP_EVERY.min(self.table.len() / 2) {
            self.added.store(0, Ordering::Relaxed);
            self.table.retain(|_, roster| !roster.is_unbound());
        }
        roster
    }
}

impl Rosters {
    /// Drops a roster of which nothing is known, where no call has it.
    pub(super) fn forget_empty(&self, route: &Route, roster: Arc<Roster>) {
        // Under the lock of the table: nobody else gets it meanwhile.
        let is_ours_alone = |_: &u64, kept: &Arc<Roster>| {
            Arc::ptr_eq(kept, &roster) && Arc::strong_count(kept) == 2 && kept.hosts().is_empty()
        };
        self.table.remove_if(&route.number, is_ours_alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::tests::shared;

    fn route(number: u64) -> Arc<Route> {
        Arc::new(Route {
            number,
            credentials: shared("h"),
            js_domain: None,
        })
    }

    #[test]
    fn a_route_keeps_its_roster() {
        let (rosters, one) = (Rosters::default(), route(0));
        let roster = rosters.of(&one);
        for number in 1..1000 {
            rosters.of(&route(number));
        }
        assert!(Arc::ptr_eq(&roster, &rosters.of(&one)));
    }

    #[test]
    fn an_empty_roster_is_dropped_where_no_call_has_it() {
        let (rosters, one) = (Rosters::default(), route(0));
        let (roster, of_a_call) = (rosters.of(&one), rosters.of(&one));
        rosters.forget_empty(&one, roster.clone());
        assert!(Arc::ptr_eq(&roster, &rosters.of(&one)));
        drop(of_a_call);
        rosters.forget_empty(&one, roster);
        assert!(rosters.table.is_empty());
    }

    #[test]
    fn rosters_of_replaced_routes_are_never_many_more_than_the_others() {
        for live in [1, 10, 100, 1000] {
            let rosters = Rosters::default();
            let routes: Vec<_> = (0..live).map(route).collect();
            for route in &routes {
                rosters.of(route);
            }
            for number in live..live + 500 {
                rosters.of(&route(number));
                let dead = rosters.table.len() - routes.len();
                assert!(dead <= SWEEP_EVERY.min(routes.len() + 1), "{live}: {dead}");
            }
        }
    }
}
