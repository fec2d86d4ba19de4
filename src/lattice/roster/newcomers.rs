//! Whether a gather gives newcomers time.

use tokio::time::Instant;

use crate::lattice::gather::Others;
use crate::lattice::roster::listening::HEARD_FOR;
use crate::lattice::roster::{Complete, LEARNED_FOR, MAX_HOSTS, State};

impl State {
    /// Tells what hosts there may be beside those that are known.
    pub(super) fn others(&mut self, epoch: u64) -> Others {
        // The first gather after the credentials were changed has the hosts of that moment.
        let learned = self.learned.take();
        let learned = learned.is_some_and(|(at, then)| then == epoch && at.elapsed() < LEARNED_FOR);
        if self.hosts.is_empty() || !self.complete_in(epoch) {
            return Others::Any;
        }
        // Of more hosts, some are not known.
        let are_all_known = self.hosts.len() < MAX_HOSTS;
        let are_heard = learned || self.all_are_heard(epoch);
        match self.listening.all_answered() && are_all_known && are_heard {
            true => Others::None,
            false => Others::Newcomers,
        }
    }

    /// Tells whether the events of every known host arrive over this connection, and have
    /// since before all hosts were pinged.
    fn all_are_heard(&self, epoch: u64) -> bool {
        let (Some(since), Some(complete)) = (self.listening.since(epoch), self.complete) else {
            return false;
        };
        let is_heard = |at: Instant| at >= since && at.elapsed() < HEARD_FOR;
        let mut hosts = self.hosts.values();
        complete.asked >= since && hosts.all(|known| known.heard.is_some_and(is_heard))
    }

    pub(super) fn complete_since(&mut self, asked: Instant, epoch: u64) {
        let at = Instant::now();
        self.complete = Some(Complete { asked, at, epoch });
    }
}
