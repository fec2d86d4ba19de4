//! A path for commands to the host, and how long they take on it.

use std::time::{Duration, Instant};

use async_nats::{Client, Subject};
use bytes::Bytes;

/// How many commands are in flight where many go at once.
pub const CALLERS: usize = 64;

/// A path for commands.
pub struct Path {
    /// The connection of the callers.
    pub client: Client,
    /// The subject that they send their commands to.
    pub subject: Subject,
    /// Whether an answer says that the host acknowledged the command.
    pub accepted: fn(&[u8]) -> bool,
}

impl Path {
    /// Sends commands one after the other, and returns how long each took.
    pub async fn one_by_one(&self, commands: Vec<Bytes>) -> Vec<Duration> {
        let mut took = Vec::with_capacity(commands.len());
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let started = Instant::now();
            let answer = self.client.request(self.subject.clone(), command).await;
            took.push(started.elapsed());
            answers.push(answer.unwrap().payload);
        }
        self.check(&answers);
        took
    }

    /// Sends commands by several callers, each of which sends the next one when
    /// the last is acknowledged, and returns how long all took together.
    pub async fn at_once(&self, commands: Vec<Bytes>) -> Duration {
        let started = Instant::now();
        let share = commands.len().div_ceil(CALLERS);
        let callers: Vec<_> = commands
            .chunks(share)
            .map(|commands| {
                let (client, subject) = (self.client.clone(), self.subject.clone());
                let commands = commands.to_vec();
                tokio::spawn(async move {
                    let mut answers = Vec::with_capacity(commands.len());
                    for command in commands {
                        let answer = client.request(subject.clone(), command).await;
                        answers.push(answer.unwrap().payload);
                    }
                    answers
                })
            })
            .collect();
        let all = futures::future::join_all(callers).await;
        let took = started.elapsed();
        for answers in all {
            self.check(&answers.unwrap());
        }
        took
    }

    fn check(&self, answers: &[Bytes]) {
        for answer in answers {
            let shown = || String::from_utf8_lossy(answer).into_owned();
            assert!((self.accepted)(answer), "not acknowledged: {}", shown());
        }
    }
}
