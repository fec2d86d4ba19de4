//! The inbox of a connection: one subscription for the answers to all requests,
//! since servers may allow few. A subscription for each would cost a task, three
//! messages and seven kilobytes. The shared one of async-nats never forgets a
//! request that gets no answer.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use async_nats::{Client, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connections::permissions::PermissionErrors;
use crate::connections::room::{Held, MESSAGE, NoRoom, Room, owned};
use crate::lock::Lock;
use crate::nats::text;

/// Most answers to a gather that wait to be read: one more than a gather takes, so
/// that it notices too many. Further ones are dropped.
const MOST_WAITING: usize = 10_001;

/// Longest last token of the subject of an answer.
const LONGEST_TOKEN: usize = 16;

/// An answer to a request.
pub struct Reply {
    /// The status, where the server sent it.
    pub status: Option<StatusCode>,
    /// What it says, in the room of the lattice that asked.
    pub payload: Held<Bytes>,
}

/// A waiter for answers.
enum Waiter {
    /// It takes one.
    One(oneshot::Sender<Result<Reply, NoRoom>>, Room),
    /// It takes all that come.
    Many(mpsc::Sender<Message>, Arc<RoomOfGather>),
}

/// The room that a gather takes, or why it ended, where there was too little.
struct RoomOfGather(Lock<Result<Room, NoRoom>>);

impl RoomOfGather {
    /// Has more room taken; returns whether there was any.
    fn take(&self, more: impl FnOnce(&mut Room) -> Result<(), NoRoom>) -> bool {
        let mut state = self.0.lock();
        let taken = state.as_mut().map_err(|full| *full).and_then(more);
        if let Err(full) = taken {
            *state = Err(full);
        }
        taken.is_ok()
    }
}

/// All waiters, by the last token of the subject of their answers.
#[derive(Clone, Default)]
struct Waiting(Arc<Lock<HashMap<u64, Waiter>>>);

impl Waiting {
    /// Hands an answer to its waiter, who may have given up meanwhile. It counts from here
    /// on. Where there is no room for it, the waiter is told so.
    fn hand_over(&self, token: u64, answer: Message) {
        let mut waiting = self.0.lock();
        match waiting.get(&token) {
            None => {}
            Some(Waiter::Many(sender, room)) => {
                let (sender, room) = (sender.clone(), room.clone());
                drop(waiting);
                // Nobody reads its headers.
                let answer = Message {
                    reply: None,
                    headers: None,
                    description: None,
                    ..answer
                };
                match room.take(|room| room.take(MESSAGE + answer.payload.len())) {
                    true => drop(sender.try_send(answer)),
                    // The stream of answers ends when the last sender is dropped.
                    false => self.forget_gather(&room),
                }
            }
            Some(Waiter::One(..)) => {
                let waiter = waiting.remove(&token);
                drop(waiting);
                if let Some(Waiter::One(sender, room)) = waiter {
                    let _ = sender.send(counted(answer, room));
                }
            }
        }
    }

    fn forget_gather(&self, of: &Arc<RoomOfGather>) {
        self.0.lock().retain(|_, waiter| match waiter {
            Waiter::Many(_, room) => !Arc::ptr_eq(room, of),
            Waiter::One(..) => true,
        });
    }
}

/// Takes the room for an answer as it arrived. Who reads it takes what it needs beyond that:
/// this must keep up with whatever a server sends.
fn counted(answer: Message, mut room: Room) -> Result<Reply, NoRoom> {
    room.take(answer.payload.len())?;
    Ok(Reply {
        status: answer.status,
        payload: Held::new(answer.payload, room),
    })
}

/// Tells all waiters that no answer comes any more when the task that hands answers
/// over ends, also by a panic.
struct EndOfAnswers(Waiting);

impl Drop for EndOfAnswers {
    fn drop(&mut self) {
        self.0.0.lock().clear();
    }
}

/// The inbox of one connection.
pub(super) struct Inbox {
    /// The subject of the subscription; its last token is `*`.
    subject: String,
    /// Hands the task another subscription in the place of one that was refused.
    again: mpsc::Sender<Subscriber>,
    waiting: Waiting,
    next: AtomicU64,
    /// Makes tokens that cannot be guessed: a host that gets one request must not be
    /// able to answer another.
    tokens: RandomState,
}

impl Inbox {
    /// Returns the subject to subscribe to for `prefix`.
    pub(super) fn subject(prefix: &str) -> String {
        format!("{prefix}.*")
    }

