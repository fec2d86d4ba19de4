//! The provider's own subscriptions: made again when they are lost, and told to
//! those who ask for its health. A server that refuses one says so in passing
//! only, and the subscription looks like one on which nothing comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::coop;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::error::quoted;
use crate::nats::Refusal;

/// Pause before a subscription that could not be made is made again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(500);
/// Pause before one is made again that the server refused: permissions may have
/// been mended.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long a server that refuses one takes to say so.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Subjects of the provider.
const SUBJECTS: [&str; 5] = ["", "linkdefs.put", "linkdefs.del", "health", "shutdown"];
/// Subscriptions that a provider does well with: its subjects, twice while they are
/// made again, and what JetStream needs.
const ENOUGH: usize = 16;

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The server does not allow it.
    Refused,
    /// The client gave it up.
    Ended,
    /// It may be one of those that were too many.
    TooMany,
}

/// Subjects of the provider that nothing is heard on: why, and how often that
/// was said.
#[derive(Clone)]
pub(super) struct Lost {
    /// The subject of calls; all others start with it.
    subject: Arc<str>,
    subjects: Arc<watch::Sender<BTreeMap<String, (Loss, u64)>>>,
    too_many: Arc<watch::Sender<TooMany>>,
}

/// That the server takes no more subscriptions. It does not say which it left out.
#[derive(Default)]
struct TooMany {
    /// How often it said so.
    times: u64,
    /// Its words, where some of ours may be left out.
    words: Option<String>,
}

impl Lost {
    /// None is lost yet of this subject and those below it.
    pub(super) fn new(subject: &str) -> Self {
        Self {
            subject: subject.into(),
            subjects: Arc::default(),
            too_many: Arc::default(),
        }
    }

    /// Takes what a server does not allow, if it concerns us; whether it does.
    pub(super) fn refused(&self, refusal: &Refusal) -> bool {
        if refusal.is_unnamed() {
            self.too_many.send_modify(|state| {
                state.times += 1;
                if state.words.replace(quoted(&refusal.words)).is_none() {
                    error!(said = state.words, "some subscriptions are too many");
                }
            });
            return true;
        }
        let rest = refusal.subject.strip_prefix(&*self.subject);
        let ours = refusal.subscription
            && rest.is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'.')));
        if ours {
            self.lose(&refusal.subject, Loss::Refused);
        }
        ours
    }

    /// The provider's subject that ends like this.
    fn of(&self, name: &str) -> String {
        match name {
            "" => self.subject.to_string(),
            name => format!("{}.{name}", self.subject),
        }
    }

    fn lose(&self, subject: &str, why: Loss) {
        let mut times = 0;
        self.subjects.send_modify(|subjects| {
            let entry = subjects.entry(subject.to_owned()).or_insert((why, 0));
            *entry = (why, entry.1 + 1);
            times = entry.1;
        });
        match times {
            // Said already.
            _ if why == Loss::TooMany => debug!(subject, "made again"),
            1 => error!(
                subject,
                ?why,
                "a subscription of the provider is lost; it is made again"
            ),
            _ => debug!(subject, ?why, times, "still lost"),
        }
    }

    fn times(&self, subject: &str) -> u64 {
        let subjects = self.subjects.borrow();
        subjects.get(subject).map_or(0, |(_, times)| *times)
    }

    /// Takes that a subscription is there, unless it was lost once more since it
    /// had been so many times; whether it is.
    fn found(&self, subject: &str, times: u64) -> bool {
        let found = self.subjects.send_if_modified(|subjects| {
            let same = subjects.get(subject).is_some_and(|(_, now)| *now == times);
            same && subjects.remove(subject).is_some()
        });
        if found {
            info!(subject, "the subscription is there again");
        }
        found
    }

    /// Takes that there is another connection, over which all are asked for anew.
    pub(super) fn connected(&self) {
        self.too_many.send_modify(|state| state.words = None);
    }

    /// That none is lost.
    ///
    /// # Errors
    /// Which are, and why.
    pub(super) fn none(&self) -> Result<(), String> {
        let subjects = self.subjects.borrow();
        let problems = subjects.iter().map(|(subject, (why, _))| match why {
            Loss::Refused => {
                format!("the provider's NATS user may not subscribe to {subject}")
            }
            Loss::Ended | Loss::TooMany => {
                format!("the subscription to {subject} is lost and made again")
            }
        });
        let too_many = self.too_many.borrow();
        let too_many = too_many.words.iter().map(|words| {
            format!(
                "the provider's NATS server takes no more subscriptions of it, so that some of \
                 its subjects are not heard: the server said {words}; allow its user and account \
                 {ENOUGH}"
            )
        });
        let problems: Vec<String> = problems.chain(too_many).collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        }
    }
}

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
    changes: watch::Receiver<BTreeMap<String, (Loss, u64)>>,
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
}

impl Messages {
    /// Puts a new subscription in the place of one that is lost.
    fn replace(&mut self, new: Subscriber) {
        self.before.push_back(std::mem::replace(&mut self.now, new));
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
        let changes = lost.subjects.subscribe();
        let messages = Messages {
            before: VecDeque::new(),
            now: subscribe(client, lost, &subject, queue).await,
        };
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
                        sleep(RESUBSCRIBE_AFTER).await;
                        self.make().await;
                    }
                },
                _ = self.changes.changed(), if next.is_none() => {
                    let why = self.changes.borrow_and_update().get(&self.subject).copied();
                    match why {
                        Some((Loss::TooMany, _)) => self.make().await,
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
        // What the server says of it from now on is about the new one.
        let times = self.times();
        let new = subscribe(&self.client, &self.lost, &self.subject, self.queue).await;
        self.messages.replace(new);
        self.confirm(times);
    }

    fn make_later(&mut self) {
        let connects = self.connects();
        self.next = Some((Instant::now() + ASK_AGAIN_AFTER, Next::Make { connects }));
    }

    /// How often the client has connected.
    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn confirm(&mut self, times: u64) {
        self.next = Some((Instant::now() + SETTLED_AFTER, Next::Confirm { times }));
    }
}

/// Has every subscription made again, where there were too many, once there is room
/// for as many more: what is heard must not be lost for what is not.
pub(super) async fn mend_too_many(client: Client, lost: Lost) {
    let mut told = lost.too_many.subscribe();
    while told.wait_for(|state| state.words.is_some()).await.is_ok() {
        sleep(ASK_AGAIN_AFTER).await;
        let times = told.borrow_and_update().times;
        let mut tried = Vec::with_capacity(SUBJECTS.len());
        for _ in SUBJECTS {
            tried.extend(client.subscribe(client.new_inbox()).await.ok());
        }
        sleep(SETTLED_AFTER).await;
        let connected = client.connection_state() == State::Connected;
        if connected && tried.len() == SUBJECTS.len() && told.borrow().times == times {
            lost.connected();
            for name in SUBJECTS {
                lost.lose(&lost.of(name), Loss::TooMany);
            }
        }
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
        sleep(RESUBSCRIBE_AFTER).await;
    }
}
