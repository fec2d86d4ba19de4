//! Subjects of the provider that nothing is heard on, told to those who ask for its
//! health. A server that refuses a subscription says so in passing only, and it
//! looks like one on which nothing comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error, info};

use crate::error::quoted;
use crate::front::wasmbus::subscriptions::{ASK_AGAIN, SETTLED_AFTER};
use crate::nats::Refusal;

/// Subjects of the provider.
const SUBJECTS: [&str; 5] = ["", "linkdefs.put", "linkdefs.del", "health", "shutdown"];
/// Subscriptions that a provider does well with: its subjects, twice while they are
/// made again, its questions to JetStream, what it follows there, and large bodies.
const ENOUGH: usize = 64;

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The server does not allow it.
    Refused,
    /// The client gave it up.
    Ended,
    /// It may be one of those that were too many.
    TooMany,
}

/// Lost subjects: why, and how often that was said.
pub(super) type Subjects = BTreeMap<String, (Loss, u64)>;

/// Subjects of the provider that nothing is heard on.
#[derive(Clone)]
pub(super) struct Lost {
    /// The subject of calls; all others start with it.
    subject: Arc<str>,
    subjects: Arc<watch::Sender<Subjects>>,
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
    pub(super) fn of(&self, name: &str) -> String {
        match name {
            "" => self.subject.to_string(),
            name => format!("{}.{name}", self.subject),
        }
    }

    pub(super) fn lose(&self, subject: &str, why: Loss) {
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

    pub(super) fn times(&self, subject: &str) -> u64 {
        let subjects = self.subjects.borrow();
        subjects.get(subject).map_or(0, |(_, times)| *times)
    }

    /// Takes that a subscription is there, unless it was lost once more since it
    /// had been so many times; whether it is.
    pub(super) fn found(&self, subject: &str, times: u64) -> bool {
        let found = self.subjects.send_if_modified(|subjects| {
            let same = subjects.get(subject).is_some_and(|(_, now)| *now == times);
            same && subjects.remove(subject).is_some()
        });
        if found {
            info!(subject, "the subscription is there again");
        }
        found
    }

    /// Which are lost, from now on.
    pub(super) fn changes(&self) -> watch::Receiver<Subjects> {
        self.subjects.subscribe()
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
                 its subjects may not be heard: the server said {words}; allow its user and account \
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

/// Has every subscription made again, where there were too many, once there is room
/// for as many more: what is heard must not be lost for what is not.
pub(super) async fn mend_too_many(client: Client, lost: Lost) {
    let mut told = lost.too_many.subscribe();
    while told.wait_for(|state| state.words.is_some()).await.is_ok() {
        sleep(ASK_AGAIN.pause(0)).await;
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
