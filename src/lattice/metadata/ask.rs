//! One question to JetStream of a lattice, one answer.

use async_nats::Subject;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::sleep_until;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::lattice::Lattice;
use crate::nats::jetstream::{NoAnswer, read};
use crate::pool::NotAsked;

/// Why a question has no answer.
pub(in crate::lattice) enum Unanswered {
    /// The lattice is not connected.
    Down(Error),
    /// The credentials do not allow to ask it.
    Refused(Error),
    /// The credentials do not allow to hear the answer.
    Unheard(Error),
    /// The answer is none.
    By(NoAnswer),
}

impl Lattice {
    /// Asks JetStream, and waits for the answer until `by`. The question has the
    /// subject that is published to, and the one that a server of the domain makes
    /// of it before it looks at permissions.
    ///
    /// Answers arrive at the connection's inbox, where nothing stays of a question
    /// without one.
    pub(in crate::lattice) async fn ask_jetstream<T: DeserializeOwned>(
        &self,
        question: [Subject; 2],
        body: Bytes,
        by: Deadline,
    ) -> Result<T, Unanswered> {
        let lost = self.connection.lost_from_now(&self.id);
        let lost = lost.map_err(Unanswered::Down)?;
        let refusals = self.connection.refusals_from_now();
        let asked = self.connection.ask(question[0].clone(), body).await;
        let mut asked = asked.map_err(|error| match error {
            NotAsked::Unheard(refusal) => Unanswered::Unheard(self.not_permitted(&refusal)),
            NotAsked::Failed(error) => Unanswered::By(NoAnswer::NotSent(error.to_string())),
        })?;
        let inbox = self.connection.inbox();
        let ours = |refused: &str| question.iter().any(|ours| ours.as_str() == refused);
        tokio::select! {
            biased;
            answer = asked.answer() => match answer {
                Some(answer) => read(&answer).map_err(Unanswered::By),
                None => Err(Unanswered::By(NoAnswer::Broke)),
            },
            () = lost => Err(Unanswered::By(NoAnswer::Broke)),
            refusal = refusals.of(|refused| ours(refused) || refused == inbox) => {
                let error = self.not_permitted(&refusal);
                Err(match refusal.subscription {
                    true => Unanswered::Unheard(error),
                    false => Unanswered::Refused(error),
                })
            }
            () = sleep_until(by.at()) => Err(Unanswered::By(NoAnswer::Silence)),
        }
    }
}
