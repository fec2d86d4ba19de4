//! Which subscriptions of the provider are lost. Health says so: a server that refuses a
//! subscription reports that in a `-ERR` only, and the client sees a subscription on which
//! nothing comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error, info};

use crate::backoff::Backoff;
use crate::error::quoted;
use crate::nats::Refusal;

/// Pauses before a subscription is made again that the server refused. Its permissions may
/// have been changed since.
pub(super) const ASK_AGAIN: Backoff = Backoff::steady(Duration::from_secs(5));
/// How long a server takes to say that it refuses a subscription.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Subjects of the provider.
const SUBJECTS: [&str; 5] = ["", "linkdefs.put", "linkdefs.del", "health", "shutdown"];
/// As many subscriptions are enough for a provider: its subjects, twice while they are made
/// again, its questions to JetStream, what it follows there, and large bodies.
const ENOUGH: usize = 64;

/// Why a subscription is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionLoss {
    /// The server does not allow it.
    Refused,
    /// The client gave it up.
    Ended,
    /// The server takes no more subscriptions, and this may be one that it left out.
    TooMany,
}

/// The lost subjects: why each is lost, and how often it was.
pub(super) type LostSubjects = BTreeMap<String, (SubscriptionLoss, u64)>;

/// The subscriptions of the provider that are lost.
#[derive(Clone)]
pub(super) struct LostSubscriptions {
    /// The subject of calls; all others start with it.
    subject: Arc<str>,
    subjects: Arc<watch::Sender<LostSubjects>>,
    too_many: Arc<watch::Sender<TooMany>>,
}

/// Whether the server takes no more subscriptions. It does not say which it left out.
#[derive(Default)]
struct TooMany {
    /// How often it said so.
    times: u64,
    /// Its words, while some subscriptions may be left out.
    words: Option<String>,
}

impl LostSubscriptions {
    /// Makes the value for the subject of calls, below which all others are. Nothing is lost
    /// yet.
    pub(super) fn new(subject: &str) -> Self {
        Self {
            subject: subject.into(),
            subjects: Arc::default(),
            too_many: Arc::default(),
        }
    }

    /// Notes a permission error of the server, if it is about one of these subscriptions.
    /// Returns whether it is.
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
            self.lose(&refusal.subject, SubscriptionLoss::Refused);
        }
        ours
    }

    /// Returns the provider's subject that ends like this.
    pub(super) fn of(&self, name: &str) -> String {
        match name {
            "" => self.subject.to_string(),
            name => format!("{}.{name}", self.subject),
        }
    }

    /// Notes that a subscription is lost, once more.
    pub(super) fn lose(&self, subject: &str, why: SubscriptionLoss) {
        let mut times = 0;
        self.subjects.send_modify(|subjects| {
            let entry = subjects.entry(subject.to_owned()).or_insert((why, 0));
            *entry = (why, entry.1 + 1);
            times = entry.1;
        });
        match times {
            // `refused` logged it already.
            _ if why == SubscriptionLoss::TooMany => debug!(subject, "made again"),
            1 => error!(
                subject,
                ?why,
                "a subscription of the provider is lost; it is made again"
            ),
            _ => debug!(subject, ?why, times, "still lost"),
        }
    }

    /// Returns how often a subscription was lost since it was there.
    pub(super) fn times(&self, subject: &str) -> u64 {
        let subjects = self.subjects.borrow();
        subjects.get(subject).map_or(0, |(_, times)| *times)
    }

    /// Notes that a subscription is there again, unless it was lost more often than `times`
    /// by now. Returns whether it is there.
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

    /// Follows which subscriptions are lost.
    pub(super) fn changes(&self) -> watch::Receiver<LostSubjects> {
        self.subjects.subscribe()
    }

    /// Notes that there is a new connection, over which all subscriptions are made anew.
    pub(super) fn connected(&self) {
        self.too_many.send_modify(|state| state.words = None);
    }

    /// Checks that no subscription is lost.
    ///
    /// # Errors
    /// Which are, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        let subjects = self.subjects.borrow();
        let problems = subjects.iter().map(|(subject, (why, _))| match why {
            SubscriptionLoss::Refused => {
                format!("the provider's NATS user may not subscribe to {subject}")
            }
            SubscriptionLoss::Ended | SubscriptionLoss::TooMany => {
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

/// Has every subscription made again after the server took no more of them, once it takes
/// as many more: a subscription that is alive must not be lost for one that is not.
pub(super) async fn mend_too_many(client: Client, lost: LostSubscriptions) {
    let mut too_many = lost.too_many.subscribe();
    while too_many
        .wait_for(|state| state.words.is_some())
        .await
        .is_ok()
    {
        sleep(ASK_AGAIN.pause(0)).await;
        let times = too_many.borrow_and_update().times;
        let mut tried = Vec::with_capacity(SUBJECTS.len());
        for _ in SUBJECTS {
            tried.extend(client.subscribe(client.new_inbox()).await.ok());
        }
        sleep(SETTLED_AFTER).await;
        let connected = client.connection_state() == State::Connected;
        if connected && tried.len() == SUBJECTS.len() && too_many.borrow().times == times {
            lost.connected();
            for name in SUBJECTS {
                lost.lose(&lost.of(name), SubscriptionLoss::TooMany);
            }
        }
    }
}
