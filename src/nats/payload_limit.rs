//! Remembers how large a message a server refused. A server announces its limit for all
//! users when a client connects, and async-nats keeps to it. Its limit for one user or
//! one account it does not announce: it closes the connection of a client that sends
//! more.

use std::time::{Duration, Instant};

use crate::lock::Lock;

/// The server's words when it closes the connection.
const VIOLATION: &str = "maximum payload violation";
/// How long nothing as large is sent again, unless the limit is forgotten: limits are
/// raised, and each attempt costs everybody the connection.
const COUNTS_FOR: Duration = Duration::from_secs(600);

/// Returns whether these words of a server say that a message was too large.
pub fn is_payload_violation(words: &str) -> bool {
    words.eq_ignore_ascii_case(VIOLATION)
}

/// The size of the message that was refused last, and when.
#[derive(Default)]
pub struct PayloadLimit(Lock<Option<(usize, Instant)>>);

impl PayloadLimit {
    /// Checks that no message as large was refused lately.
    ///
    /// # Errors
    /// The size of the message that was.
    pub fn check(&self, bytes: usize) -> Result<(), usize> {
        let mut known = self.0.lock();
        if known.is_some_and(|(_, at)| at.elapsed() >= COUNTS_FOR) {
            *known = None;
        }
        match *known {
            Some((from, _)) if bytes >= from => Err(from),
            _ => Ok(()),
        }
    }

    /// Remembers that a message of this size was refused.
    pub fn refuse(&self, bytes: usize) {
        *self.0.lock() = Some((bytes, Instant::now()));
    }

    /// Forgets the refusal: the limit may have been raised.
    pub fn forget(&self) {
        *self.0.lock() = None;
    }
}
