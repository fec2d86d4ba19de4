//! What the credentials of a lattice may not ask, as its server said.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::model::Protocol;
use crate::lattice::roster::Roster;

/// How long a refusal by JetStream counts.
const ASK_JETSTREAM_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Roster {
    /// Notes that these credentials may not ping hosts of a protocol. Returns whether that
    /// is new.
    pub fn note_refused(&self, protocol: Protocol, epoch: u64) -> bool {
        let refused = Some((protocol, epoch));
        std::mem::replace(&mut self.state.lock().refused, refused) != refused
    }

    /// Forgets it, where it was so over the connection of this epoch.
    pub fn forget_refused(&self, epoch: u64) {
        let state = &mut *self.state.lock();
        state.refused = state.refused.filter(|(_, then)| *then != epoch);
    }

    /// Returns the protocol of which these credentials may not ping hosts.
    pub fn refused(&self, epoch: u64) -> Option<Protocol> {
        let refused = self.state.lock().refused;
        refused
            .filter(|(_, then)| *then == epoch)
            .map(|(protocol, _)| protocol)
    }

    /// Notes that JetStream refuses these credentials.
    pub fn jetstream_refused(&self) {
        self.state.lock().jetstream_refused = Some(Instant::now());
    }

    /// Tells whether it did so a moment ago. The server logs each question that it
    /// refuses, so that it is better not asked again and again.
    pub fn is_jetstream_refused(&self) -> bool {
        let refused = self.state.lock().jetstream_refused;
        refused.is_some_and(|at| at.elapsed() < ASK_JETSTREAM_AGAIN_AFTER)
    }
}
