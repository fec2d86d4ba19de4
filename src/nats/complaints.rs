//! What is worth a line in the log, but not one for every attempt.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keeps what repeats with every attempt to connect from filling the log.
#[derive(Default)]
pub struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    /// Whether to log now: the first time, then once in half a minute.
    pub fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() > Duration::from_secs(30));
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
