//! Where the answers to requests over a connection arrive: one subscription for
//! all of them. A subscription for each would cost a task, three messages and
//! seven kilobytes; that of async-nats keeps whatever waits there for ever where
//! no answer comes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, Message, Subject, Subscriber};
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::nats::text;

/// Answers that are waited for, by the last token of their subject.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where answers arrive.
pub(super) struct Inbox {
    /// What is subscribed to, and before the last token tells one from another.
    subject: String,
    /// Takes another subscription in the place of one that was refused.
    again: mpsc::Sender<Subscriber>,
    waiting: Waiting,
    next: AtomicU64,
    /// Nobody can guess a token: who hears one question must not answer another.
    tokens: RandomState,
}

impl Inbox {
    /// The subject that has to be subscribed to for `prefix`.
    pub(super) fn subject(prefix: &str) -> String {
        format!("{prefix}.*")
    }

    /// Subscribes, until the connection is released; `None` where it is closed.
    pub(super) async fn open(
        client: &Client,
        prefix: &str,
        released: CancellationToken,
    ) -> Option<Self> {
        let mut answers = client.subscribe(Self::subject(prefix)).await.ok()?;
        let (again, mut anew) = mpsc::channel(1);
        let waiting = Waiting::default();
        let (theirs, start) = (waiting.clone(), prefix.len() + 1);
        tokio::spawn(async move {
            loop {
                let answer = tokio::select! {
                    answer = answers.next() => answer,
                    Some(subscribed) = anew.recv() => {
                        answers = subscribed;
                        continue;
                    }
                    () = released.cancelled() => None,
                };
                let Some(answer) = answer else { return };
                let token = answer.subject.get(start..);
                let token = token.and_then(|token| u64::from_str_radix(token, 16).ok());
                let waiting = token.and_then(|token| theirs.lock().remove(&token));
                if let Some(waiting) = waiting {
                    // Who gave up meanwhile is not harmed.
                    let _ = waiting.send(answer);
                }
            }
        });
        Some(Self {
            subject: Self::subject(prefix),
            again,
            waiting,
            next: AtomicU64::new(0),
            tokens: RandomState::new(),
        })
    }

    /// What is subscribed to.
    pub(super) fn heard_on(&self) -> &str {
        &self.subject
    }

    /// Subscribes again, where the server would not have it before.
    pub(super) async fn open_again(&self, client: &Client) {
        if let Ok(subscribed) = client.subscribe(self.subject.clone()).await {
            let _ = self.again.send(subscribed).await;
        }
    }

    /// A place for one answer.
    pub(super) fn expect(&self) -> Expected {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let token = self.tokens.hash_one(number);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(token, sender);
        let prefix = self.subject.trim_end_matches('*');
        let subject = text(prefix.len() + 16, format_args!("{prefix}{token:x}"));
        Expected {
            subject: subject.into(),
            answer,
            token,
            waiting: self.waiting.clone(),
        }
    }
}

/// An answer that is waited for; dropped, it no longer is.
pub(super) struct Expected {
    /// Where it is to be sent.
    pub(super) subject: Subject,
    answer: oneshot::Receiver<Message>,
    token: u64,
    waiting: Waiting,
}

impl Expected {
    /// The answer; `None` where none can come any more.
    pub(super) async fn answer(&mut self) -> Option<Message> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.token);
    }
}
