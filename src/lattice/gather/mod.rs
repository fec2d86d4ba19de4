//! When a gather ends, and which of its replies count.
//!
//! A gather pings every host, of each control protocol on a subject of its own, and has a
//! reply from each (NATS calls it request-many, ADR-47). It ends with the answer of the last
//! host that is known, where a host that came since would have been heard; else a grace
//! period later, in which new hosts may answer. Where not all hosts are known, it ends when
//! no reply has come for the stall period. Where an auction is held, it does not end before
//! the bids had their time. It ends at the deadline in any case, and only the first reply is
//! waited for until then. Replies that cannot be read, refuse, or come from a host that has
//! answered do not prolong a gather: they are counted for the log.
//!
//! Nothing here knows a socket: messages come from any stream.
//!
//! - `harvest`: which replies count
//! - `bids`: those of an auction, and how long they are waited for
//! - `terms`: what it waits for

mod bids;
mod harvest;
mod terms;

use std::time::Duration;

use async_nats::{Message, StatusCode, Subject};
use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, sleep_until};

pub use crate::lattice::gather::bids::Bids;
pub use crate::lattice::gather::harvest::{Answer, Harvest, Reply};
pub use crate::lattice::gather::terms::{Ended, Enough, Expectation, ExpectedHosts, Others, Terms};
use crate::lattice::model::{Host, Protocol};
use crate::name::HostId;

/// Most messages and bytes that one gather takes.
const MAX_REPLIES: usize = 10_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The result of a gather.
#[derive(Debug)]
pub struct Gathered {
    /// The replies.
    pub harvest: Harvest<Host>,
    /// The protocols of which the server said that nobody listens.
    pub nobody: Vec<Protocol>,
    /// Why it ended.
    pub ended: Ended,
    /// Known hosts that did not answer.
    pub silent: Vec<HostId>,
    /// When it began.
    pub asked: Instant,
    /// How long it took.
    pub took: Duration,
}

/// A gather under way.
struct Gather<'a> {
    terms: Terms,
    /// The subject on which the hosts of each protocol answer, and whether any did.
    pings: Vec<(Subject, Protocol, bool)>,
    /// The protocols of which the server said that nobody listens.
    nobody: Vec<Protocol>,
    /// The bids of the auction that was published before the question.
    bids: Option<&'a mut Bids>,
    asked: Instant,
    harvest: Harvest<Host>,
    /// Known hosts by how long they are waited for. The last one has not answered.
    silent: Vec<(Expectation, HostId)>,
    /// How many known hosts that are not doubtful have not answered.
    missing: usize,
    /// When the last reply that counts came.
    last: Option<Instant>,
    replies: usize,
    bytes: usize,
}

/// Gathers the replies to pings that are sent now, which come on these subjects. The
/// `bids` of an auction that was published before them come on the same stream. `heard` is
/// given every reply that counts, as soon as it comes. `unasked` are protocols of which the
/// ping was refused: a message says so whenever that becomes known.
///
/// Returns `None` where the stream ended. Dropping the future leaves nothing behind.
pub async fn gather(
    replies: &mut (impl Stream<Item = Message> + Unpin),
    pings: Vec<(Subject, Protocol)>,
    terms: Terms,
    bids: Option<&mut Bids>,
    mut unasked: impl Stream<Item = Protocol> + Unpin,
    mut heard: impl FnMut(&Answer<Host>),
) -> Option<Gathered> {
    let mut gather = Gather::new(pings, terms, bids);
    let ended = loop {
        tokio::select! {
            // A reply that is here already came before the time was over.
            biased;
            reply = replies.next() => {
                let reply = reply?;
                if let Some(ended) = gather.counted(&reply) {
                    break ended;
                }
                if !gather.takes_bid(&reply)
                    && let Some(ended) = gather.take(&reply, &mut heard)
                {
                    break ended;
                }
            }
            Some(protocol) = unasked.next() => if let Some(ended) = gather.without(protocol) {
                break ended;
            },
            () = sleep_until(gather.until()) => break gather.expired(),
        }
    };
    Some(Gathered {
        ended,
        took: gather.asked.elapsed(),
        silent: gather.silent(),
        harvest: gather.harvest,
        nobody: gather.nobody,
        asked: gather.asked,
    })
}

