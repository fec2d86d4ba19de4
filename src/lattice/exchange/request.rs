//! One question to a lattice, one answer.
//!
//! Every request fails in the same ways. `NotConnected`, `NotPermitted`,
//! `NoResponders` and `Refused`: certainly not carried out. `Timeout`,
//! `ConnectionLost`, `Unheard` and `BadReply`: it was sent, and nobody knows.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{StatusCode, Subject};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connections::{Loss, NotAsked, Refusal, Sent};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::subject::{self, Verb};
use crate::lattice::dialect::v0::wire::{self, Ack};
use crate::name::HostId;

/// How long after its answers have ended a connection is known to be broken.
const TOLD_WITHIN: Duration = Duration::from_millis(200);
/// Inventories of more bytes are read on a thread of their own: orders to other
/// lattices must not wait for it. No usual one is as large.
const READ_ELSEWHERE_ABOVE: usize = 64 * 1024;

/// Who is asked, for messages: most requests need none.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    Host(&'a Lattice, &'a HostId),
    Hosts(&'a Lattice),
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(lattice, host) => f.write_str(&lattice.display_host(host)),
            Self::Hosts(lattice) => write!(f, "the hosts of {}", lattice.display_name()),
        }
    }
}

impl Lattice {
    /// Tells a host to do something.
    ///
    /// # Errors
    /// As every request, see the module.
    pub async fn command(
        &self,
        host: &HostId,
        verb: Verb,
        body: &impl Serialize,
    ) -> Result<(), Error> {
        let who = Who::Host(self, host);
        let subject = subject::command(&self.id, host, verb);
        let reply = self.ask_host(host, who, subject, json(body)?, self.deadline);
        let reply = reply.await?;
        acknowledged(who, &reply)
    }

    /// Tells a host to stop, within `seconds` where it looks at that.
    ///
    /// # Errors
    /// As every request, see the module.
    pub async fn stop_host(&self, host: &HostId, seconds: Option<u64>) -> Result<(), Error> {
        self.traits_for_order(host).await?;
        let body = wire::StopHost {
            host_id: host,
            // Hosts count in milliseconds (trap T4).
            timeout: seconds.map(|seconds| seconds.saturating_mul(1000)),
        };
        let stopped = self.command(host, Verb::StopHost, &body).await;
        // Not waited for from here on, whether or not it says so in an event.
        self.roster.doubt(host);
        stopped
    }

    /// Asks a host what runs on it.
    ///
    /// # Errors
    /// As every request, see the module.
    pub async fn inventory(&self, host: &HostId) -> Result<wire::Inventory, Error> {
        self.inventory_within(host, self.deadline).await
    }

