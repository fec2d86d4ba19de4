//! Whether a host that came would have been heard.
//!
//! Hosts publish an event when they start, and a heartbeat every 30 s. Where the events of
//! every known host arrive, those of a new one would as well. A subscription alone shows
//! nothing: without an import between NATS accounts, or without permission, it stays
//! silent.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::name::HostId;

/// How long after an event of a host its events count as heard: two heartbeats.
pub(super) const HEARD_FOR: Duration = Duration::from_secs(60);
/// Most ids that have not answered a ping. Where more are heard, nothing counts as heard.
const MAX_UNANSWERED: usize = 1000;

/// What is heard of the hosts of a lattice, without asking.
#[derive(Default)]
pub(super) struct Listening {
    /// The connection over which events arrive.
    over: Option<Over>,
    /// Ids that were heard and have not answered a ping since, and when they were last.
    unanswered: HashMap<HostId, Instant>,
}

/// A connection over which events arrive.
struct Over {
    epoch: u64,
    /// Since when they have arrived without a gap.
    since: Instant,
}

impl Listening {
    /// Notes that events arrive from now on, over the connection of this epoch.
    pub(super) fn begin(&mut self, epoch: u64) {
        if self.since(epoch).is_none() {
            let since = Instant::now();
            self.over = Some(Over { epoch, since });
        }
    }

    /// Notes that events over the connection of this epoch may have been missed.
    pub(super) fn end(&mut self, epoch: u64) {
        if self.since(epoch).is_some() {
            self.over = None;
        }
    }

    /// Notes that nobody listens.
    pub(super) fn end_all(&mut self) {
        self.over = None;
    }

    /// Returns since when the events over the connection of this epoch have arrived without
    /// a gap.
    pub(super) fn since(&self, epoch: u64) -> Option<Instant> {
        let over = self.over.as_ref().filter(|over| over.epoch == epoch);
        over.map(|over| over.since)
    }

    /// Notes the id of a host that must answer a ping first.
    pub(super) fn owes_answer(&mut self, host: &HostId) {
        let now = Instant::now();
        if let Some(at) = self.unanswered.get_mut(host) {
            *at = now;
        } else if self.unanswered.len() < MAX_UNANSWERED {
            self.unanswered.insert(host.clone(), now);
        } else {
            self.over = None;
        }
    }

    /// Notes that a host answered a ping. Returns when it was last heard, where it owed an
    /// answer.
    pub(super) fn owes_nothing(&mut self, host: &HostId) -> Option<Instant> {
        self.unanswered.remove(host)
    }

    /// Tells whether every id that was heard has answered a ping since. One that is not
    /// heard again is forgotten.
    pub(super) fn all_answered(&mut self) -> bool {
        self.unanswered.retain(|_, at| at.elapsed() < HEARD_FOR);
        self.unanswered.is_empty()
    }
}
