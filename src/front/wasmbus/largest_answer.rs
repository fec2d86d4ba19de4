//! Answers that are larger than the provider's own NATS server takes of its user or account.
//! The server says so by closing the connection, and the actor would wait for an answer that
//! never comes.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::Subject;

use crate::lock::Lock;
use crate::nats::PayloadLimit;

/// An answer that was sent.
pub(super) struct SentAnswer {
    pub(super) reply: Subject,
    pub(super) id: String,
}

/// The largest message that was sent over the connection to the provider's NATS server.
#[derive(Default)]
pub(super) struct LargestAnswer {
    bytes: AtomicUsize,
    /// The message, if it was an answer.
    answer: Lock<Option<SentAnswer>>,
    refused: PayloadLimit,
}

impl LargestAnswer {
    /// Notes that an answer is about to be sent.
    ///
    /// # Errors
    /// The size from which on the server took no answers lately, if this one is as large.
    pub(super) fn sends(&self, bytes: usize, reply: &Subject, id: &str) -> Result<(), usize> {
        if bytes <= self.bytes.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut answer = self.answer.lock();
        self.refused.check(bytes)?;
        self.bytes.store(bytes, Ordering::Release);
        *answer = Some(SentAnswer {
            reply: reply.clone(),
            id: id.to_owned(),
        });
        Ok(())
    }

    /// Notes that a message is about to be sent that is no answer.
    pub(super) fn sends_other(&self, bytes: usize) {
        if bytes > self.bytes.load(Ordering::Acquire) {
            let mut answer = self.answer.lock();
            self.bytes.store(bytes, Ordering::Release);
            *answer = None;
        }
    }

    /// Notes that the server did not take a message for its size, which must be the largest
    /// one, or came behind it. Returns the answer if it was one: if it is larger than
    /// `others`, the size of the largest message that is no answer.
    pub(super) fn too_large(&self, others: usize) -> Option<(usize, SentAnswer)> {
        let mut answer = self.answer.lock();
        let bytes = self.bytes.swap(0, Ordering::AcqRel);
        let large = answer.take().filter(|_| bytes > others)?;
        self.refused.refuse(bytes);
        Some((bytes, large))
    }
}

/// Says that an answer has so many bytes, and that the server takes no answers of `from`
/// bytes.
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
    fn the_largest_answer_is_found_and_none_as_large_is_sent_again() {
        let largest = LargestAnswer::default();
        let sends = |bytes: usize| largest.sends(bytes, &"reply".into(), &bytes.to_string());
        for bytes in [10, 1000, 300] {
            assert_eq!(sends(bytes), Ok(()));
        }
        let (bytes, large) = largest.too_large(500).unwrap();
        assert_eq!((bytes, large.id.as_str()), (1000, "1000"));
        for (bytes, sent) in [(999, Ok(())), (1000, Err(1000)), (5000, Err(1000))] {
            assert_eq!(sends(bytes), sent, "{bytes}");
        }
        // A larger message was no answer, so that nothing is known of answers.
        largest.sends_other(100_000);
        assert!(largest.too_large(0).is_none());
        assert!(sends(700).is_ok() && largest.too_large(800).is_none());
    }
}
