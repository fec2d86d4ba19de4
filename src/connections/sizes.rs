//! How large what is sent over a connection is, and which message was the last: what
//! a server takes of a user shows only where it takes no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::nats::{PayloadLimit, is_payload_violation};

/// What is sent over one connection.
pub(crate) struct Sizes {
    /// The largest so far, in bytes.
    largest: AtomicUsize,
    /// Messages that were begun to be sent, and that were.
    begun: AtomicU64,
    done: AtomicU64,
    /// What is known of the login, whichever connection it has.
    refused: Arc<PayloadLimit>,
}

/// A message that is being sent, until this is dropped. `None` where others are
/// being sent at the same time, so that nobody knows which comes first.
pub(crate) struct Sending<'a>(&'a Sizes, Option<u64>);

impl Sending<'_> {
    /// Its number, where it comes behind all with a smaller one.
    pub(crate) fn number(&self) -> Option<u64> {
        self.1
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::AcqRel);
    }
}

impl Sizes {
    pub(crate) fn new(refused: Arc<PayloadLimit>) -> Self {
        Self {
            largest: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            refused,
        }
    }

    /// Takes that a message is about to be sent.
    ///
    /// # Errors
    /// From how many bytes on the server took none lately, where it is as large.
    pub(crate) fn sends(&self, bytes: usize) -> Result<Sending<'_>, usize> {
        // As large went out over this very connection: it is there still.
        if self.largest.load(Ordering::Acquire) < bytes {
            self.refused.check(bytes)?;
            self.largest.fetch_max(bytes, Ordering::AcqRel);
        }
        let done = self.done.load(Ordering::Acquire);
        let before = self.begun.fetch_add(1, Ordering::AcqRel);
        Ok(Sending(self, (done == before).then_some(before)))
    }

    /// Takes the words with which a server closed the connection; the number of the
    /// last message, if that was for the size of one.
    ///
    /// It takes messages in order until one is too large, and none behind that. So
    /// the last one was certainly not taken: it is that one, or behind it. Limits may
    /// change while a connection lasts, so that nothing is certain of the others. Of
    /// sizes, what is as large as the largest is too large from now on.
    pub(crate) fn closed_with(&self, words: &str) -> Option<u64> {
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
    fn what_a_server_refused_for_its_size_is_not_sent_again_unless_it_may_be() {
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
        let number = |sizes: &Sizes| sizes.sends(9).ok().and_then(|sent| sent.number());
        let (one, two) = (number(&sizes), number(&sizes));
        assert!(one.is_some() && two.is_some());
        assert!(violation(&sizes) == two && violation(&sizes) != one);
        // Two at once: whichever comes last, nobody knows.
        let first = sizes.sends(9).ok().unwrap();
        let second = sizes.sends(9).ok().unwrap();
        assert!(second.number().is_none());
        drop((first, second));
        assert_eq!(violation(&sizes), Some(3));
    }
}
