//! What a server says in passing, for those who wait for an answer: what it refuses
//! has none, and would look like silence.
//!
//! Words are kept for a while, so that nobody misses one, however many there are at
//! once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Event;
use tokio::sync::watch;

use crate::nats::refusal::{Refusal, words};

/// How long words are kept, and how many at most.
const KEPT_FOR: Duration = Duration::from_secs(10);
const MOST_KEPT: usize = 4096;

/// Something that the server said.
#[derive(Clone, Debug)]
pub enum Notice {
    /// It did not take something.
    Refusal(Refusal),
    /// Anything else, quoted.
    Other(String),
}

/// The words that are kept, the first of which has this number.
#[derive(Default)]
struct Kept {
    first: u64,
    words: VecDeque<(Instant, Notice)>,
}

impl Kept {
    /// The number of the next word.
    fn end(&self) -> u64 {
        self.first + self.words.len() as u64
    }

    fn forget_first(&mut self) {
        self.first += u64::from(self.words.pop_front().is_some());
    }
}

#[derive(Default)]
struct Inner {
    kept: Mutex<Kept>,
    /// Told that there are more.
    more: watch::Sender<()>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the words of a server are told.
#[derive(Clone, Default)]
pub struct ErrorFeed(Arc<Inner>);

impl ErrorFeed {
    /// Takes an event of the connection.
    pub fn take(&self, event: &Event) {
        if let Event::ServerError(error) = event {
            self.publish(match Refusal::of(event) {
                Some(refusal) => Notice::Refusal(refusal),
                None => Notice::Other(words(error)),
            });
        }
    }

    /// Tells all who listen.
    pub fn publish(&self, word: Notice) {
        let mut kept = self.0.lock();
        let is_old = |kept: &Kept| {
            let first = kept.words.front();
            first.is_some_and(|(at, _)| at.elapsed() > KEPT_FOR)
        };
        while kept.words.len() >= MOST_KEPT || is_old(&kept) {
            kept.forget_first();
        }
        kept.words.push_back((Instant::now(), word));
        drop(kept);
        self.0.more.send_replace(());
    }

    /// What is said from now on.
    pub fn subscribe(&self) -> ErrorReader {
        // In this order: what is said in between is in both.
        let more = self.0.more.subscribe();
        ErrorReader {
            next: self.0.lock().end(),
            said: self.0.clone(),
            more,
        }
    }
}

/// Words from some moment on.
pub struct ErrorReader {
    said: Arc<Inner>,
    next: u64,
    more: watch::Receiver<()>,
}

impl ErrorReader {
    /// Waits for the first word of which `find` makes something.
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

    /// The same of what was said already.
    pub fn find_now<T>(&mut self, mut find: impl FnMut(&Notice) -> Option<T>) -> Option<T> {
        let kept = self.said.lock();
        self.next = self.next.max(kept.first);
        while let Some((_, word)) = kept.words.get((self.next - kept.first) as usize) {
            self.next += 1;
            if let Some(found) = find(word) {
                return Some(found);
            }
        }
        None
    }

    /// The next one.
    pub async fn next(&mut self) -> Notice {
        self.find(|word| Some(word.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn nobody_misses_a_word_however_many_come_at_once() {
        let said = ErrorFeed::default();
        let mut heard = said.subscribe();
        for number in 0..MOST_KEPT {
            said.publish(Notice::Other(number.to_string()));
        }
        let mut late = said.subscribe();
        let wanted =
            |word: &Notice| matches!(word, Notice::Other(text) if text == "7").then_some(());
        assert!(heard.find(wanted).now_or_never().is_some());
        assert!(late.find(wanted).now_or_never().is_none());
        said.publish(Notice::Other("7".into()));
        assert!(late.find(wanted).now_or_never().is_some());
        assert!(heard.find(wanted).now_or_never().is_some());
    }
}
