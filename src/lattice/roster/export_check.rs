//! Whether the reply of only one host gets through to us.
//!
//! Across NATS accounts, a service export without `response_type: stream` lets the first
//! reply to a question through, and no other: a lattice of many hosts looks like one of a
//! single host. It shows where hosts are alive, as their events or replies to other pings
//! say, and did not answer a ping that waited for them. Two replies to one ping prove
//! that there is no such export, for good, so that a host that hangs among others is not
//! taken for one.
//!
//! Nothing here knows a socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::gather::{Ended, Gathered};
use crate::lock::Lock;
use crate::name::HostId;
use crate::telemetry::LogLimiter;

/// Hosts that are remembered: one would be enough.
const MAX_HOSTS: usize = 8;
/// How long after its last sign a host counts as alive: a few heartbeats.
const ALIVE_FOR: Duration = Duration::from_secs(100);

/// Watches for an export that lets one reply through.
#[derive(Default)]
pub struct ExportCheck {
    state: Lock<State>,
    hints: LogLimiter,
}

#[derive(Default)]
struct State {
    signs: Vec<Signs>,
    /// Whether more than one reply to a question got through.
    refuted: bool,
}

/// Signs of life of a host.
struct Signs {
    host: HostId,
    first: Instant,
    last: Instant,
    /// Whether a patient ping brought another host and not this one.
    missed: bool,
    /// Whether it was alive after that ping was sent.
    unheard: bool,
}

impl ExportCheck {
    /// Notes a sign of life that is no reply to a ping.
    pub fn alive(&self, host: &HostId) {
        self.with(|state| state.alive(host, Instant::now()));
    }

    /// Notes that a host is said to have ended.
    pub fn ended(&self, host: &HostId) {
        self.with(|state| state.signs.retain(|signs| signs.host != *host));
    }

    /// Notes what a ping to all hosts brought. Returns whether to log now that replies of
    /// others seem not to get through. No host that is well takes longer than `patient`.
    pub fn pinged(&self, gathered: &Gathered, patient: Duration) -> bool {
        self.with(|state| state.pinged(gathered, patient)) && self.hints.is_due()
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock())
    }
}

impl State {
    fn alive(&mut self, host: &HostId, now: Instant) {
        if self.refuted {
            return;
        }
        if let Some(signs) = self.signs.iter_mut().find(|signs| signs.host == *host) {
            signs.last = now;
            signs.unheard |= signs.missed;
            return;
        }
        self.signs.retain(|signs| now - signs.last < ALIVE_FOR);
        if self.signs.len() < MAX_HOSTS {
            self.signs.push(Signs {
                host: host.clone(),
                first: now,
                last: now,
                missed: false,
                unheard: false,
            });
        }
    }

    fn pinged(&mut self, gathered: &Gathered, patient: Duration) -> bool {
        let harvest = &gathered.harvest;
        if gathered.ended == Ended::NoResponders {
            // Servers do not say so across accounts.
            self.signs.clear();
        }
        if harvest.answers.len() + harvest.duplicates > 1 {
            // Nothing is remembered from here on.
            *self = Self {
                refuted: true,
                signs: Vec::new(),
            };
        }
        let [alone] = harvest.answers.as_slice() else {
            return false;
        };
        let now = Instant::now();
        self.alive(&alone.host, now);
        // A ping that ended because it found the host that it needed waited for no other.
        let for_all = matches!(
            gathered.ended,
            Ended::Complete | Ended::Stall | Ended::Deadline
        );
        if self.refuted || !for_all {
            return false;
        }
        if gathered.took >= patient {
            for signs in self.signs.iter_mut().filter(|s| s.host != alone.host) {
                signs.miss(gathered.asked);
            }
        }
        // Hosts that are gone by now do not count.
        let alive = |signs: &&Signs| now - signs.last < ALIVE_FOR;
        let alive: Vec<&Signs> = self.signs.iter().filter(alive).collect();
        alive.len() > 1 && alive.iter().any(|signs| signs.unheard)
    }
}

impl Signs {
    /// Notes that a patient ping, asked then, did not bring the host.
    fn miss(&mut self, asked: Instant) {
        if self.first <= asked {
            self.missed = true;
            // OTP hosts send heartbeats when they are pinged.
            self.unheard |= self.last > asked;
        }
    }
}

#[cfg(test)]
#[path = "export_check_tests.rs"]
mod tests;
