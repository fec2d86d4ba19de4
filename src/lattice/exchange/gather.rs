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

use crate::deadline::Deadline;
use crate::lattice::dialect::v0::wire::{self, Bid, Host, V1Ping};
use crate::name::HostId;

/// Most messages and bytes that one gather takes.
const MAX_REPLIES: usize = 10_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Most further answers of hosts that are compared with the first: somebody can
/// send many.
const MOST_COMPARED: usize = 100;

/// An answer that says which host it is from.
pub trait FromHost: DeserializeOwned {
    /// Public key of the host, as it says.
    fn host(&self) -> &str;

    /// Whether this and another answer with the same id are of two hosts, as far
    /// as they tell.
    fn is_of_another_host(&self, _other: &Self) -> bool {
        false
    }
}

impl FromHost for Host {
    fn host(&self) -> &str {
        &self.id
    }

    fn is_of_another_host(&self, other: &Self) -> bool {
        self.is_another_than(other)
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
    /// Whether nothing came at all.
    pub fn is_silence(&self) -> bool {
        self.answers.is_empty() && self.refusals + self.unreadable == 0
    }

    /// Whether this host gave an answer that counts.
    pub fn has(&self, host: &HostId) -> bool {
        self.hosts.contains(host)
    }
}

/// The hosts that are known.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Each of them.
    pub hosts: HashMap<HostId, Expectation>,
    /// There are no others, as far as is known: when they have answered, it is
    /// over.
    pub are_all: bool,
}

/// What is expected of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How long after the question it is waited for, whatever others do.
    pub within: Duration,
    /// It may be gone: it is not waited for any longer than that.
    pub doubtful: bool,
}

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
    /// The hosts that are known to be there.
    pub expected: Expected,
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
    /// Known hosts that did not answer.
    pub silent: Vec<HostId>,
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
    /// Known hosts, the most patiently awaited last; those at the end have not
    /// answered.
    silent: Vec<(Expectation, HostId)>,
    /// Known hosts without doubts that have not answered.
    missing: usize,
    /// Whether an answer to the question came, of any kind.
    answered: bool,
    /// When the last answer that counts came.
    last: Option<Instant>,
    replies: usize,
    bytes: usize,
}

/// Gathers the answers to a question that is asked now. `aside` sees every reply
/// first, with the time since then, and says whether it kept it: replies to
/// another question on the same stream. `heard` sees every answer that counts,
/// at once.
///
/// `None` where the stream ended. Cut off, it leaves nothing behind.
pub async fn gather<T: FromHost>(
    replies: &mut (impl Stream<Item = Message> + Unpin),
    terms: Terms,
    mut aside: impl FnMut(&Message, Duration) -> bool,
    mut heard: impl FnMut(&Answer<T>),
) -> Option<Gathered<T>> {
    let mut gather = Gather::new(terms);
    let ended = loop {
        tokio::select! {
            // What is here already came before the wait was over.
            biased;
            reply = replies.next() => {
                let reply = reply?;
                if let Some(ended) = gather.counted(&reply) {
                    break ended;
                }
                if !aside(&reply, gather.asked.elapsed())
                    && let Some(ended) = gather.take(&reply, &mut heard)
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
        silent: gather.silent(),
        harvest: gather.harvest,
        asked: gather.asked,
    })
}

impl<T: FromHost> Gather<T> {
    fn new(terms: Terms) -> Self {
        let hosts = terms.expected.hosts.iter();
        let mut silent: Vec<_> = hosts.map(|(host, known)| (*known, host.clone())).collect();
        silent.sort_by_key(|(known, _)| known.within);
        Self {
            asked: Instant::now(),
            harvest: Harvest::default(),
            missing: silent.iter().filter(|(known, _)| !known.doubtful).count(),
            silent,
            answered: false,
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

    fn take(&mut self, reply: &Message, heard: &mut impl FnMut(&Answer<T>)) -> Option<Ended> {
        let first = !std::mem::replace(&mut self.answered, true);
        // An answer of the server. It gives no other: what looks like it, and
        // comes behind another, is from somebody else.
        if first && reply.status == Some(StatusCode::NO_RESPONDERS) {
            return Some(Ended::NoResponders);
        }
        let after = self.asked.elapsed();
        if !self.harvest.take(&reply.payload, after) {
            return None;
        }
        self.last = Some(Instant::now());
        let answer = self.harvest.answers.last()?;
        heard(answer);
        let host = &answer.host;
        let known = self.terms.expected.hosts.get(host);
        self.missing -= usize::from(known.is_some_and(|known| !known.doubtful));
        while let Some((_, host)) = self.silent.last()
            && self.harvest.has(host)
        {
            self.silent.pop();
        }
        let found = match &self.terms.enough {
            Enough::All => false,
            Enough::First => true,
            Enough::Host(wanted) => self.harvest.has(wanted),
        };
        found.then_some(Ended::Found)
    }

    fn all_answered(&self) -> bool {
        self.terms.expected.are_all && self.missing == 0
    }

    fn silent(&self) -> Vec<HostId> {
        let silent = self.silent.iter().map(|(_, host)| host);
        silent
            .filter(|host| !self.harvest.has(host))
            .cloned()
            .collect()
    }

    /// When it is over unless an answer comes.
    fn until(&self) -> Instant {
        let deadline = self.terms.deadline.at();
        let Some(last) = self.last else {
            return deadline;
        };
        let over = match self.all_answered() {
            true => last + self.terms.grace,
            false => last + self.terms.stall,
        };
        // Not before the slowest that is missing has had its time.
        let slowest = self.silent.last();
        let slowest = slowest.map_or(Duration::ZERO, |(known, _)| known.within);
        over.max(self.asked + slowest).min(deadline)
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
