//! One question to JetStream of a lattice, one reply.

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::sleep_until;

use crate::connections::{Loss, NotAsked, Refusal, Reply};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::lattice::Lattice;
use crate::lattice::exchange::failure::reason_of_loss;
use crate::nats::jetstream::{NoAnswer, read};

/// Most bytes of an answer of JetStream that is read.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Why a question has no answer.
pub(super) enum Unanswered {
    /// The lattice is not connected.
    Down(Error),
    /// The credentials may not publish it.
    Refused(Error),
    /// The credentials may not subscribe to the answer.
    Unheard(Error),
    /// The reply is no answer, or none came.
    By(NoAnswer),
}

impl Lattice {
    /// Asks JetStream, and waits for the answer until `by`. `question` is the subject
    /// that is published to, and the one that a server of the domain makes of it before
    /// it checks permissions.
    ///
    /// Answers arrive at the connection's inbox, where nothing is left of a question that
    /// has none.
    pub(super) async fn ask_jetstream<T: DeserializeOwned>(
        &self,
        question: [Subject; 2],
        headers: Option<HeaderMap>,
        body: Bytes,
        by: Deadline,
    ) -> Result<T, Unanswered> {
        let lost = self.connection.lost_from_now(&self.id);
        let lost = lost.map_err(Unanswered::Down)?;
        let refusals = self.connection.refusals_from_now();
        let subject = question[0].clone();
        let room = self.roster.answers.empty();
        let asked = self.connection.ask(subject, headers, body, room).await;
        let mut asked = asked.map_err(|error| match error {
            NotAsked::Unheard(refusal) => {
                Unanswered::Unheard(self.not_permitted(&refusal).before_command())
            }
            NotAsked::Oversize { bytes, from } => Unanswered::By(NoAnswer::TooLarge(format!(
                "a message of {bytes} bytes is needed, and the server lately took none of {from} \
                 bytes of these credentials (Maximum Payload Violation)"
            ))),
            NotAsked::Failed(error) => Unanswered::By(NoAnswer::NotSent(error.into())),
        })?;
        let number = asked.number();
        let broke = |loss: &Loss| {
            Unanswered::By(match loss.refused(number) {
                true => NoAnswer::TooLarge(format!(
                    "it, or another message before, is larger than the server takes of these \
                     credentials{}",
                    loss.said()
                )),
                false => NoAnswer::Broke(loss.said()),
            })
        };
        tokio::pin!(lost);
        let (reply, inbox) = (asked.reply().clone(), self.connection.inbox());
        let ours = |refusal: &Refusal| {
            let ours = [&question[0], &question[1], &reply].map(|subject| subject.as_str());
            ours.contains(&refusal.subject.as_str()) || refusal.subject == inbox
        };
        tokio::select! {
            biased;
            answer = asked.answer() => match answer {
                Some(Ok(answer)) => Self::read_answer(&answer).map_err(Unanswered::By),
                Some(Err(full)) => Err(Unanswered::By(NoAnswer::Unreadable(full.to_string()))),
                None => Err(broke(&reason_of_loss(lost).await)),
            },
            loss = &mut lost => Err(broke(&loss)),
            refusal = refusals.of(ours) => {
                let error = self.not_permitted(&refusal);
                Err(match refusal.subscription {
                    true => Unanswered::Unheard(error),
                    false => Unanswered::Refused(error),
                })
            }
            () = sleep_until(by.at()) => Err(Unanswered::By(NoAnswer::Silence)),
        }
    }
    /// Reads an answer of JetStream. None that is needed here is large.
    fn read_answer<T: DeserializeOwned>(answer: &Reply) -> Result<T, NoAnswer> {
        match answer.payload.len() {
            0..=MAX_ANSWER => read(answer.status, &answer.payload),
            bytes => Err(NoAnswer::Unreadable(format!("it has {bytes} bytes"))),
        }
    }
}
