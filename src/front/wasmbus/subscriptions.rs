//! The provider's own subscriptions, which are made again when they are lost.

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
use crate::front::wasmbus::lost_subscriptions::{
    ASK_AGAIN, LostSubjects, LostSubscriptions, SETTLED_AFTER, SubscriptionLoss,
};

/// Pauses before a subscription that could not be made is made again.
const RESUBSCRIBE: Backoff = Backoff::steady(Duration::from_millis(500));
/// What is done next for a subscription that is lost.
#[derive(Clone, Copy)]
enum Next {
    /// Make it again, unless the client connected more often than this: then the new
    /// connection has made it.
    Make { connects: u64 },
    /// See whether it was lost more often than this.
    Confirm { times: u64 },
}

/// A subscription to one subject of the provider, which is made again when it is lost.
pub(super) struct Subscription {
    client: Client,
    lost: LostSubscriptions,
    changes: watch::Receiver<LostSubjects>,
    subject: String,
    queue: Option<&'static str>,
    messages: Messages,
    next: Option<(Instant, Next)>,
}

/// The messages of a subscription, and of those that it replaced.
struct Messages {
    /// Lost subscriptions. The server sends nothing on them any more, and said so after all
    /// that it had sent, but some of that may not be read yet.
    before: VecDeque<Subscriber>,
    now: Subscriber,
    /// Subscriptions that may not be lost. They stay open and are read as well: to end one
    /// that is alive would lose what the server sends on it until it hears of the end.
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

    /// Replaces the subscription, which is lost.
    fn replace(&mut self, new: Subscriber) {
        self.before.push_back(std::mem::replace(&mut self.now, new));
    }

    /// Replaces the subscription, which may not be lost.
    fn add(&mut self, new: Subscriber) {
        self.beside.push(std::mem::replace(&mut self.now, new));
    }

    /// Waits for the next message, in the order in which they came.
    async fn next(&mut self) -> Option<Message> {
        while let Some(before) = self.before.front_mut() {
            // All of its messages are here already.
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

impl Subscription {
    /// Subscribes to the provider's subject that ends like this. Tries until it succeeds.
    pub(super) async fn new(
        client: &Client,
        lost: &LostSubscriptions,
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

    /// Waits for the next message. No message is lost when the wait is given up.
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
                        self.lost.lose(&self.subject, SubscriptionLoss::Ended);
                        sleep(RESUBSCRIBE.pause(0)).await;
                        self.make().await;
                    }
                },
                _ = self.changes.changed(), if next.is_none() => {
                    let why = self.changes.borrow_and_update().get(&self.subject).copied();
                    match why {
                        Some((SubscriptionLoss::TooMany, _)) => self.make_beside().await,
                        Some(_) => self.make_later(),
                        None => {}
                    }
                }
            }
        }
    }

    /// Waits for the next message, and takes those that are here already, `most` in all.
    pub(super) async fn next_few(&mut self, most: usize) -> Vec<Message> {
        let mut few = vec![self.next().await];
        while few.len() < most
            && let Some(Some(message)) = coop::unconstrained(self.messages.next()).now_or_never()
        {
            few.push(message);
        }
        few
    }

    async fn step(&mut self, next: Next) {
        let connected = self.client.connection_state() == State::Connected;
        match next {
            // A new connection makes all that are open.
            _ if !connected => self.make_later(),
            // A new connection has made it already, if the server does not refuse it.
            Next::Make { connects } if connects != self.connects() => self.confirm(self.times()),
            Next::Make { .. } => self.make().await,
            Next::Confirm { times } => {
                self.next = None;
                // The new subscription got all that came since. Only in a queue group each
                // message is on one of the two, and would be lost with it.
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

    /// Makes another subscription beside one that may be lost or not. Where there are two
    /// already, one of them is not lost.
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
        // A refusal from now on is about the new subscription.
        self.confirm(self.times());
        subscribe(&self.client, &self.lost, &self.subject, self.queue).await
    }

    fn make_later(&mut self) {
        let connects = self.connects();
        self.next = Some((Instant::now() + ASK_AGAIN.pause(0), Next::Make { connects }));
    }

    /// Returns how often the client has connected.
    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn confirm(&mut self, times: u64) {
        self.next = Some((Instant::now() + SETTLED_AFTER, Next::Confirm { times }));
    }
}

/// Subscribes. Tries until it succeeds.
async fn subscribe(
    client: &Client,
    lost: &LostSubscriptions,
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
                warn!(subject, %error, "subscription failed; retrying");
                lost.lose(subject, SubscriptionLoss::Ended);
            }
        }
        sleep(RESUBSCRIBE.pause(0)).await;
    }
}
