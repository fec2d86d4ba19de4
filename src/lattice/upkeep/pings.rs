//! Pings to every host of a lattice, from which the roster learns.

use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::connections::{Question, Replies};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::replies::V1Ping;
use crate::lattice::dialect::v0::subject;
use crate::lattice::exchange::ask_all::Proof;
use crate::lattice::gather::{Answer, Bids, Ended, Enough, ExpectedHosts, Gathered, Terms};
use crate::lattice::model::Host;
use crate::lattice::roster::MOST_PATIENCE;
use crate::settings::STALL;

/// How long 1.x hosts are waited for.
const V1_ANSWERS_WITHIN: Duration = Duration::from_millis(300);

impl Lattice {
    /// Pings every host. The roster learns from every reply as soon as it comes.
    ///
    /// An auction is published before the ping, on the same connection. Returns what the
    /// ping brought, and the stream on which further replies come.
    ///
    /// # Errors
    /// As [`Lattice::ask_all`]; nobody there is no error.
    pub(crate) async fn ping(
        &self,
        auction: Option<(&Question, &mut Bids)>,
        terms: Terms,
    ) -> Result<(Gathered<Host>, Replies), Error> {
        let epoch = self.connection.epoch();
        let (all, stall) = (matches!(terms.enough, Enough::All), terms.stall);
        let heard = |answer: &Answer<Host>| {
            self.roster
                .note_ping_reply(&answer.host, &answer.said, answer.after);
        };
        let ping = subject::ping(&self.id);
        let ping = self.connection.question(ping, Bytes::new());
        let (auction, bids) = auction.unzip();
        let questions: Vec<&Question> = auction.into_iter().chain([&ping]).collect();
        let asked = self.ask_all(&questions, terms, Proof::Needed, bids, heard);
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
                subject::control(&self.id)
            );
        }
        Ok((pings, replies))
    }

    /// Pings hosts of 1.x, and returns the first that answers.
    ///
    /// # Errors
    /// As [`Lattice::ask_all`]; credentials for the lattices that we can control need not
    /// allow it.
    pub(crate) async fn ping_v1(&self) -> Result<Option<Host>, Error> {
        let deadline = self.deadline.within(V1_ANSWERS_WITHIN);
        let terms = self.patient_terms(Enough::First, deadline);
        let ping = subject::ping_v1(&self.id);
        let ping = self.connection.question(ping, Bytes::new());
        let questions = [&ping];
        let asked = self.ask_all::<V1Ping>(&questions, terms, Proof::Unneeded, None, |_| ());
        match asked.await {
            Ok((gathered, _)) => {
                let first = gathered.harvest.answers.into_iter().next();
                Ok(first.map(|answer| answer.said.response))
            }
            Err(error) if error.kind() == Kind::NotPermitted => Ok(None),
            Err(error) => Err(error),
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