impl<'a> Gather<'a> {
    fn new(pings: Vec<(Subject, Protocol)>, terms: Terms, bids: Option<&'a mut Bids>) -> Self {
        let hosts = terms.expected.hosts.iter();
        let mut silent: Vec<_> = hosts.map(|(host, known)| (*known, host.clone())).collect();
        silent.sort_by_key(|(known, _)| known.within);
        Self {
            asked: Instant::now(),
            pings: pings
                .into_iter()
                .map(|(subject, of)| (subject, of, false))
                .collect(),
            nobody: Vec::new(),
            harvest: Harvest::default(),
            missing: silent.iter().filter(|(known, _)| !known.doubtful).count(),
            silent,
            last: None,
            replies: 0,
            bytes: 0,
            terms,
            bids,
        }
    }

    /// Counts a message of any kind, and ends a gather that gets too many.
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

    /// Takes a bid. Returns whether this is one.
    fn takes_bid(&mut self, reply: &Message) -> bool {
        let after = self.asked.elapsed();
        let bids = self.bids.as_deref_mut();
        bids.is_some_and(|bids| bids.take(reply, after))
    }

    /// Notes that nobody listens for the ping of a protocol, or that it was refused. Ends
    /// the gather where none is left.
    fn without(&mut self, protocol: Protocol) -> Option<Ended> {
        self.pings.retain(|(_, of, _)| *of != protocol);
        let is_waited_for = |known: &Expectation, host: &HostId| {
            known.protocol != protocol || self.harvest.has(host)
        };
        self.silent
            .retain(|(known, host)| is_waited_for(known, host));
        let missing = self.silent.iter();
        let missing = missing.filter(|(known, host)| !known.doubtful && !self.harvest.has(host));
        self.missing = missing.count();
        self.pass_over_answered();
        self.pings.is_empty().then_some(Ended::NoResponders)
    }

    fn pass_over_answered(&mut self) {
        while let Some((_, host)) = self.silent.last()
            && self.harvest.has(host)
        {
            self.silent.pop();
        }
    }

    fn take(&mut self, reply: &Message, heard: &mut impl FnMut(&Answer<Host>)) -> Option<Ended> {
        let mut pings = self.pings.iter_mut();
        let ping = pings.find(|(subject, ..)| *subject == reply.subject);
        let (_, protocol, answered) = ping?;
        let (first, protocol) = (!std::mem::replace(answered, true), *protocol);
        // The server says so before all else. A message that looks like it and comes
        // after a reply is from somebody else.
        if first && reply.status == Some(StatusCode::NO_RESPONDERS) {
            self.nobody.push(protocol);
            return self.without(protocol);
        }
        let after = self.asked.elapsed();
        let reply = Reply::to_ping(&reply.payload, protocol);
        if !self.harvest.take(reply, after) {
            return None;
        }
        let now = Instant::now();
        self.last = Some(now);
        let answer = self.harvest.answers.last()?;
        heard(answer);
        let host = &answer.host;
        let expected = &self.terms.expected;
        let known = expected.hosts.get(host);
        if let Some(bids) = &mut self.bids {
            let grace = self.terms.grace;
            let within = known.map_or(grace, |known| known.bid_within.min(grace));
            bids.answered(host, after, now + within);
        }
        // One that was there as another kind, which has nobody now, is not missing any more.
        let is_asked = |kind| self.pings.iter().any(|(_, of, _)| *of == kind);
        let was_missing = known.is_some_and(|known| !known.doubtful && is_asked(known.protocol));
        self.missing -= usize::from(was_missing);
        self.pass_over_answered();
        let found = match &self.terms.enough {
            Enough::All => false,
            Enough::First => true,
            Enough::Host(wanted) => self.harvest.has(wanted),
        };
        found.then_some(Ended::Found)
    }

    fn all_answered(&self) -> bool {
        self.terms.expected.others != Others::Any && self.missing == 0
    }

    fn silent(&self) -> Vec<HostId> {
        let silent = self.silent.iter().map(|(_, host)| host);
        silent
            .filter(|host| !self.harvest.has(host))
            .cloned()
            .collect()
    }

    /// Returns when it ends unless another reply comes.
    fn until(&self) -> Instant {
        let deadline = self.terms.deadline.at();
        let Some(last) = self.last else {
            return deadline;
        };
        let over = match (self.all_answered(), self.terms.expected.others) {
            (false, _) => last + self.terms.stall,
            (true, Others::None) => last,
            (true, _) => last + self.terms.grace,
        };
        let bids = self.bids.as_ref().and_then(|bids| bids.until());
        // Not before the slowest host that is missing has had its time.
        let slowest = self.silent.last();
        let slowest = slowest.map_or(Duration::ZERO, |(known, _)| known.within);
        let over = over.max(self.asked + slowest);
        over.max(bids.unwrap_or(over)).min(deadline)
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
