//! Hands the errors that a server reports (`-ERR`) to those who wait for answers: a
//! request that the server refuses gets no answer, and would look like silence.
//!
//! Errors are kept for a while, so that no reader misses one, however many come at
//! once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Event;
use tokio::sync::watch;

use crate::lock::Lock;
use crate::nats::refusal::{Refusal, words};

/// How long errors are kept, and how many at most.
const KEPT_FOR: Duration = Duration::from_secs(10);
const MOST_KEPT: usize = 4096;

/// An error that the server reports.
#[derive(Clone, Debug)]
pub enum Notice {
    /// It refused a message or a subscription.
    Refusal(Refusal),
    /// Any other error, in its words, quoted.
    Other(String),
}

/// The errors that are kept.
#[derive(Default)]
struct Kept {
    /// The number of the first one.
    first: u64,
    notices: VecDeque<(Instant, Notice)>,
}

impl Kept {
    /// Returns the number that the next error will have.
    fn end(&self) -> u64 {
        self.first + self.notices.len() as u64
    }

    fn forget_first(&mut self) {
        self.first += u64::from(self.notices.pop_front().is_some());
    }
}

#[derive(Default)]
struct Inner {
    kept: Lock<Kept>,
    /// Wakes readers when there are more.
    more: watch::Sender<()>,
}

/// The errors of one server. Clones share them.
#[derive(Clone, Default)]
pub struct ErrorFeed(Arc<Inner>);

impl ErrorFeed {
    /// Publishes the error that an event of the connection reports, if it is one.
    pub fn take(&self, event: &Event) {
        if let Event::ServerError(error) = event {
            self.publish(match Refusal::of(event) {
                Some(refusal) => Notice::Refusal(refusal),
                None => Notice::Other(words(error)),
            });
        }
    }

    /// Hands an error to all readers.
    pub fn publish(&self, notice: Notice) {
        let mut kept = self.0.kept.lock();
        let is_old = |kept: &Kept| {
            let first = kept.notices.front();
            first.is_some_and(|(at, _)| at.elapsed() > KEPT_FOR)
        };
        while kept.notices.len() >= MOST_KEPT || is_old(&kept) {
            kept.forget_first();
        }
        kept.notices.push_back((Instant::now(), notice));
        drop(kept);
        self.0.more.send_replace(());
    }

    /// Returns a reader of the errors from now on.
    pub fn subscribe(&self) -> ErrorReader {
        // In this order, so that the reader wakes up for an error in between.
        let more = self.0.more.subscribe();
        ErrorReader {
            next: self.0.kept.lock().end(),
            feed: self.0.clone(),
            more,
        }
    }
}

/// Reads the errors from some moment on.
pub struct ErrorReader {
    feed: Arc<Inner>,
    next: u64,
    more: watch::Receiver<()>,
}

impl ErrorReader {
    /// Waits for the first error of which `find` makes something.
    pub async fn find<T>(&mut self, mut find: impl FnMut(&Notice) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.find_now(&mut find) {
                return found;
            }
            if self.more.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns what `find` makes of the first such error, if it has come already.
    pub fn find_now<T>(&mut self, mut find: impl FnMut(&Notice) -> Option<T>) -> Option<T> {
        let kept = self.feed.kept.lock();
        self.next = self.next.max(kept.first);
        while let Some((_, notice)) = kept.notices.get((self.next - kept.first) as usize) {
            self.next += 1;
            if let Some(found) = find(notice) {
                return Some(found);
            }
        }
        None
    }

    /// Waits for the next error.
    pub async fn next(&mut self) -> Notice {
        self.find(|notice| Some(notice.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn no_reader_misses_an_error_however_many_come_at_once() {
        let feed = ErrorFeed::default();
        let mut early = feed.subscribe();
        for number in 0..MOST_KEPT {
            feed.publish(Notice::Other(number.to_string()));
        }
        let mut late = feed.subscribe();
        let wanted =
            |notice: &Notice| matches!(notice, Notice::Other(text) if text == "7").then_some(());
        assert!(early.find(wanted).now_or_never().is_some());
        assert!(late.find(wanted).now_or_never().is_none());
        feed.publish(Notice::Other("7".into()));
        assert!(late.find(wanted).now_or_never().is_some());
        assert!(early.find(wanted).now_or_never().is_some());
    }
}
