//! Which replies to a gather count: one of each host.

use std::collections::HashSet;
use std::time::Duration;

use crate::lattice::dialect::v0::replies::refusal;
use crate::lattice::model::FromHost;
use crate::lattice::model::lenient::parse;
use crate::name::HostId;

/// Most further replies of hosts that are compared with their first: somebody could
/// send very many.
const MOST_COMPARED: usize = 100;

/// A reply that counts.
#[derive(Debug)]
pub struct Answer<T> {
    /// The host.
    pub host: HostId,
    /// How long after the question it came.
    pub after: Duration,
    /// What the host says.
    pub said: T,
}

/// The replies that count, one for each host, and the number of those that do not.
#[derive(Debug)]
pub struct Harvest<T> {
    /// In the order in which they came.
    pub answers: Vec<Answer<T>>,
    hosts: HashSet<HostId>,
    /// Failed acknowledgements.
    pub refusals: usize,
    /// The reason that the first of them gives.
    pub first_refusal: Option<String>,
    /// Replies that are no answer at all.
    pub unreadable: usize,
    /// Further replies of hosts that had answered: OTP hosts may answer once for each
    /// virtual host, and a cluster may deliver twice.
    pub duplicates: usize,
    /// The first id under which two hosts answered.
    pub twins: Option<HostId>,
}

impl<T> Default for Harvest<T> {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            hosts: HashSet::new(),
            refusals: 0,
            first_refusal: None,
            unreadable: 0,
            duplicates: 0,
            twins: None,
        }
    }
}

impl<T: FromHost> Harvest<T> {
    /// Adds a reply. Returns whether it counts.
    pub fn take(&mut self, payload: &[u8], after: Duration) -> bool {
        let read = parse::<T>(payload).ok();
        let from = |said: T| Some((HostId::parse(said.host()).ok()?, said));
        let Some((host, said)) = read.and_then(from) else {
            // A refusal can be read as an answer without a host
            // (docs/hosts.md#refusal-looks-like-an-answer).
            match refusal(payload) {
                Some(reason) => {
                    self.refusals += 1;
                    self.first_refusal.get_or_insert(reason);
                }
                None => self.unreadable += 1,
            }
            return false;
        };
        if !self.hosts.insert(host.clone()) {
            self.duplicates += 1;
            if self.duplicates <= MOST_COMPARED && self.twins.is_none() {
                let mut answers = self.answers.iter();
                let first = answers.find(|answer| answer.host == host);
                let other = first.is_some_and(|first| said.is_of_another_host(&first.said));
                self.twins = other.then_some(host);
            }
            return false;
        }
        self.answers.push(Answer { host, after, said });
        true
    }
}

impl<T> Harvest<T> {
    /// Tells whether no reply came at all.
    pub fn is_silence(&self) -> bool {
        self.answers.is_empty() && self.refusals + self.unreadable == 0
    }

    /// Tells whether this host gave a reply that counts.
    pub fn has(&self, host: &HostId) -> bool {
        self.hosts.contains(host)
    }
}
