//! Questions to every host of a lattice, and pings first of all.

use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Message, Subject};
use bytes::Bytes;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use crate::connections::{Heard, Loss, NotAsked, Question, Refusal, Replies};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v0::wire::{Host, V1Ping};
use crate::lattice::exchange::gather::{
    Answer, Ended, Enough, Expected, FromHost, Gathered, Terms, gather,
};
use crate::lattice::exchange::request::{Who, known};
use crate::lattice::roster::{MOST_PATIENCE, watch};
use crate::name::HostId;
use crate::settings::STALL;

/// How long 1.x hosts are asked for where no other host answered.
const V1_ANSWERS_WITHIN: Duration = Duration::from_millis(300);

/// Whether silence must be shown to be that of hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Needed,
    Unneeded,
}

impl Lattice {
    /// Every host that answers, in the order of their answers. The roster
    /// learns from them.
    ///
    /// # Errors
    /// `NotConnected`, `ConnectionLost`, `NotPermitted`, `Unheard`; nobody there
    /// is an empty list.
    pub async fn ping_all(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        let terms = self.terms_for_all(deadline);
        let pings = self.ping(terms).await?;
        Ok(said(pings))
    }

    /// The same for the roster alone, waiting for the slowest until the deadline.
    ///
    /// # Errors
    /// As [`Lattice::ping_all`].
    pub(crate) async fn ping_for_roster(&self) -> Result<(), Error> {
        let epoch = self.connection.epoch();
        let terms = self.terms_for(Enough::All, self.deadline);
        if self.ping(terms).await?.ended == Ended::Deadline {
            self.roster.complete(epoch);
        }
        Ok(())
    }