    pub(crate) async fn inventory_within(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<wire::Inventory, Error> {
        let who = Who::Host(self, host);
        let subject = subject::inventory(&self.id, host);
        let reply = self.ask_host(host, who, subject, Bytes::new(), deadline);
        let reply = reply.await?;
        let large = reply.len() > READ_ELSEWHERE_ABOVE;
        let inventory = move || read(&reply).map(wire::Inventory::without_repetitions);
        let read = match large {
            false => inventory(),
            true => elsewhere(inventory, deadline).await,
        };
        read.map_err(|problem| problem.of(who))
    }

    /// The inventory before an order that can do without it on OTP hosts: those
    /// answer nothing while claims of what runs are missing from their cache,
    /// and must be told to stop things all the same. `None` where one did not
    /// answer.
    ///
    /// # Errors
    /// As every request, see the module; nothing was sent.
    pub(crate) async fn inventory_if_told(
        &self,
        host: &HostId,
        traits: &Traits,
    ) -> Result<Option<wire::Inventory>, Error> {
        let deadline = match traits.generation.is_otp() {
            true => self.deadline.within(self.deadline.remaining() / 3),
            false => self.deadline,
        };
        match self.inventory_within(host, deadline).await {
            Ok(inventory) => Ok(Some(inventory)),
            Err(error) if traits.generation.is_otp() && error.kind() == Kind::Timeout => Ok(None),
            Err(error) => Err(error.before_order()),
        }
    }

    /// Asks the hosts for all claims; one of them answers.
    ///
    /// # Errors
    /// As every request, see the module.
    pub async fn claims_from_hosts(&self) -> Result<wire::ClaimsReply, Error> {
        let who = Who::Hosts(self);
        let subject = subject::claims(&self.id);
        let reply = self.ask(who, subject, Bytes::new(), self.deadline).await?;
        answer(who, &reply)
    }

    /// Asks the hosts for all links; one of them answers.
    ///
    /// # Errors
    /// As every request, see the module.
    pub async fn links_from_hosts(&self) -> Result<wire::LinksReply, Error> {
        let who = Who::Hosts(self);
        let subject = subject::links(&self.id);
        let reply = self.ask(who, subject, Bytes::new(), self.deadline).await?;
        answer(who, &reply)
    }

    /// Has a host put a link.
    pub(crate) async fn put_link_by_host(&self, link: &wire::Link) -> Result<(), Error> {
        let who = Who::Hosts(self);
        let subject = subject::put_link(&self.id);
        let reply = self.ask(who, subject, json(link)?, self.deadline).await?;
        acknowledged(who, &reply)
    }

    /// Has a host remove a link.
    pub(crate) async fn remove_link_by_host(&self, link: &wire::LinkKey) -> Result<(), Error> {
        let who = Who::Hosts(self);
        let subject = subject::remove_link(&self.id);
        let reply = self.ask(who, subject, json(link)?, self.deadline).await?;
        acknowledged(who, &reply)
    }

    /// Gives every host registry credentials; one of them confirms.
    ///
    /// # Errors
    /// As every request, see the module; `Unsupported` where all hosts are too
    /// old for orders.
    pub async fn put_registries(&self, body: &impl Serialize) -> Result<(), Error> {
        let body = json(body)?;
        let hosts = self.all_traits_for_order().await?;
        let untold = !hosts.is_empty() && hosts.iter().all(Traits::version_is_untold);
        let who = Who::Hosts(self);
        let subject = subject::registries(&self.id);
        match self.ask(who, subject, body, self.deadline).await {
            Ok(reply) => acknowledged(who, &reply),
            Err(error) => match error.kind() {
                Kind::NoResponders => self.refuse_v1().await.and(Err(error)),
                // Up to 0.54.4. Two more versions tell no version, either: those
                // confirm.
                Kind::Timeout if untold => Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "{error}, and tell no version: OTP hosts up to 0.54.4 confirm no registry \
                         credentials, and use them nowhere; give such hosts theirs where they \
                         start (OCI_REGISTRY_USER, OCI_REGISTRY_PASSWORD), or update them"
                    ),
                )),
                _ => Err(error),
            },
        }
    }

    /// Asks one host: an answer is a sign of life, and one that nobody listens
    /// for is forgotten.
    async fn ask_host(
        &self,
        host: &HostId,
        who: Who<'_>,
        subject: Subject,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Bytes, Error> {
        let reply = self.ask(who, subject, body, deadline).await;
        match &reply {
            Ok(_) => self.roster.answered(host),
            Err(error) if error.kind() == Kind::NoResponders => self.roster.gone(host),
            Err(_) => {}
        }
        reply
    }

    /// The credentials do not allow what was tried.
    pub(crate) fn not_permitted(&self, refusal: &Refusal) -> Error {
        let (lattice, subject) = (self.display_name(), shown(&refusal.subject));
        match refusal.subscription {
            false => Error::new(
                Kind::NotPermitted,
                format!("the credentials of {lattice} may not publish to {subject}"),
            ),
            true if !refusal.is_permission() => Error::new(
                Kind::Unheard,
                format!(
                    "the credentials of {lattice} may have no further subscription, and answers \
                     are not heard without: its server said {}; have their limit raised",
                    quoted(&refusal.words)
                ),
            ),
            true => Error::new(
                Kind::Unheard,
                format!(
                    "the credentials of {lattice} may not subscribe to {subject}, where \
                     answers go; allow _INBOX.>"
                ),
            ),
        }
    }

    /// Sends a request and waits for its answer until `deadline`.
    ///
    /// Nothing is queued for a lattice that is disconnected: it would be
    /// delivered long after the caller was told that it failed (trap T14).
    ///
    /// # Errors
    /// `NotConnected`, `NotPermitted`, `NoResponders`: certainly not delivered.
    /// `Timeout`, `ConnectionLost`, `Unheard`: nobody knows.
    async fn ask(
        &self,
        who: Who<'_>,
        subject: Subject,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Bytes, Error> {
        let deadline = deadline.within(self.limits.request);
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let asked = self.connection.ask(subject.clone(), body).await;
        let mut asked = asked.map_err(|error| self.not_asked(who, &error))?;
        let (reply, inbox) = (asked.reply().clone(), self.connection.inbox());
        let ours = |refusal: &Refusal| {
            [subject.as_str(), reply.as_str(), inbox].contains(&refusal.subject.as_str())
        };
        let began = Instant::now();
        tokio::pin!(lost);
        tokio::select! {
            biased;
            answer = asked.answer() => match answer {
                Some(answer) if answer.status == Some(StatusCode::NO_RESPONDERS) => Err(nobody(who)),
                Some(answer) => Ok(answer.payload),
                None => Err(self.lost(who, &known(lost).await, asked.sent())),
            },
            loss = &mut lost => Err(self.lost(who, &loss, asked.sent())),
            refusal = refusals.of(ours) => Err(self.not_permitted(&refusal)),
            () = tokio::time::sleep_until(deadline.at()) => {
                self.connection.doubt();
                Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "{who} did not answer in time{}",
                        self.connection.said_since(began)
                    ),
                ))
            }
        }
    }

    /// The connection broke while the answer to a message was waited for.
    pub(crate) fn lost(&self, who: Who<'_>, loss: &Loss, sent: Sent) -> Error {
        match loss.refused(sent) {
            true => too_large(who, loss),
            false => Error::new(
                Kind::ConnectionLost,
                format!(
                    "the connection broke while {who} had not answered yet{}",
                    loss.said()
                ),
            ),
        }
    }

    /// Why a request was not sent.
    pub(crate) fn not_asked(&self, who: Who<'_>, error: &NotAsked) -> Error {
        match error {
            NotAsked::Unheard(refusal) => self.not_permitted(refusal).before_order(),
            NotAsked::Oversize { bytes, from } => Error::invalid(format!(
                "the request to {who} has {bytes} bytes, and its server lately took none of \
                 {from} bytes of these credentials (Maximum Payload Violation); nothing was sent"
            )),
            NotAsked::Failed(error) => match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Error::invalid(format!(
                    "the request to {who} is larger than its NATS server takes: {error}"
                )),
                PublishErrorKind::InvalidSubject => {
                    Error::invalid(format!("the request to {who} has no valid subject"))
                }
                PublishErrorKind::Send => Error::new(
                    Kind::NotConnected,
                    format!(
                        "the connection to {} is closed; nothing was sent",
                        self.display_name()
                    ),
                ),
            },
        }
    }
}

