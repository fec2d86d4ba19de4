//! Whether the answer of one host alone gets through to us.
//!
//! Across NATS accounts a service export without `response_type: stream` lets
//! the first answer to a question through, and no other: a lattice of many hosts
//! looks like one of a single host. It is told by hosts that are alive, by their
//! events or by answers to other pings, and that a ping did not bring although
//! it was waited for them. Two answers to one ping prove the opposite for good,
//! so that a host that hangs among others is not taken for such an export.
//!
//! Nothing here knows a socket.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::exchange::gather::{Ended, Gathered};
use crate::name::HostId;
use crate::telemetry::Complaints;

/// Hosts that are remembered: one is enough to tell.
const MAX_HOSTS: usize = 8;
/// How long after its last sign a host is taken to be alive: a few heartbeats.
const ALIVE_FOR: Duration = Duration::from_secs(100);

/// What is known of the way in which answers come through.
#[derive(Default)]
pub struct ExportCheck {
    state: Mutex<State>,
    hints: Complaints,
}

#[derive(Default)]
struct State {
    signs: Vec<Signs>,
    /// More than one answer to a question got through.
    refuted: bool,
}

/// Signs of life of a host.
struct Signs {
    host: HostId,
    first: Instant,
    last: Instant,
    /// A patient ping brought another host and not this one.
    missed: bool,
    /// It was alive after that ping was sent.
    unheard: bool,
}

impl ExportCheck {
    /// Takes a sign of life that is no answer to a ping.
    pub fn alive(&self, host: &HostId) {
        self.with(|state| state.alive(host, Instant::now()));
    }

    /// Takes that a host is said to have ended.
    pub fn ended(&self, host: &HostId) {
        self.with(|state| state.signs.retain(|signs| signs.host != *host));
    }

    /// Takes what a ping to all hosts brought; whether to tell now that others
    /// seem not to get through. `patient`: no host that is well takes longer.
    pub fn pinged<T>(&self, gathered: &Gathered<T>, patient: Duration) -> bool {
        self.with(|state| state.pinged(gathered, patient)) && self.hints.is_due()
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
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

    fn pinged<T>(&mut self, gathered: &Gathered<T>, patient: Duration) -> bool {
        let harvest = &gathered.harvest;
        if gathered.ended == Ended::NoResponders {
            // Across accounts, servers do not say so.
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
        // One that ended because it found whom it wanted was not waited for.
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
        // Not for hosts that are gone meanwhile.
        let alive = |signs: &&Signs| now - signs.last < ALIVE_FOR;
        let alive: Vec<&Signs> = self.signs.iter().filter(alive).collect();
        alive.len() > 1 && alive.iter().any(|signs| signs.unheard)
    }
}

impl Signs {
    /// Takes that a patient ping, asked then, did not bring the host.
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
