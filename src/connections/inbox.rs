//! Where the answers to questions over a connection arrive: one subscription for
//! all of them, since servers may allow few. A subscription for each would cost a
//! task, three messages and seven kilobytes; that of async-nats keeps whatever
//! waits there for ever where no answer comes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_nats::{Client, Message, Subject, Subscriber};
use futures::{Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connections::permissions::Refusals;
use crate::nats::text;

/// Answers to a gather that wait to be looked at: one more than it takes in all, so
/// that it sees that there are too many. What is beyond is dropped.
const MOST_WAITING: usize = 10_001;

/// Who waits for answers.
enum Waiter {
    /// For one.
    One(oneshot::Sender<Message>),
    /// For as many as come.
    Many(mpsc::Sender<Message>),
}

/// Those who wait, by the last token of the subject of their answers.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<u64, Waiter>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an answer to the one who waits for it. Who gave up meanwhile is not
    /// harmed.
    fn hand_over(&self, token: u64, answer: Message) {
        let mut waiting = self.lock();
        match waiting.get(&token) {
            None => {}
            Some(Waiter::Many(sender)) => drop(sender.try_send(answer)),
            Some(Waiter::One(_)) => {
                if let Some(Waiter::One(sender)) = waiting.remove(&token) {
                    let _ = sender.send(answer);
                }
            }
        }
    }
}

/// Tells all who wait that nothing comes any more, however the task that hands
/// answers over has ended.
struct Ends(Waiting);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.lock().clear();
    }
}

/// Where answers arrive.
pub(crate) struct Inbox {
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
    pub(crate) fn subject(prefix: &str) -> String {
        format!("{prefix}.*")
    }

    /// Subscribes, until the connection is released; `None` where it is closed.
    pub(crate) async fn open(
        client: &Client,
        prefix: &str,
        refusals: Refusals,
        released: CancellationToken,
    ) -> Option<Self> {
        let mut answers = client.subscribe(Self::subject(prefix)).await.ok()?;
        let (again, mut anew) = mpsc::channel(1);
        let waiting = Waiting::default();
        let (ends, start) = (Ends(waiting.clone()), prefix.len() + 1);
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
                refusals.prove();
                if let Some(token) = token(&answer.subject, start) {
                    ends.0.hand_over(token, answer);
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
    pub(crate) fn heard_on(&self) -> &str {
        &self.subject
    }

    /// Subscribes again, where the server would not have it before.
    pub(crate) async fn open_again(&self, client: &Client) {
        if let Ok(subscribed) = client.subscribe(self.subject.clone()).await {
            let _ = self.again.send(subscribed).await;
        }
    }

    /// A place for one answer.
    pub(crate) fn expect(&self) -> Expected {
        let (token, subject) = self.reply_subject();
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(token, Waiter::One(sender));
        Expected {
            subject,
            answer,
            token,
            waiting: self.waiting.clone(),
        }
    }

    /// A place for all answers on these subjects, each from
    /// [`Inbox::reply_subject`].
    pub(crate) fn gather<'a>(&self, subjects: impl Iterator<Item = &'a Subject>) -> Replies {
        let (sender, answers) = mpsc::channel(MOST_WAITING);
        let start = self.subject.len() - 1;
        let tokens: Vec<u64> = subjects.filter_map(|one| token(one, start)).collect();
        let mut waiting = self.waiting.lock();
        for token in &tokens {
            waiting.insert(*token, Waiter::Many(sender.clone()));
        }
        drop(waiting);
        Replies {
            answers,
            tokens,
            waiting: self.waiting.clone(),
        }
    }

    /// A subject for answers that nobody else has, and its token.
    pub(crate) fn reply_subject(&self) -> (u64, Subject) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let token = self.tokens.hash_one(number);
        let prefix = self.subject.trim_end_matches('*');
        let subject = text(prefix.len() + 16, format_args!("{prefix}{token:x}"));
        (token, subject.into())
    }
}

/// The token of a subject that has `start` bytes before it.
fn token(subject: &str, start: usize) -> Option<u64> {
    let token = subject.get(start..)?;
    u64::from_str_radix(token, 16).ok()
}

/// An answer that is waited for; dropped, it no longer is.
pub(crate) struct Expected {
    /// Where it is to be sent.
    pub(crate) subject: Subject,
    answer: oneshot::Receiver<Message>,
    token: u64,
    waiting: Waiting,
}

impl Expected {
    /// The answer; `None` where none can come any more.
    pub(crate) async fn answer(&mut self) -> Option<Message> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.token);
    }
}

/// Answers that are waited for; dropped, they no longer are. The stream ends when
/// none can come any more.
pub struct Replies {
    answers: mpsc::Receiver<Message>,
    tokens: Vec<u64>,
    waiting: Waiting,
}

impl Stream for Replies {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.answers.poll_recv(cx)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        for token in &self.tokens {
            waiting.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_waits_is_told_when_nothing_can_come_any_more() {
        let waiting = Waiting::default();
        let (one, mut answer) = oneshot::channel();
        let (many, mut answers) = mpsc::channel(1);
        waiting.lock().insert(1, Waiter::One(one));
        waiting.lock().insert(2, Waiter::Many(many));
        // However the task ended.
        drop(Ends(waiting.clone()));
        assert!(answer.try_recv().is_err());
        assert!(matches!(answers.recv().now_or_never(), Some(None)));
    }
}
