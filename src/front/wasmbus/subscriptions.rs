//! The provider's own subscriptions, made again when they are lost.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures::future::select_all;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::coop;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::backoff::Backoff;
use crate::front::wasmbus::lost::{Loss, Lost, Subjects};

/// Pauses before a subscription that could not be made is made again.
const RESUBSCRIBE: Backoff = Backoff::steady(Duration::from_millis(500));
/// Pauses before one is made again that the server refused: permissions may have
/// been mended.
pub(super) const ASK_AGAIN: Backoff = Backoff::steady(Duration::from_secs(5));
/// How long a server that refuses one takes to say so.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What is to be done next for a subscription that is lost.
#[derive(Clone, Copy)]
enum Next {
    /// Make it again, unless another connection than this one has done so.
    Make { connects: u64 },
    /// See whether it was lost again.
    Confirm { times: u64 },
}

/// What comes in on one subject of the provider.
pub(super) struct Listening {
    client: Client,
    lost: Lost,
    changes: watch::Receiver<Subjects>,
    subject: String,
    queue: Option<&'static str>,
    messages: Messages,
    next: Option<(Instant, Next)>,
}

/// What came on a subscription, and before on those in whose place it is.
struct Messages {
    /// Lost: the server sends nothing on them any more, and said so behind all
    /// that it had sent. What that was may not be read yet.
    before: VecDeque<Subscriber>,
    now: Subscriber,
    /// Perhaps not lost: left alone, and read as well. Whatever is ended while it is
    /// alive loses what the server sends on it until it hears of that.
    beside: Vec<Subscriber>,
}

impl Messages {
    fn new(now: Subscriber) -> Self {
        Self {
            before: VecDeque::new(),
            now,
            beside: Vec::new(),
        }
    }

    /// Puts a new subscription in the place of one that is lost.
    fn replace(&mut self, new: Subscriber) {
        self.before.push_back(std::mem::replace(&mut self.now, new));
    }

    /// Adds one to those that may be there.
    fn add(&mut self, new: Subscriber) {
        self.beside.push(std::mem::replace(&mut self.now, new));
    }

    /// The next one, in the order in which they came.
    async fn next(&mut self) -> Option<Message> {
        while let Some(before) = self.before.front_mut() {
            // All that there will be is here: there is nothing to be waited for.
            match coop::unconstrained(before.next()).now_or_never() {
                Some(Some(message)) => return Some(message),
                _ => drop(self.before.pop_front()),
            }
        }
        while !self.beside.is_empty() {
            let beside = self.beside.iter_mut().map(|one| one.next());
            tokio::select! {
                message = self.now.next() => return message,
                (message, which, _) = select_all(beside) => match message {
                    Some(message) => return Some(message),
                    None => drop(self.beside.swap_remove(which)),
                },
            }
        }
        self.now.next().await
    }
}

impl Listening {
    /// Listens on the provider's subject that ends like this; tries until it
    /// does.
    pub(super) async fn on(
        client: &Client,
        lost: &Lost,
        name: &str,
        queue: Option<&'static str>,
    ) -> Self {
        let subject = lost.of(name);
        let changes = lost.changes();
        let messages = Messages::new(subscribe(client, lost, &subject, queue).await);
        Self {
            client: client.clone(),
            lost: lost.clone(),
            changes,
            subject,
            queue,
            messages,
            next: None,
        }
    }

    /// The next message. Nothing is lost where it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Message {
        loop {
            let next = self.next;
            let due = async {
                match next {
                    Some((at, next)) => {
                        sleep_until(at).await;
                        next
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                next = due => self.step(next).await,
                message = self.messages.next() => match message {
                    Some(message) => return message,
                    None => {
                        self.lost.lose(&self.subject, Loss::Ended);
                        sleep(RESUBSCRIBE.pause(0)).await;
                        self.make().await;
                    }
                },
                _ = self.changes.changed(), if next.is_none() => {
                    let why = self.changes.borrow_and_update().get(&self.subject).copied();
                    match why {
                        Some((Loss::TooMany, _)) => self.make_beside().await,
                        Some(_) => self.make_later(),
                        None => {}
                    }
                }
            }
        }
    }

    /// The next message, and those that are here already, `most` in all.
    pub(super) async fn next_few(&mut self, most: usize) -> Vec<Message> {
        let mut few = vec![self.next().await];
        while few.len() < most
            && let Some(Some(message)) = self.messages.next().now_or_never()
        {
            few.push(message);
        }
        few
    }

    async fn step(&mut self, next: Next) {
        let connected = self.client.connection_state() == State::Connected;
        match next {
            // A new connection asks for all that are open.
            _ if !connected => self.make_later(),
            // One has asked already. Where it is not refused, calls come.
            Next::Make { connects } if connects != self.connects() => self.confirm(self.times()),
            Next::Make { .. } => self.make().await,
            Next::Confirm { times } => {
                self.next = None;
                // What came since is on the new one, too; but each call is on one of
                // them alone, and would be lost with it.
                if self.queue.is_none() {
                    self.messages.beside.clear();
                }
                if !self.lost.found(&self.subject, times) && self.times() > 0 {
                    self.make_later();
                }
            }
        }
    }

    fn times(&self) -> u64 {
        self.lost.times(&self.subject)
    }

    async fn make(&mut self) {
        let new = self.subscribe().await;
        self.messages.replace(new);
    }

    /// Makes another one, where nobody knows whether the one that was is lost. Of two
    /// that there are already, one is.
    async fn make_beside(&mut self) {
        match self.messages.beside.is_empty() {
            true => {
                let new = self.subscribe().await;
                self.messages.add(new);
            }
            false => self.confirm(self.times()),
        }
    }

    async fn subscribe(&mut self) -> Subscriber {
        // What the server says of it from now on is about the new one.
        self.confirm(self.times());
        subscribe(&self.client, &self.lost, &self.subject, self.queue).await
    }

    fn make_later(&mut self) {
        let connects = self.connects();
        self.next = Some((Instant::now() + ASK_AGAIN.pause(0), Next::Make { connects }));
    }

    /// How often the client has connected.
    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn confirm(&mut self, times: u64) {
        self.next = Some((Instant::now() + SETTLED_AFTER, Next::Confirm { times }));
    }
}

/// A subscription; tries until there is one.
async fn subscribe(
    client: &Client,
    lost: &Lost,
    subject: &str,
    queue: Option<&'static str>,
) -> Subscriber {
    loop {
        let to = subject.to_owned();
        let subscribed = match queue {
            Some(queue) => client.queue_subscribe(to, queue.to_owned()).await,
            None => client.subscribe(to).await,
        };
        match subscribed {
            Ok(subscriber) => return subscriber,
            Err(error) => {
                warn!(subject, %error, "subscription failed and is tried again");
                lost.lose(subject, Loss::Ended);
            }
        }
        sleep(RESUBSCRIBE.pause(0)).await;
    }
}
