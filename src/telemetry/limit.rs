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

/// Lines that come at once, and how many more each second.
const BURST: u32 = 200;
const MORE_EACH_SECOND: u32 = 2;

/// Keeps what is worth a line each time from filling the log where somebody has
/// it happen all the time.
pub struct Bursts(Mutex<(u32, Instant)>);

impl Default for Bursts {
    fn default() -> Self {
        Self(Mutex::new((BURST, Instant::now())))
    }
}

impl Bursts {
    /// Whether to log now.
    pub fn is_due(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = &mut *state;
        let seconds = since.elapsed().as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(BURST);
            *left = left
                .saturating_add(more.saturating_mul(MORE_EACH_SECOND))
                .min(BURST);
            *since = Instant::now();
        }
        let due = *left > 0;
        *left = left.saturating_sub(1);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_an_end() {
        let bursts = Bursts::default();
        let due = (0..10_000).filter(|_| bursts.is_due()).count();
        assert!(
            (BURST as usize..BURST as usize + 10).contains(&due),
            "{due}"
        );
    }
}
