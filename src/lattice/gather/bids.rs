//! The bids of an auction, and how long they are waited for.
//!
//! An auction is published before the ping of a gather. Hosts that would not run what is
//! asked for do not answer it, so that a host which answered the ping has declined when
//! its bid has not come by the time that its bids usually take behind its answers.

use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use async_nats::{Message, Subject};
use tokio::time::Instant;

use crate::lattice::dialect::v0::replies::Bid;
use crate::lattice::gather::harvest::{Answer, Harvest};
use crate::name::HostId;

/// The bids of one auction.
pub struct Bids {
    /// The subject on which they come.
    reply: Subject,
    /// Those that came.
    pub harvest: Harvest<Bid>,
    /// How long after the question each host answered the ping.
    answered: HashMap<HostId, Duration>,
    /// Hosts that answered the ping, each with the time at which it has declined. The
    /// latest comes first, and it has not bid.
    awaited: BinaryHeap<(Instant, HostId)>,
}

impl Bids {
    /// Makes those of an auction whose answers come on this subject.
    pub fn on(reply: Subject) -> Self {
        Self {
            reply,
            harvest: Harvest::default(),
            answered: HashMap::new(),
            awaited: BinaryHeap::new(),
        }
    }

    /// Takes a message, `after` the question. Returns whether it belongs to the auction.
    pub fn take(&mut self, message: &Message, after: Duration) -> bool {
        if message.subject != self.reply {
            return false;
        }
        if message.status.is_none() && self.harvest.take(&message.payload, after) {
            self.pass_over_bidders();
        }
        true
    }

    /// Notes how long `after` the question a host answered the ping. Its bid is waited for
    /// until this time.
    pub(super) fn answered(&mut self, host: &HostId, after: Duration, until: Instant) {
        self.answered.insert(host.clone(), after);
        self.awaited.push((until, host.clone()));
        self.pass_over_bidders();
    }

    /// Returns until when a bid is waited for.
    pub(super) fn until(&self) -> Option<Instant> {
        self.awaited.peek().map(|(until, _)| *until)
    }

    fn pass_over_bidders(&mut self) {
        while let Some((_, host)) = self.awaited.peek()
            && self.harvest.has(host)
        {
            self.awaited.pop();
        }
    }

    /// Returns how late a bid came behind its host's answer to the ping, where that came as
    /// well. It is zero for a bid that came first.
    pub fn lag(&self, bid: &Answer<Bid>) -> Option<Duration> {
        let answered = self.answered.get(&bid.host)?;
        Some(bid.after.saturating_sub(*answered))
    }
}
