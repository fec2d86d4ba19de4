//! Answers that are larger than our own NATS server takes of our user or account. It
//! says so by closing the connection, and the actor would wait for an answer that
//! never comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Subject;
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use wasmbus_rpc::error::RpcError;

use crate::deadline::Deadline;
use crate::front::wasmbus::Handler;
use crate::front::wasmbus::server::Server;
use crate::nats::error_feed::{ErrorReader, Notice};
use crate::nats::{PayloadLimit, is_payload_violation};

/// An answer that was sent.
struct Large {
    reply: Subject,
    id: String,
}

/// The largest message that was sent over the connection to our NATS.
#[derive(Default)]
pub(super) struct Largest {
    bytes: AtomicUsize,
    /// What it was, if it was an answer.
    answer: Mutex<Option<Large>>,
    refused: PayloadLimit,
}

impl Largest {
    /// Takes that an answer is about to be sent.
    ///
    /// # Errors
    /// From how many bytes on the server took none lately, where it is as large.
    pub(super) fn sends(&self, bytes: usize, reply: &Subject, id: &str) -> Result<(), usize> {
        if bytes <= self.bytes.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut answer = self.lock();
        self.refused.check(bytes)?;
        self.bytes.store(bytes, Ordering::Release);
        *answer = Some(Large {
            reply: reply.clone(),
            id: id.to_owned(),
        });
        Ok(())
    }

    /// The same of what is no answer.
    pub(super) fn sends_other(&self, bytes: usize) {
        if bytes > self.bytes.load(Ordering::Acquire) {
            let mut answer = self.lock();
            self.bytes.store(bytes, Ordering::Release);
            *answer = None;
        }
    }

    /// Takes that a message was too large: the largest is, or came behind it. `others`
    /// is that of those that are not answers.
    fn too_large(&self, others: usize) -> Option<(usize, Large)> {
        let mut answer = self.lock();
        let bytes = self.bytes.swap(0, Ordering::AcqRel);
        let large = answer.take().filter(|_| bytes > others)?;
        self.refused.refuse(bytes);
        Some((bytes, large))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Large>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Handler> Server<H> {
    /// Answers, for ever, calls whose answers were too large: with that.
    pub(super) async fn answer_too_large(self: Arc<Self>, mut heard: ErrorReader) {
        let violation = |word: &Notice| match word {
            // Those are quoted.
            Notice::Other(words) => is_payload_violation(words.trim_matches('"')).then_some(()),
            Notice::Refusal(_) => None,
        };
        loop {
            heard.find(violation).await;
            // Their headers are shorter than that.
            let others = self.home.requests.largest.load(Ordering::Acquire) + 1024;
            let Some((bytes, large)) = self.largest.too_large(others) else {
                continue;
            };
            warn!(bytes, "our NATS server takes no answers as large as this");
            let error = RpcError::Nats(too_large(bytes, bytes));
            let deadline = Deadline::new(Instant::now(), self.budget);
            // What is written before goes the way of the answer.
            let mut connects = self.home.connects.clone();
            let broken = *connects.borrow_and_update();
            let again = connects.wait_for(|connects| *connects > broken);
            if timeout_at(deadline.at(), again).await.is_err() {
                continue;
            }
            self.answer(large.reply, large.id, Err(error), deadline)
                .await;
        }
    }
}

/// What an actor is told whose answer has so many bytes, and the server takes none of
/// `from`.
pub(super) fn too_large(bytes: usize, from: usize) -> String {
    format!(
        "the answer has {bytes} bytes, and the NATS server of the provider's lattice takes none of \
         {from} bytes of the provider's user (Maximum Payload Violation)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_answer_is_told_and_none_as_large_is_sent_again() {
        let largest = Largest::default();
        let sends = |bytes: usize| largest.sends(bytes, &"reply".into(), &bytes.to_string());
        for bytes in [10, 1000, 300] {
            assert_eq!(sends(bytes), Ok(()));
        }
        let (bytes, large) = largest.too_large(500).unwrap();
        assert_eq!((bytes, large.id.as_str()), (1000, "1000"));
        for (bytes, sent) in [(999, Ok(())), (1000, Err(1000)), (5000, Err(1000))] {
            assert_eq!(sends(bytes), sent, "{bytes}");
        }
        // Something else was larger: of answers, nothing is known.
        largest.sends_other(100_000);
        assert!(largest.too_large(0).is_none());
        assert!(sends(700).is_ok() && largest.too_large(800).is_none());
    }
}
