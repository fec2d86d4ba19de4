//! What our own NATS server says in passing, for those who wait for an answer: what
//! it refuses has none, and would look like silence.

use async_nats::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Refusal, words};

/// Words kept for those who are slow to hear them.
const KEPT: usize = 64;

/// Something that the server said.
#[derive(Clone, Debug)]
pub enum Word {
    /// It did not take something.
    Refusal(Refusal),
    /// Anything else, quoted.
    Other(String),
}

/// Where the words of a server are told.
#[derive(Clone)]
pub struct Said(broadcast::Sender<Word>);

impl Default for Said {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Said {
    /// Takes an event of the connection.
    pub fn take(&self, event: &Event) {
        if let Event::ServerError(error) = event {
            let word = match Refusal::of(event) {
                Some(refusal) => Word::Refusal(refusal),
                None => Word::Other(words(error)),
            };
            // Nobody waits: nobody is harmed.
            let _ = self.0.send(word);
        }
    }

    /// What is said from now on.
    pub fn heard(&self) -> Heard {
        Heard(self.0.subscribe())
    }
}

/// Words from some moment on.
pub struct Heard(broadcast::Receiver<Word>);

impl Heard {
    /// The next one.
    pub async fn next(&mut self) -> Word {
        loop {
            match self.0.recv().await {
                Ok(word) => return word,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
