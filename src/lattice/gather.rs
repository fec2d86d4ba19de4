//! When a gather is over, and which of its answers count.
//!
//! A gather is one question to every host and an answer from each (NATS calls
//! it request-many, ADR-47). It is over when it is complete: when every host
//! that is known to be there has answered, and newcomers had a moment to; where
//! not all are known, when answers have stalled; and at the deadline, whatever
//! comes. The first answer may take until the deadline. Only answers that count
//! move the clock: what cannot be read, refuses, or was said before changes
//! nothing but a number in the log.
//!
//! Nothing here knows a socket: messages come from any stream.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use futures::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use super::wire::{self, Bid, HostPing, V1Ping};
use crate::deadline::Deadline;
use crate::name::HostId;

/// Most messages and bytes that one gather takes.
const MAX_REPLIES: usize = 10_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// An answer that says which host it is from.
pub trait FromHost: DeserializeOwned {
    /// Public key of the host, as it says.
    fn host(&self) -> &str;
}

impl FromHost for HostPing {
    fn host(&self) -> &str {
        &self.id
    }
}

impl FromHost for Bid {
    fn host(&self) -> &str {
        &self.host_id
    }
}

impl FromHost for V1Ping {
    fn host(&self) -> &str {
        &self.response.id
    }
}

/// What a host said.
#[derive(Debug)]
pub struct Answer<T> {
    /// Who.
    pub host: HostId,
    /// How long after the question.
    pub after: Duration,
    /// What.
    pub said: T,
}

/// The answers that count, one for each host, and how many did not.
#[derive(Debug)]
pub struct Harvest<T> {
    /// In the order in which they came.
    pub answers: Vec<Answer<T>>,
    hosts: HashSet<HostId>,
    /// Failed acknowledgements.
    pub refusals: usize,
    /// The words of the first of them.
    pub first_refusal: Option<String>,
    /// What is no answer at all.
    pub unreadable: usize,
    /// Further answers of hosts that had answered: OTP hosts may answer once for
    /// each virtual host, and a cluster may deliver twice.
    pub duplicates: usize,
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
        }
    }
}

impl<T: FromHost> Harvest<T> {
    /// Takes a reply; whether it counts.
    pub fn take(&mut self, payload: &[u8], after: Duration) -> bool {
        let read = wire::parse::<T>(payload).ok();
        let from = |said: T| Some((HostId::parse(said.host()).ok()?, said));
        let Some((host, said)) = read.and_then(from) else {
            // A refusal decodes as an answer without a host (trap T5).
            match wire::refusal(payload) {
                Some(words) => {
                    self.refusals += 1;
                    self.first_refusal.get_or_insert(words);
                }
                None => self.unreadable += 1,
            }
            return false;
        };
        if !self.hosts.insert(host.clone()) {
            self.duplicates += 1;
            return false;
        }
        self.answers.push(Answer { host, after, said });
        true
    }
}

impl<T> Harvest<T> {
    /// Whether this host gave an answer that counts.
    pub fn has(&self, host: &HostId) -> bool {
        self.hosts.contains(host)
    }
}

/// Hosts that will answer, each with how long after the question at most.
pub type Expected = HashMap<HostId, Duration>;

/// What a gather is after.
#[derive(Clone, Debug)]
pub enum Enough {
    /// An answer of every host.
    All,
    /// Any answer.
    First,
    /// The answer of this host, and what came before it.
    Host(HostId),
}

/// When a gather is over.
#[derive(Clone, Debug)]
pub struct Terms {
    /// At this moment, whatever comes.
    pub deadline: Deadline,
    /// After the last answer, while hosts are missing or not all are known.
    pub stall: Duration,
    /// After the last answer, once every expected host gave one.
    pub grace: Duration,
    /// The hosts that are known to be there; `None` where others may be.
    pub expected: Option<Expected>,
    /// What is waited for.
    pub enough: Enough,
}

/// Why a gather ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody listens.
    NoResponders,
    /// What was waited for came.
    Found,
    /// Every expected host answered, and newcomers had a moment.
    Complete,
    /// No further answer came for a while.
    Stall,
    /// The time was over.
    Deadline,
    /// More came than one gather takes.
    Limit,
}

