//! One question to every host of a lattice.

use async_nats::client::PublishErrorKind;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use crate::connections::{Loss, NotAsked, Question, Refusal, RefusalReader, Replies};
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::subject;
use crate::lattice::exchange::failure::{Addressee, reason_of_loss};
use crate::lattice::gather::{Answer, Bids, Ended, Gathered, Terms, gather};
use crate::lattice::model::FromHost;
use crate::name::HostId;

/// Whether a gather without any reply must check that the server itself answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Needed,
    Unneeded,
}

impl Lattice {
    /// Asks questions in this order, and gathers the replies to the last of them. The one
    /// before it may be an auction with these `bids`. `heard` is given each reply that
    /// counts. Returns what was gathered, and the stream on which further replies come.
    ///
    /// # Errors
    /// `NotConnected`, `ConnectionLost`, `NotPermitted`, `Unheard`, `Invalid` where the
    /// question is too large, `Busy` where there is no room for the answers, and `Timeout`
    /// where the server does not answer.
    pub(crate) async fn ask_all<T: FromHost>(
        &self,
        questions: &[&Question],
        terms: Terms,
        proof: Proof,
        bids: Option<&mut Bids>,
        heard: impl FnMut(&Answer<T>),
    ) -> Result<(Gathered<T>, Replies), Error> {
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let meanwhile = self.connection.refusals_from_now();
        let room = self.roster.answers.empty();
        let sent = self.connection.send_questions(questions, room).await;
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
        let refused = refusals.of(ours);
        let mut server_answers = false;
        tokio::pin!(lost, probe, refused);
        let gathered = {
            let gathering = gather(&mut replies, terms, bids, heard);
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
                    refusal = &mut refused => return Err(self.not_permitted(&refusal)),
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
        if gathered.ended == Ended::Deadline && gathered.harvest.is_silence() {
            self.connection.doubt();
            if proof == Proof::Needed {
                self.check_silence(server_answers, meanwhile)?;
            }
        }
        if let Some(question) = questions.last() {
            self.log_gather(&question.subject, &gathered);
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

    /// Checks that nobody answered because no host is there or answers: the server itself
    /// does answer, and refused nothing to these credentials meanwhile. The message by
    /// which it refuses may be lost, where it refuses much at once.
    ///
    /// # Errors
    /// `Timeout` or `NotPermitted`: whether hosts are there is not known.
    fn check_silence(&self, server_answers: bool, meanwhile: RefusalReader) -> Result<(), Error> {
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
        match meanwhile.now(|refusal: &Refusal| subject::is_of_v0(&refusal.subject)) {
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

    fn log_gather<T>(&self, subject: &str, gathered: &Gathered<T>) {
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
                "two hosts answer under one id, so each command to it reaches both, and is \
                 carried out twice; give each a seed of its own (WASMCLOUD_HOST_SEED)"
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
}