    /// Pings until one host answered, however late others do; every answer that
    /// came.
    pub(crate) async fn ping_for(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Vec<Host>, Error> {
        let enough = Enough::Host(host.clone());
        let pings = self.ping(self.terms_for(enough, deadline)).await?;
        Ok(said(pings))
    }

    /// Pings until any host answered; whether one did.
    pub(crate) async fn ping_any(&self, deadline: Deadline) -> Result<bool, Error> {
        let pings = self.ping(self.terms_for(Enough::First, deadline)).await?;
        Ok(!pings.harvest.answers.is_empty())
    }

    /// The first 1.x host that answers.
    pub(crate) async fn ping_v1(&self) -> Result<Option<Host>, Error> {
        let deadline = self.deadline.within(V1_ANSWERS_WITHIN);
        let question = self
            .connection
            .question(subject::ping_v1(&self.id), Bytes::new());
        let terms = self.terms_for(Enough::First, deadline);
        let questions = [&question];
        let asked =
            self.ask_all::<V1Ping>(&questions, terms, Proof::Unneeded, |_, _| false, |_| ());
        match asked.await {
            Ok((gathered, _)) => {
                let first = gathered.harvest.answers.into_iter().next();
                Ok(first.map(|answer| answer.said.response))
            }
            // Credentials for the lattices that we speak to need not allow it.
            Err(error) if error.kind() == Kind::NotPermitted => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ping(&self, terms: Terms) -> Result<Gathered<Host>, Error> {
        let question = self
            .connection
            .question(subject::ping(&self.id), Bytes::new());
        let (pings, _) = self.ping_and(&[&question], terms, |_, _| false).await?;
        Ok(pings)
    }

    /// Asks questions of which the last is a ping; the roster learns from every
    /// answer to it at once.
    pub(crate) async fn ping_and(
        &self,
        questions: &[&Question],
        terms: Terms,
        aside: impl FnMut(&Message, Duration) -> bool,
    ) -> Result<(Gathered<Host>, Replies), Error> {
        let epoch = self.connection.epoch();
        let (all, stall) = (matches!(terms.enough, Enough::All), terms.stall);
        let heard = |answer: &Answer<Host>| {
            self.roster.heard(&answer.host, &answer.said, answer.after);
        };
        let asked = self
            .ask_all(questions, terms, Proof::Needed, aside, heard)
            .await;
        let (pings, replies) = asked?;
        // Not cut off, and nobody in a hurry: who is there has answered.
        let thorough = all && stall >= STALL && pings.ended == Ended::Stall;
        self.roster.pinged(&pings, thorough, epoch);
        // From the first call on that somebody heard, also where nobody answered.
        if pings.ended != Ended::NoResponders && self.roster.inhabited() {
            watch::begin(self);
        }
        if self.roster.export_check.pinged(&pings, MOST_PATIENCE) {
            self.hint_at_export();
        }
        Ok((pings, replies))
    }

    /// Terms to hear all hosts: those that are known end it early.
    pub(crate) fn terms_for_all(&self, deadline: Deadline) -> Terms {
        Terms {
            deadline: deadline.within(self.limits.gather),
            stall: self.limits.stall,
            grace: self.limits.grace,
            expected: self.roster.expected(self.connection.epoch()),
            enough: Enough::All,
        }
    }

    /// Terms to hear one host, however late.
    fn terms_for(&self, enough: Enough, deadline: Deadline) -> Terms {
        Terms {
            deadline: deadline.within(self.limits.gather),
            stall: deadline.remaining(),
            grace: Duration::ZERO,
            expected: Expected::default(),
            enough,
        }
    }

    /// Asks questions in this order, and gathers what answers the last of them;
    /// `aside` sees replies to the others. The replies go on where they are kept.
    async fn ask_all<T: FromHost>(
        &self,
        questions: &[&Question],
        terms: Terms,
        proof: Proof,
        aside: impl FnMut(&Message, Duration) -> bool,
        heard: impl FnMut(&Answer<T>),
    ) -> Result<(Gathered<T>, Replies), Error> {
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let meanwhile = self.connection.refusals_from_now();
        let asked = self.connection.ask_all(questions).await;
        let mut replies = asked.map_err(|error| match &error {
            NotAsked::Failed(failed) if failed.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Error::invalid(format!(
                    "the question to the hosts of {} is larger than their NATS server takes",
                    self.display_name()
                ))
            }
            _ => self.not_asked(Who::Hosts(self), &error),
        })?;
        let inbox = self.connection.inbox();
        let ours = |refusal: &Refusal| {
            let subject = refusal.subject.as_str();
            let of = |one: &&Question| *one.subject == *subject || *one.reply == *subject;
            subject == inbox || questions.iter().any(of)
        };
        // While there is time for its answer, a question to nobody tells silent hosts
        // from a server that nothing comes from any more.
        let half = terms.deadline.half().at();
        let probe = async {
            sleep_until(half).await;
            self.connection.answers().await
        };
        let refused = refusals.of(ours);
        let mut answers = false;
        tokio::pin!(lost, probe, refused);
        let gathered = {
            let gathering = gather(&mut replies, terms, aside, heard);
            tokio::pin!(gathering);
            let mut is_probed = false;
            loop {
                tokio::select! {
                    biased;
                    gathered = &mut gathering => match gathered {
                        Some(gathered) => break gathered,
                        None => return Err(self.gather_lost(&known(lost).await)),
                    },
                    loss = &mut lost => return Err(self.gather_lost(&loss)),
                    refusal = &mut refused => return Err(self.not_permitted(&refusal)),
                    answered = &mut probe, if !is_probed => (is_probed, answers) = (true, answered),
                }
            }
        };
        if gathered.ended == Ended::Deadline && gathered.harvest.is_silence() {
            self.connection.doubt();
            if proof == Proof::Needed {
                self.silence_is_theirs(answers, meanwhile)?;
            }
        }
        if let Some(question) = questions.last() {
            self.log(&question.subject, &gathered);
        }
        Ok((gathered, replies))
    }

    fn gather_lost(&self, loss: &Loss) -> Error {
        Error::new(
            Kind::ConnectionLost,
            format!(
                "the connection to {} is lost: it broke while hosts were answering{}",
                self.display_name(),
                loss.said()
            ),
        )
    }

    /// That nobody answered because no host is there or answers: the server
    /// `answers`, and refused nothing to these credentials meanwhile. What it refuses
    /// may be lost on its way to us, where it refuses much at once.
    ///
    /// # Errors
    /// That it does not, or did: nothing is known of hosts then.
    fn silence_is_theirs(&self, answers: bool, meanwhile: Heard) -> Result<(), Error> {
        if !answers {
            return Err(Error::new(
                Kind::Timeout,
                format!(
                    "the NATS server of {} does not answer; where the connection is dead it is \
                     made again: try again",
                    self.display_name()
                ),
            ));
        }
        let of_hosts = |refusal: &Refusal| {
            let subject = refusal.subject.as_str();
            subject.starts_with("wasmbus.ctl.") && !subject.starts_with("wasmbus.ctl.v1.")
        };
        match meanwhile.now(of_hosts) {
            None => Ok(()),
            Some(refusal) => Err(Error::new(
                Kind::NotPermitted,
                format!(
                    "no host of {} answered, and meanwhile its server refused something to these \
                     credentials ({}): perhaps this as well, try again",
                    self.display_name(),
                    quoted(&refusal.words)
                ),
            )),
        }
    }

    fn log<T>(&self, subject: &Subject, gathered: &Gathered<T>) {
        let harvest = &gathered.harvest;
        debug!(
            %subject,
            ended = ?gathered.ended,
            hosts = harvest.answers.len(),
            silent = ?gathered.silent.iter().map(HostId::as_str).collect::<Vec<_>>(),
            duplicates = harvest.duplicates,
            ms = gathered.took.as_millis() as u64,
            "gather ended"
        );
        if let Some(host) = &harvest.twins
            && self.roster.twins.is_due()
        {
            warn!(
                lattice = %self.id, %host,
                "two hosts answer under one id, so each order to it reaches both, and is done \
                 twice; give each a seed of its own (WASMCLOUD_HOST_SEED)"
            );
        }
        let left_out = harvest.unreadable + harvest.refusals > 0;
        if (left_out || gathered.ended == Ended::Limit) && self.roster.left_out.is_due() {
            warn!(
                %subject,
                ended = ?gathered.ended,
                unreadable = harvest.unreadable,
                refusals = harvest.refusals,
                first_refusal = harvest.first_refusal.as_deref().map(quoted),
                "answers were left out of a gather"
            );
        }
    }

    fn hint_at_export(&self) {
        warn!(
            "{}: one host answers each ping, though others are alive; if these credentials reach \
             the lattice across NATS accounts, its export of {} needs response_type: stream",
            self.display_name(),
            subject::control(&self.id)
        );
    }
}

/// What the hosts said.
fn said<T>(gathered: Gathered<T>) -> Vec<T> {
    let answers = gathered.harvest.answers.into_iter();
    answers.map(|answer| answer.said).collect()
}
