//! Whether more events arrive than hosts that are well would send.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::roster::Roster;

/// More events in a second than hosts that are well would send by themselves. Then events
/// are ignored until the next regular ping.
const MAX_EVENTS: usize = 2000;
/// The same for their bytes. The largest that a host that is well sends has some kilobytes.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a heartbeat that a ping causes (docs/hosts.md#ping-causes-heartbeat).
const CAUSED_BYTES: usize = 8 * 1024;

/// The events of one second.
pub(super) struct Flood {
    since: Instant,
    events: usize,
    bytes: usize,
    /// How many answers to pings had come when it began, and when the second before did.
    answers: [usize; 2],
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            events: 0,
            bytes: 0,
            answers: [0; 2],
        }
    }
}

impl Flood {
    /// Counts an event of so many bytes. Returns whether there are too many of them, beside
    /// those that pings cause.
    pub(super) fn counts(&mut self, roster: &Roster, bytes: usize) -> bool {
        let answers = roster.ping_answers();
        if self.since.elapsed() > Duration::from_secs(1) {
            *self = Self {
                answers: [answers, self.answers[0]],
                ..Self::default()
            };
        }
        self.events += 1;
        self.bytes += bytes;
        // Each answer to a ping may have a heartbeat beside it, shortly before or after, which
        // hosts 0.81 and 0.82 publish on two subjects.
        let caused = 2 * (answers - self.answers[1]);
        self.events > MAX_EVENTS + caused || self.bytes > MAX_EVENT_BYTES + caused * CAUSED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use nkeys::{KeyPair, KeyPairType};
    use tokio::time::advance;

    use super::*;
    use crate::lattice::model::Host;
    use crate::name::HostId;

    #[tokio::test(start_paused = true)]
    async fn heartbeats_that_pings_cause_are_no_flood() {
        let key = KeyPair::new(KeyPairType::Server).public_key();
        let (roster, host) = (Roster::default(), HostId::parse(&key).unwrap());
        let mut flood = Flood::default();
        for _ in 0..5 {
            for _ in 0..2 * MAX_EVENTS {
                roster.note_ping_reply(&host, &Host::default(), Duration::ZERO);
                assert!(!flood.counts(&roster, 1000));
                assert!(
                    !flood.counts(&roster, 1000),
                    "once more on the other subject"
                );
            }
            advance(Duration::from_millis(1001)).await;
        }
        // Two seconds later, those answers count no more.
        for _ in 0..2 {
            advance(Duration::from_millis(1001)).await;
            flood.counts(&roster, 1000);
        }
        let counted = (0..MAX_EVENTS)
            .filter(|_| flood.counts(&roster, 1000))
            .count();
        assert_eq!(counted, 1);
    }
}
