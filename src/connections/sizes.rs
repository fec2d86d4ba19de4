//! The largest message that went out over a connection, and the number of the last.
//! A server does not tell which size it takes of one user: it closes the connection
//! when a message is larger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::nats::{PayloadLimit, is_payload_violation};

/// The messages that are sent over one connection.
pub(super) struct Sizes {
    /// The largest so far, in bytes.
    largest: AtomicUsize,
    /// How many messages began to be sent, and how many are sent.
    begun: AtomicU64,
    done: AtomicU64,
    /// The size that the server refused to this login, over any connection.
    refused: Arc<PayloadLimit>,
}

/// The number of a message that was sent; `None` where others were sent at the same
/// time, so that their order is not known.
#[derive(Clone, Copy, Debug)]
pub struct MessageNumber(pub(super) Option<u64>);

/// A message that is being sent, until this is dropped.
pub(super) struct Sending<'a>(&'a Sizes, Option<u64>);

impl Sending<'_> {
    /// The number of the message, which comes behind all with smaller ones.
    pub(super) fn number(&self) -> MessageNumber {
        MessageNumber(self.1)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::AcqRel);
    }
}

impl Sizes {
    pub(super) fn new(refused: Arc<PayloadLimit>) -> Self {
        Self {
            largest: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            refused,
        }
    }

    /// Notes that a message is about to be sent.
    ///
    /// # Errors
    /// The number of bytes from which on the server took none lately, where the
    /// message has as many.
    pub(super) fn sends(&self, bytes: usize) -> Result<Sending<'_>, usize> {
        // A message as large went out, and the connection still stands.
        if self.largest.load(Ordering::Acquire) < bytes {
            self.refused.check(bytes)?;
            self.largest.fetch_max(bytes, Ordering::AcqRel);
        }
        let done = self.done.load(Ordering::Acquire);
        let before = self.begun.fetch_add(1, Ordering::AcqRel);
        Ok(Sending(self, (done == before).then_some(before)))
    }

    /// Notes the words with which a server closed the connection. Returns the number
    /// of the last message, if the cause was the size of one.
    ///
    /// The server takes messages in order until one is too large, and none behind
    /// it. So the last one was certainly not taken: it is the large one, or behind
    /// it. Limits may change while a connection lasts, so nothing is certain about
    /// the others. From now on, a message as large as the largest is too large.
    pub(super) fn closed_with(&self, words: &str) -> Option<u64> {
        if !is_payload_violation(words) {
            return None;
        }
        self.refused.refuse(self.largest.load(Ordering::Acquire));
        self.begun.load(Ordering::Acquire).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(sizes: &Sizes) -> Option<u64> {
        sizes.closed_with("Maximum Payload Violation")
    }

    #[test]
    fn what_a_server_refused_for_its_size_is_not_sent_again_until_it_is_forgotten() {
        let login = Arc::new(PayloadLimit::default());
        let first = Sizes::new(login.clone());
        for bytes in [10, 1000, 300] {
            assert!(first.sends(bytes).is_ok());
        }
        assert_eq!(first.closed_with("Stale Connection"), None);
        assert_eq!(violation(&first), Some(2));
        let next = Sizes::new(login.clone());
        for (bytes, refused) in [(999, None), (1000, Some(1000)), (5000, Some(1000))] {
            assert_eq!(next.sends(bytes).err(), refused, "{bytes}");
        }
        login.forget();
        assert!(next.sends(5000).is_ok());
    }

    #[test]
    fn the_last_message_alone_was_certainly_not_taken() {
        let sizes = Sizes::new(Arc::default());
        let number = |sizes: &Sizes| sizes.sends(9).ok().and_then(|sending| sending.number().0);
        let (one, two) = (number(&sizes), number(&sizes));
        assert!(one.is_some() && two.is_some());
        assert!(violation(&sizes) == two && violation(&sizes) != one);
        // Two at once: it is not known which of them comes last.
        let first = sizes.sends(9).ok().unwrap();
        let second = sizes.sends(9).ok().unwrap();
        assert!(second.number().0.is_none());
        drop((first, second));
        assert_eq!(violation(&sizes), Some(3));
    }
}