/// A subject as a server says it: ours are plain, and anything else is quoted.
fn shown(subject: &str) -> String {
    let plain = subject.len() <= 300 && subject.bytes().all(|byte| byte.is_ascii_graphic());
    match plain {
        true => subject.to_owned(),
        false => quoted(subject),
    }
}

/// Why a connection broke of which the answers have ended already.
pub(crate) async fn known(lost: impl Future<Output = Loss>) -> Loss {
    let told = timeout(TOLD_WITHIN, lost).await;
    told.unwrap_or_default()
}

fn too_large(who: Who<'_>, loss: &Loss) -> Error {
    Error::invalid(format!(
        "the request to {who} was not taken, because it or another one before is larger than \
         its server takes of these credentials; nothing was carried out{}",
        loss.said()
    ))
}

fn nobody(who: Who<'_>) -> Error {
    Error::new(
        Kind::NoResponders,
        format!(
            "nobody listens for {who}; check the id, that the host runs, \
             and that the credentials may publish there"
        ),
    )
}

fn acknowledged(who: Who<'_>, reply: &[u8]) -> Result<(), Error> {
    match Ack::parse(reply) {
        Ok(Ack::Accepted) => Ok(()),
        Ok(Ack::Refused(words)) => Err(refused(who, &words)),
        Err(problem) => Err(unreadable(who, &problem)),
    }
}

/// Reads on a thread for it, where there is one in time.
async fn elsewhere<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Unread> + Send + 'static,
    deadline: Deadline,
) -> Result<T, Unread> {
    /// Others have the rest of the machine.
    static READERS: Semaphore = Semaphore::const_new(2);
    let not = |problem: &str| Unread::Not(problem.to_owned());
    let reader = timeout_at(deadline.at(), READERS.acquire()).await;
    let reader = reader.map_err(|_| not("it is large, and there was no time for it"))?;
    let read = spawn_blocking(move || {
        let _reader = reader;
        read()
    });
    read.await
        .unwrap_or_else(|_| Err(not("the attempt failed")))
}

/// Why an answer is none.
enum Unread {
    /// It refuses, with these words.
    Refused(String),
    /// It cannot be read.
    Not(String),
}

impl Unread {
    fn of(self, who: Who<'_>) -> Error {
        match self {
            Self::Refused(words) => refused(who, &words),
            Self::Not(problem) => unreadable(who, &problem),
        }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(reply: &'a [u8]) -> Result<T, Unread> {
    wire::parse(reply).map_err(|problem| match wire::refusal(reply) {
        Some(words) => Unread::Refused(words),
        None => Unread::Not(problem),
    })
}

fn answer<'a, T: serde::Deserialize<'a>>(who: Who<'_>, reply: &'a [u8]) -> Result<T, Error> {
    read(reply).map_err(|problem| problem.of(who))
}

fn refused(who: Who<'_>, words: &str) -> Error {
    let words = if words.is_empty() {
        "no reason given"
    } else {
        words
    };
    Error::new(Kind::Refused, format!("{who} refused: {words}"))
}

fn unreadable(who: Who<'_>, problem: &str) -> Error {
    Error::new(
        Kind::BadReply,
        format!("{who} answered with something that cannot be read: {problem}"),
    )
}

pub(crate) fn json(body: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| Error::new(Kind::Internal, format!("body not encoded: {error}")))
}
