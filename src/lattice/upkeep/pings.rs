//! Pings to every host of a lattice, from which the roster learns.

use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::connections::Replies;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::lattice::Lattice;
use crate::lattice::dialect::{v0, v1};
use crate::lattice::exchange::ask_all::ToAll;
use crate::lattice::gather::{Answer, Bids, Ended, Enough, ExpectedHosts, Gathered, Terms};
use crate::lattice::model::{Host, Protocol};
use crate::lattice::roster::MOST_PATIENCE;
use crate::settings::STALL;

/// The protocols of hosts.
const PROTOCOLS: [Protocol; 2] = [Protocol::V0, Protocol::V1];

/// The auctions that are published before pings, and their bids.
pub(crate) struct Auctions<'a> {
    /// Those of each protocol.
    pub questions: Vec<ToAll>,
    /// Their bids.
    pub bids: &'a mut Bids,
}

impl Lattice {
    /// Pings every host. The roster learns from every reply as soon as it comes.
    ///
    /// Auctions are published before the pings, on the same connection. Returns what the
    /// pings brought, and the stream on which further replies come.
    ///
    /// # Errors
    /// As [`Lattice::ask_all`]; nobody there is no error.
    pub(crate) async fn ping(
        &self,
        auctions: Option<Auctions<'_>>,
        terms: Terms,
    ) -> Result<(Gathered, Replies), Error> {
        let epoch = self.connection.epoch();
        let (all, stall) = (matches!(terms.enough, Enough::All), terms.stall);
        let heard = |answer: &Answer<Host>| {
            self.roster
                .note_ping_reply(&answer.host, &answer.said, answer.after);
        };
        let (auctions, bids) = auctions.map(|all| (all.questions, all.bids)).unzip();
        let pings: Vec<ToAll> = self
            .protocols()
            .map(|protocol| self.ping_of(protocol))
            .collect();
        let auctions = auctions.unwrap_or_default();
        let asked = self.ask_all(&auctions, &pings, terms, bids, heard);
        let (pings, replies) = asked.await?;
        // A ping that stalled, and not early, has waited for every host.
        let thorough = all && stall >= STALL && pings.ended == Ended::Stall;
        self.roster.pinged(&pings, thorough, epoch);
        if self.roster.export_check.pinged(&pings, MOST_PATIENCE) {
            warn!(
                "{}: one host answers each ping, though others are alive; if these credentials \
                 reach the lattice across NATS accounts, its export of {} needs response_type: \
                 stream",
                self.display_name(),
                v0::subject::control(&self.id)
            );
        }
        if pings.harvest.is_silence() && self.roster.refused(epoch) == Some(Protocol::V0) {
            // Hosts of 0.x may be there.
            return Err(self.may_not_publish(&v0::subject::ping(&self.id)));
        }
        Ok((pings, replies))
    }

    /// Returns the protocols of which these credentials may ask hosts, as far as is known.
    pub(crate) fn protocols(&self) -> impl Iterator<Item = Protocol> {
        let refused = self.roster.refused(self.connection.epoch());
        PROTOCOLS
            .into_iter()
            .filter(move |one| Some(*one) != refused)
    }

    fn ping_of(&self, protocol: Protocol) -> ToAll {
        let subject = match protocol {
            Protocol::V0 => v0::subject::ping(&self.id),
            Protocol::V1 => v1::subject::ping(&self.id),
        };
        ToAll {
            protocol,
            question: self.connection.question(subject, Bytes::new()),
        }
    }

    /// Returns the terms of a question to all hosts: it ends early where those that are
    /// known have answered.
    pub(crate) fn terms_for_all(&self, deadline: Deadline) -> Terms {
        Terms {
            deadline: deadline.within(self.limits.gather),
            stall: self.limits.stall,
            grace: self.limits.grace,
            expected: self.roster.expected(self.connection.epoch()),
            enough: Enough::All,
        }
    }

    /// Returns terms that wait until the deadline for the replies that are needed.
    pub(crate) fn patient_terms(&self, enough: Enough, deadline: Deadline) -> Terms {
        Terms {
            deadline: deadline.within(self.limits.gather),
            stall: deadline.remaining(),
            grace: Duration::ZERO,
            expected: ExpectedHosts::default(),
            enough,
        }
    }
}
