//! One question to every host of a lattice, an answer from each.
//!
//! The first answer may take as long as the call has; after it, a gather ends
//! when no further answer came for a while (the stall). An answer that cannot
//! be read costs that answer only.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::{StatusCode, Subject};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::request::json;
use super::wire::{self, Bid, HostPing, V1Ping};
use super::{Lattice, subject};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::HostId;

/// How long a gather waits for one more answer.
const STALL: Duration = Duration::from_millis(300);
/// How long 1.x hosts are asked for where no other host answered.
const V1_ANSWERS_WITHIN: Duration = Duration::from_millis(300);
/// Most answers and bytes that one gather keeps.
const MAX_REPLIES: usize = 10_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Why a gather ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Nobody listens.
    NoResponders,
    /// The answer that was waited for came.
    Found,
    /// No further answer came for a while.
    Stall,
    /// The call's time was over.
    Deadline,
    /// More came than one gather keeps.
    Limit,
}

/// An answer that says which host it is from.
trait FromHost: DeserializeOwned {
    fn host(&self) -> &str;
}

impl FromHost for HostPing {
    fn host(&self) -> &str {
        &self.id
    }
}

impl FromHost for Bid {
    fn host(&self) -> &str {
        &self.host_id
    }
}

impl FromHost for V1Ping {
    fn host(&self) -> &str {
        &self.response.id
    }
}

/// How long a gather may take.
struct Limits {
    deadline: Deadline,
    /// The wait for one more answer.
    stall: Duration,
}

struct Gathered<T> {
    items: Vec<T>,
    ended: Ended,
    refusals: Vec<String>,
    invalid: usize,
}

impl Lattice {
    /// Every host that answers, in the order of their answers. The roster
    /// learns from them.
    ///
    /// # Errors
    /// `NotConnected`, `ConnectionLost`; nobody there is an empty list.
    pub async fn ping_all(&self, deadline: Deadline) -> Result<Vec<HostPing>, Error> {
        let hosts = self.ping_within(deadline, STALL, |_| false).await?;
        self.roster.heard_all(&hosts);
        Ok(hosts)
    }

    /// The same until one host answered, however late others do; every answer
    /// that came.
    pub(super) async fn ping_for(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Vec<HostPing>, Error> {
        let id = host.as_str();
        self.ping_within(deadline, deadline.remaining(), |ping| ping.id == id)
            .await
    }

    async fn ping_within(
        &self,
        deadline: Deadline,
        stall: Duration,
        found: impl Fn(&HostPing) -> bool,
    ) -> Result<Vec<HostPing>, Error> {
        let limits = Limits { deadline, stall };
        let subject = subject::ping(&self.id);
        let gathered = self.gather(subject, Bytes::new(), limits, found).await?;
        for ping in &gathered.items {
            if let Ok(host) = HostId::parse(&ping.id) {
                self.roster.heard(host, ping);
            }
        }
        Ok(gathered.items)
    }

    /// The first 1.x host that answers.
    pub(super) async fn ping_v1(&self) -> Result<Option<HostPing>, Error> {
        let subject = subject::ping_v1(&self.id);
        let limits = Limits {
            deadline: self.deadline.within(V1_ANSWERS_WITHIN),
            stall: STALL,
        };
        let gathered = self.gather(subject, Bytes::new(), limits, |_: &V1Ping| true);
        Ok(gathered.await?.items.pop().map(|ping| ping.response))
    }

    /// Every host that bids in an auction.
    ///
    /// # Errors
    /// As [`Lattice::ping_all`]; `Refused` where hosts answered and all of them
    /// could not use the question.
    pub(super) async fn bids(
        &self,
        subject: Subject,
        auction: &impl Serialize,
    ) -> Result<Vec<Bid>, Error> {
        let body = json(auction)?;
        let limits = Limits {
            deadline: self.deadline,
            stall: STALL,
        };
        let gathered = self.gather::<Bid>(subject, body, limits, |_| false).await?;
        match gathered.refusals.first() {
            Some(words) if gathered.items.is_empty() => Err(Error::new(
                Kind::Refused,
                format!("the hosts of {} refused: {words}", self.called()),
            )),
            _ => Ok(gathered.items),
        }
    }

    async fn gather<T: FromHost>(
        &self,
        subject: Subject,
        body: Bytes,
        limits: Limits,
        found: impl Fn(&T) -> bool,
    ) -> Result<Gathered<T>, Error> {
        let Limits { deadline, stall } = limits;
        let started = Instant::now();
        let lost = self.connection.lost_from_now(&self.id)?;
        let client = self.connection.client();
        let inbox = client.new_inbox();
        // The subscription ends when this value is dropped, on every path.
        let mut replies = client.subscribe(inbox.clone()).await.map_err(closed)?;
        let sent = client.publish_with_reply(subject.clone(), inbox, body);
        sent.await.map_err(closed)?;

        tokio::pin!(lost);
        let mut seen = HashSet::new();
        let mut bytes = 0;
        let mut gathered = Gathered {
            items: Vec::new(),
            ended: Ended::Deadline,
            refusals: Vec::new(),
            invalid: 0,
        };
        let mut until = deadline.at();
        loop {
            let message = tokio::select! {
                biased;
                message = replies.next() => message.ok_or_else(|| closed("no more replies"))?,
                () = &mut lost => return Err(closed("it broke while hosts were answering")),
                () = tokio::time::sleep_until(until) => {
                    if until < deadline.at() {
                        gathered.ended = Ended::Stall;
                    }
                    break;
                }
            };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                gathered.ended = Ended::NoResponders;
                break;
            }
            bytes += message.payload.len();
            match wire::parse::<T>(&message.payload) {
                Ok(item) if HostId::parse(item.host()).is_ok() => {
                    let wanted = found(&item);
                    if seen.insert(item.host().to_owned()) {
                        gathered.items.push(item);
                    }
                    if wanted {
                        gathered.ended = Ended::Found;
                        break;
                    }
                }
                // A refusal decodes as an answer without a host (trap T5).
                _ => match wire::refusal(&message.payload) {
                    Some(words) => gathered.refusals.push(words),
                    None => gathered.invalid += 1,
                },
            }
            if seen.len() >= MAX_REPLIES || bytes > MAX_BYTES {
                gathered.ended = Ended::Limit;
                break;
            }
            until = deadline.within(stall).at();
        }
        self.log(&subject, &gathered, started);
        Ok(gathered)
    }

    fn log<T>(&self, subject: &Subject, gathered: &Gathered<T>, started: Instant) {
        debug!(
            %subject,
            ended = ?gathered.ended,
            hosts = gathered.items.len(),
            ms = started.elapsed().as_millis() as u64,
            "gather ended"
        );
        if gathered.invalid > 0 || !gathered.refusals.is_empty() || gathered.ended == Ended::Limit {
            warn!(
                %subject,
                ended = ?gathered.ended,
                unreadable = gathered.invalid,
                refusals = gathered.refusals.len(),
                first_refusal = gathered.refusals.first().map(String::as_str),
                "answers were left out of a gather"
            );
        }
    }
}

fn closed(problem: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::ConnectionLost,
        format!("the connection to the lattice is lost: {problem}"),
    )
}