    /// Subscribes until the connection is released; `None` where it is closed.
    pub(super) async fn open(
        client: &Client,
        prefix: &str,
        errors: PermissionErrors,
        released: CancellationToken,
    ) -> Option<Self> {
        let mut answers = client.subscribe(Self::subject(prefix)).await.ok()?;
        let (again, mut anew) = mpsc::channel(1);
        let waiting = Waiting::default();
        let (ends, start) = (EndOfAnswers(waiting.clone()), prefix.len() + 1);
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
                errors.inbox_works();
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

    /// The subject of the subscription.
    pub(super) fn listens_on(&self) -> &str {
        &self.subject
    }

    /// Subscribes again, after the server refused it.
    pub(super) async fn open_again(&self, client: &Client) {
        if let Ok(subscribed) = client.subscribe(self.subject.clone()).await {
            let _ = self.again.send(subscribed).await;
        }
    }

    /// Makes a place for one answer, which takes this room.
    pub(super) fn expect(&self, room: Room) -> Expected {
        let (token, subject) = self.reply_subject();
        let (sender, answer) = oneshot::channel();
        let waiter = Waiter::One(sender, room);
        self.waiting.0.lock().insert(token, waiter);
        Expected {
            subject,
            answer,
            token,
            waiting: self.waiting.clone(),
        }
    }

    /// Makes a place for all answers on these subjects, each from
    /// [`Inbox::reply_subject`]. They take this room.
    pub(super) fn gather<'a>(
        &self,
        subjects: impl Iterator<Item = &'a Subject>,
        room: Room,
    ) -> Replies {
        let (sender, answers) = mpsc::channel(MOST_WAITING);
        let room = Arc::new(RoomOfGather(Lock::new(Ok(room))));
        let start = self.subject.len() - 1;
        let tokens: Vec<u64> = subjects.filter_map(|one| token(one, start)).collect();
        let mut waiting = self.waiting.0.lock();
        for token in &tokens {
            waiting.insert(*token, Waiter::Many(sender.clone(), room.clone()));
        }
        drop(waiting);
        Replies {
            answers,
            tokens,
            room,
            waiting: self.waiting.clone(),
        }
    }

    /// Makes a new subject for answers, and returns its token, too.
    pub(super) fn reply_subject(&self) -> (u64, Subject) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let token = self.tokens.hash_one(number);
        let prefix = self.subject.trim_end_matches('*');
        let subject = text(prefix.len() + 16, format_args!("{prefix}{token:x}"));
        (token, subject.into())
    }
}

/// Reads the token of a subject that has `start` bytes before it.
fn token(subject: &str, start: usize) -> Option<u64> {
    let token = subject.get(start..)?;
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    u64::from_str_radix(token, 16).ok()
}

/// A place for one answer, until it is dropped.
pub(super) struct Expected {
    /// The subject of the answer.
    pub(super) subject: Subject,
    answer: oneshot::Receiver<Result<Reply, NoRoom>>,
    token: u64,
    waiting: Waiting,
}

impl Expected {
    /// Waits for the answer; `None` where none can come any more.
    pub(super) async fn answer(&mut self) -> Option<Result<Reply, NoRoom>> {
        let answer = (&mut self.answer).await.ok()?;
        Some(answer.map(|reply| Reply {
            payload: reply.payload.apart(),
            ..reply
        }))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.0.lock().remove(&self.token);
    }
}

/// A stream of answers. It ends when none can come any more.
pub struct Replies {
    answers: mpsc::Receiver<Message>,
    tokens: Vec<u64>,
    room: Arc<RoomOfGather>,
    waiting: Waiting,
}

impl Replies {
    /// Returns why it ended, where there was no room for a further answer.
    pub fn full(&self) -> Option<NoRoom> {
        self.room.0.lock().as_ref().err().copied()
    }

    /// Returns what keeps the room of the answers, also when this is dropped.
    pub fn room(&self) -> TakenRoom {
        TakenRoom {
            _room: self.room.clone(),
        }
    }

    /// Ends it, and puts what was made of the answers into the room that they took.
    pub fn hold<T>(self, value: T) -> Held<T, TakenRoom> {
        Held::new(value, self.room())
    }
}

/// The room that the answers to a gather take, as long as this is there.
pub struct TakenRoom {
    _room: Arc<RoomOfGather>,
}

impl Stream for Replies {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Some(answer) = ready!(self.answers.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        let has_room = self.room.take(|room| room.take_json(&answer.payload));
        Poll::Ready(has_room.then(|| Message {
            payload: owned(&answer.payload),
            ..answer
        }))
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock();
        for token in &self.tokens {
            waiting.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::connections::room::AnswerRoom;

    #[test]
    fn waiters_are_told_when_no_answer_can_come_any_more() {
        let waiting = Waiting::default();
        let (one, mut answer) = oneshot::channel();
        let (many, mut answers) = mpsc::channel(1);
        let all = AnswerRoom::default();
        let gather = Arc::new(RoomOfGather(Lock::new(Ok(all.empty()))));
        waiting.0.lock().insert(1, Waiter::One(one, all.empty()));
        waiting.0.lock().insert(2, Waiter::Many(many, gather));
        drop(EndOfAnswers(waiting.clone()));
        assert!(answer.try_recv().is_err());
        assert!(matches!(answers.recv().now_or_never(), Some(None)));
    }
}
