//! One question to every host of a lattice, of each control protocol on its own subject.

use async_nats::client::PublishErrorKind;
use futures::channel::mpsc;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use crate::connections::{Loss, NotAsked, Question, Refusal, RefusalReader, Replies};
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect;
use crate::lattice::exchange::failure::{Addressee, reason_of_loss};
use crate::lattice::gather::{Answer, Bids, Ended, Gathered, Terms, gather};
use crate::lattice::model::{Host, Protocol};
use crate::name::HostId;

/// A question to all hosts of one control protocol.
pub(crate) struct ToAll {
    /// The protocol.
    pub protocol: Protocol,
    /// The question.
    pub question: Question,
}

impl Lattice {
    /// Publishes the auctions of `bids`, where one is held, and then pings, and gathers what
    /// comes of both. `heard` is given each reply to a ping that counts. Returns what was
    /// gathered, and the stream on which further replies come.
    ///
    /// Credentials that may not ask the hosts of one protocol are good for those of the
    /// other. Where only hosts of 1.x may be asked, and none is there, that is an error all
    /// the same: hosts of 0.x may be.
    ///
    /// # Errors
    /// `NotConnected`, `ConnectionLost`, `NotPermitted`, `Unheard`, `Invalid` where the
    /// question is too large, `Busy` where there is no room for the answers, and `Timeout`
    /// where the server does not answer.
    pub(crate) async fn ask_all(
        &self,
        auctions: &[ToAll],
        pings: &[ToAll],
        terms: Terms,
        bids: Option<&mut Bids>,
        heard: impl FnMut(&Answer<Host>),
    ) -> Result<(Gathered, Replies), Error> {
        let lost = self.connection.lost_from_now(&self.id)?;
        let mut refusals = self.connection.refusals_from_now();
        let meanwhile = self.connection.refusals_from_now();
        let room = self.roster.answers.empty();
        let all = || auctions.iter().chain(pings);
        let questions: Vec<&Question> = all().map(|asked| &asked.question).collect();
        let sent = self.connection.send_questions(&questions, room).await;
        let mut replies = sent.map_err(|error| match error {
            NotAsked::Failed(failed) if failed.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Error::invalid(format!(
                    "the question to the hosts of {} is larger than their NATS server takes",
                    self.display_name()
                ))
                .caused_by(failed)
            }
            error => self.not_asked(Addressee::Hosts(self), error),
        })?;
        let inbox = self.connection.inbox();
        let ours = |refusal: &Refusal| {
            let subject = refusal.subject.as_str();
            let of = |one: &&Question| *one.subject == *subject || *one.reply == *subject;
            subject == inbox || questions.iter().any(of)
        };
        // A question that the server itself answers tells silent hosts from a dead
        // connection. It is asked while there is time for its answer.
        let half = terms.deadline.half().at();
        let probe = async {
            sleep_until(half).await;
            self.connection.server_answers().await
        };
        let mut server_answers = false;
        let mut refused: Option<(Protocol, Refusal)> = None;
        let mut not_held: Vec<(Protocol, Refusal)> = Vec::new();
        let mut left: Vec<Protocol> = pings.iter().map(|ping| ping.protocol).collect();
        tokio::pin!(lost, probe);
        let gathered = {
            let subjects = pings.iter();
            let subjects = subjects.map(|ping| (ping.question.reply.clone(), ping.protocol));
            let (unasked, news) = mpsc::unbounded();
            let gathering = gather(&mut replies, subjects.collect(), terms, bids, news, heard);
            tokio::pin!(gathering);
            let mut is_probed = false;
            loop {
                tokio::select! {
                    biased;
                    gathered = &mut gathering => match gathered {
                        Some(gathered) => break Ok(gathered),
                        None => break Err(lost),
                    },
                    loss = &mut lost => return Err(self.gather_lost(&loss)),
                    refusal = refusals.next_of(&ours) => {
                        let of = |asked: &&ToAll| *asked.question.subject == *refusal.subject;
                        if let Some(auction) = auctions.iter().find(of) {
                            not_held.push((auction.protocol, refusal));
                            continue;
                        }
                        match pings.iter().find(of) {
                            Some(ToAll { protocol, .. }) if left.iter().any(|one| one != protocol) => {
                                left.retain(|one| one != protocol);
                                refused = Some((*protocol, refusal));
                                let _ = unasked.unbounded_send(*protocol);
                            }
                            _ => return Err(self.not_permitted(&refusal)),
                        }
                    }
                    answered = &mut probe, if !is_probed => {
                        (is_probed, server_answers) = (true, answered);
                    }
                }
            }
        };
        let gathered = match (gathered, replies.full()) {
            (Ok(gathered), None) => gathered,
            (Ok(gathered), Some(_)) if gathered.ended == Ended::Found => gathered,
            (_, Some(full)) => return Err(Addressee::Hosts(self).no_room(full)),
            (Err(lost), None) => return Err(self.gather_lost(&reason_of_loss(lost).await)),
        };
        // Hosts that answered the ping have had no chance to bid.
        let is_there = |protocol: Protocol| {
            let mut answers = gathered.harvest.answers.iter();
            answers.any(|answer| answer.said.protocol == protocol)
        };
        if let Some((_, refusal)) = not_held.iter().find(|(of, _)| is_there(*of)) {
            return Err(self.not_permitted(refusal));
        }
        match refused {
            Some((Protocol::V0, refusal)) if gathered.harvest.is_silence() => {
                return Err(self.not_permitted(&refusal));
            }
            Some((protocol, refusal)) => self.note_refused(protocol, &refusal),
            None => {}
        }
        if gathered.ended == Ended::Deadline && gathered.harvest.is_silence() {
            self.connection.doubt();
            self.check_silence(server_answers, meanwhile, &left)?;
        }
        self.log_gather(&gathered);
        Ok((gathered, replies))
    }

    /// Notes that these credentials may not ping the hosts of a protocol.
    fn note_refused(&self, protocol: Protocol, refusal: &Refusal) {
        let epoch = self.connection.epoch();
        if self.roster.note_refused(protocol, epoch) {
            info!(
                lattice = %self.id, subject = refusal.subject,
                "these credentials may not ping hosts of wasmCloud {protocol}, so that there \
                 is nothing of them in answers"
            );
        }
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

    /// Checks that nobody answered because no host is there or answers: the server itself
    /// does answer, and refused nothing to these credentials meanwhile. The message by
    /// which it refuses may be lost, where it refuses much at once.
    ///
    /// # Errors
    /// `Timeout` or `NotPermitted`: whether hosts are there is not known.
    fn check_silence(
        &self,
        server_answers: bool,
        meanwhile: RefusalReader,
        asked: &[Protocol],
    ) -> Result<(), Error> {
        if !server_answers {
            return Err(Error::new(
                Kind::Timeout,
                format!(
                    "the NATS server of {} does not answer; where the connection is dead it is \
                     made again: try again",
                    self.display_name()
                ),
            ));
        }
        let is_of_asked = |refusal: &Refusal| {
            let protocol = dialect::protocol_of(&refusal.subject);
            protocol.is_some_and(|protocol| asked.contains(&protocol))
        };
        match meanwhile.now(is_of_asked) {
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

    fn log_gather(&self, gathered: &Gathered) {
        let harvest = &gathered.harvest;
        debug!(
            lattice = %self.id,
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
                "two hosts answer under one id, so each command to it reaches both, and is \
                 carried out twice; give each a seed of its own (WASMCLOUD_HOST_SEED)"
            );
        }
        let left_out = harvest.unreadable + harvest.refusals > 0;
        if (left_out || gathered.ended == Ended::Limit) && self.roster.left_out.is_due() {
            warn!(
                lattice = %self.id,
                ended = ?gathered.ended,
                unreadable = harvest.unreadable,
                refusals = harvest.refusals,
                first_refusal = harvest.first_refusal.as_deref().map(quoted),
                "answers were left out of a gather"
            );
        }
    }
}
