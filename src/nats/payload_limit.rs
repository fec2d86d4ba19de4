//! Messages that are larger than a server takes of a user. What it takes of all
//! users a server says at once, and async-nats heeds it. What it takes of one user,
//! or of an account, it says by closing the connection of whoever sends more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The server's words when it closes the connection.
const VIOLATION: &str = "maximum payload violation";
/// How long nothing as large is sent again, unless it is forgotten: limits are
/// raised, and every attempt costs all users of the connection.
const COUNTS_FOR: Duration = Duration::from_secs(600);

/// Whether a server says with these words that a message was too large.
pub fn is_payload_violation(words: &str) -> bool {
    words.eq_ignore_ascii_case(VIOLATION)
}

/// From how many bytes on messages were not taken lately.
#[derive(Default)]
pub struct PayloadLimit(Mutex<Option<(usize, Instant)>>);

impl PayloadLimit {
    /// That a message of so many bytes may be sent.
    ///
    /// # Errors
    /// From how many bytes on none was taken lately, where it is as large.
    pub fn check(&self, bytes: usize) -> Result<(), usize> {
        let mut known = self.lock();
        if known.is_some_and(|(_, at)| at.elapsed() >= COUNTS_FOR) {
            *known = None;
        }
        match *known {
            Some((from, _)) if bytes >= from => Err(from),
            _ => Ok(()),
        }
    }

    /// Takes that a message of so many bytes was too large.
    pub fn refuse(&self, bytes: usize) {
        *self.lock() = Some((bytes, Instant::now()));
    }

    /// Forgets it.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(usize, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
