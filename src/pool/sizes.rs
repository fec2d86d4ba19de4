//! Messages that are larger than a server takes of a user. What it takes of all
//! users a server says at once, and async-nats heeds it. What it takes of one user,
//! or of an account, it says by closing the connection of whoever sends more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The server's words when it closes the connection.
const VIOLATION: &str = "maximum payload violation";
/// How long nothing as large is sent again: limits are raised, and every attempt
/// costs all users of the connection.
const COUNTS_FOR: Duration = Duration::from_secs(60);

/// What is known of a login, whichever connection it has.
#[derive(Default)]
pub(super) struct Oversize(Mutex<Option<(usize, Instant)>>);

impl Oversize {
    /// Bytes from which on messages were not taken lately.
    fn from(&self) -> Option<usize> {
        let mut known = self.lock();
        let (from, at) = (*known)?;
        if at.elapsed() >= COUNTS_FOR {
            *known = None;
            return None;
        }
        Some(from)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(usize, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sizes of what is sent over one connection.
pub(super) struct Sizes {
    /// The largest so far, in bytes.
    largest: AtomicUsize,
    refused: Arc<Oversize>,
}

impl Sizes {
    pub(super) fn new(refused: Arc<Oversize>) -> Self {
        Self {
            largest: AtomicUsize::new(0),
            refused,
        }
    }

    /// Takes that a message is about to be sent.
    ///
    /// # Errors
    /// From how many bytes on the server took none lately, where it is as large.
    pub(super) fn sends(&self, bytes: usize) -> Result<(), usize> {
        // As large went out over this very connection: it is there still.
        if self.largest.load(Ordering::Acquire) >= bytes {
            return Ok(());
        }
        if let Some(from) = self.refused.from()
            && bytes >= from
        {
            return Err(from);
        }
        self.largest.fetch_max(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Takes the words with which a server closed the connection; from how many
    /// bytes on it certainly took no message, if that was why.
    ///
    /// It takes messages in order until one is too large. Of all that were sent
    /// the largest is too large as well, or came behind that one.
    pub(super) fn closed_with(&self, words: &str) -> Option<usize> {
        if !words.eq_ignore_ascii_case(VIOLATION) {
            return None;
        }
        let largest = self.largest.load(Ordering::Acquire);
        *self.refused.lock() = Some((largest, Instant::now()));
        Some(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refused_for_its_size_is_not_sent_again() {
        let login = Arc::new(Oversize::default());
        let first = Sizes::new(login.clone());
        for bytes in [10, 1000, 300] {
            assert_eq!(first.sends(bytes), Ok(()));
        }
        assert_eq!(first.closed_with("Stale Connection"), None);
        assert_eq!(first.closed_with("Maximum Payload Violation"), Some(1000));
        let next = Sizes::new(login);
        for (bytes, sent) in [(999, Ok(())), (1000, Err(1000)), (5000, Err(1000))] {
            assert_eq!(next.sends(bytes), sent, "{bytes}");
        }
    }
}