/// What a gather brought.
#[derive(Debug)]
pub struct Gathered<T> {
    /// The answers.
    pub harvest: Harvest<T>,
    /// Why it ended.
    pub ended: Ended,
    /// Expected hosts that did not answer, with how long they were expected to
    /// take at most.
    pub silent: Expected,
    /// When the question was asked.
    pub asked: Instant,
    /// How long it took.
    pub took: Duration,
}

/// A gather under way.
struct Gather<T> {
    terms: Terms,
    asked: Instant,
    harvest: Harvest<T>,
    /// Expected hosts that have not answered.
    silent: Expected,
    /// When the last answer that counts came.
    last: Option<Instant>,
    replies: usize,
    bytes: usize,
}

/// Gathers the answers to a question that is asked now. `aside` sees every reply
/// first, with the time since then, and says whether it kept it: replies to
/// another question on the same stream.
///
/// `None` where the stream ended. Cut off, it leaves nothing behind.
pub async fn gather<T: FromHost>(
    replies: &mut (impl Stream<Item = Message> + Unpin),
    terms: Terms,
    mut aside: impl FnMut(&Message, Duration) -> bool,
) -> Option<Gathered<T>> {
    let mut gather = Gather::new(terms);
    let ended = loop {
        tokio::select! {
            // What is here already came in time, also where we come late.
            biased;
            reply = replies.next() => {
                let reply = reply?;
                if let Some(ended) = gather.counted(&reply) {
                    break ended;
                }
                if !aside(&reply, gather.asked.elapsed())
                    && let Some(ended) = gather.take(&reply)
                {
                    break ended;
                }
            }
            () = sleep_until(gather.until()) => break gather.expired(),
        }
    };
    Some(Gathered {
        ended,
        took: gather.asked.elapsed(),
        harvest: gather.harvest,
        silent: gather.silent,
        asked: gather.asked,
    })
}

impl<T: FromHost> Gather<T> {
    fn new(terms: Terms) -> Self {
        Self {
            asked: Instant::now(),
            harvest: Harvest::default(),
            silent: terms.expected.clone().unwrap_or_default(),
            last: None,
            replies: 0,
            bytes: 0,
            terms,
        }
    }

    /// Counts a reply of any kind: a flood of them is an end, too.
    fn counted(&mut self, reply: &Message) -> Option<Ended> {
        self.replies += 1;
        self.bytes += reply.payload.len();
        if self.replies > MAX_REPLIES || self.bytes > MAX_BYTES {
            Some(Ended::Limit)
        } else if Instant::now() > self.terms.deadline.at() {
            Some(Ended::Deadline)
        } else {
            None
        }
    }

    fn take(&mut self, reply: &Message) -> Option<Ended> {
        // An answer of the server: the payload is empty.
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return Some(Ended::NoResponders);
        }
        let after = self.asked.elapsed();
        if !self.harvest.take(&reply.payload, after) {
            return None;
        }
        self.last = Some(Instant::now());
        let host = &self.harvest.answers.last()?.host;
        self.silent.remove(host);
        let found = match &self.terms.enough {
            Enough::All => false,
            Enough::First => true,
            Enough::Host(wanted) => host == wanted,
        };
        found.then_some(Ended::Found)
    }

    fn all_answered(&self) -> bool {
        self.terms.expected.is_some() && self.silent.is_empty()
    }

    /// When it is over unless an answer comes.
    fn until(&self) -> Instant {
        let deadline = self.terms.deadline.at();
        let Some(last) = self.last else {
            return deadline;
        };
        let over = if self.all_answered() {
            last + self.terms.grace
        } else {
            // Not before the slowest that is missing has had its time.
            let slowest = self.silent.values().max().copied().unwrap_or_default();
            (last + self.terms.stall).max(self.asked + slowest)
        };
        over.min(deadline)
    }

    fn expired(&self) -> Ended {
        match self.last {
            Some(_) if self.all_answered() => Ended::Complete,
            Some(_) if self.until() < self.terms.deadline.at() => Ended::Stall,
            _ => Ended::Deadline,
        }
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
