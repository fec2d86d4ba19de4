//! The metadata bucket of a lattice: JetStream key-value bucket
//! `LATTICEDATA_{lattice}`, in which hosts from OTP 0.60 on keep links
//! (`LINKDEF_{hash}`) and claims (`CLAIMS_{key}`).
//!
//! It is read in one pass and looked for anew by every call: a lattice may get
//! its bucket, or JetStream, later (trap T9). Where there is none, hosts are
//! asked instead. Source: control-interface reference, section 3.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push::OrderedConfig};
use async_nats::jetstream::context::{
    GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{sleep_until, timeout, timeout_at};
use tracing::{debug, warn};

use super::request::json;
use super::wire::{self, Claims, Link};
use super::{Lattice, subject};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};

/// Longest wait for JetStream to say whether there is a bucket. Credentials
/// without permission for JetStream get no answer at all.
const LOOK_UP_WITHIN: Duration = Duration::from_millis(500);

/// Most bytes of a bucket that are read: an answer could not hold more.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// After the last pending entry: how long one more is waited for.
const NOTHING_FOLLOWS_AFTER: Duration = Duration::from_millis(100);

impl Lattice {
    /// Every link of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links_from_hosts`], or `NotConnected` where the JetStream
    /// domain does not answer; `Unsupported` where only 1.x hosts do.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        match self.entries_here("LINKDEF_").await? {
            Some(links) => Ok(links),
            None => Ok(self.links_from_hosts().await?.links),
        }
    }

    /// Every set of claims of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links`].
    pub async fn claims(&self) -> Result<Vec<Claims>, Error> {
        match self.entries_here("CLAIMS_").await? {
            Some(claims) => Ok(claims),
            None => Ok(self.claims_from_hosts().await?.claims),
        }
    }

    /// The entries of the bucket, unless only 1.x hosts are there. Hosts that are
    /// silent do not keep what was read: whoever wrote it is there, or was.
    async fn entries_here<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Option<Vec<T>>, Error> {
        let (spoken, entries) = (self.spoken_here(), self.entries(prefix));
        tokio::pin!(spoken, entries);
        tokio::select! {
            spoken = &mut spoken => spoken.and(entries.await),
            entries = &mut entries => {
                let entries = entries?;
                let by = self.deadline.within(self.limits.stall);
                match timeout_at(by.at(), spoken).await {
                    Ok(spoken) => spoken.map(|()| entries),
                    Err(_) => Ok(entries),
                }
            }
        }
    }

    /// Writes a link, and waits until JetStream has it; false where there is no
    /// bucket.
    pub(super) async fn write_link(&self, link: &Link) -> Result<bool, Error> {
        self.write(link, HeaderMap::new(), json(link)?).await
    }

    /// Marks a link as removed; false where there is no bucket. The marker is
    /// the one that hosts of every generation see.
    pub(super) async fn unwrite_link(&self, link: &Link) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.write(link, headers, Bytes::new()).await
    }

    async fn write(&self, link: &Link, headers: HeaderMap, body: Bytes) -> Result<bool, Error> {
        if self.bucket_for_writing().await?.is_none() {
            return Ok(false);
        }
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let subject = subject::bucket_entry(&self.id, self.js_domain.as_ref(), &link.key());
        // A server of the domain itself calls it by the plain name.
        let ours = [
            subject.clone(),
            subject::bucket_entry(&self.id, None, &link.key()),
        ];
        let jetstream = self.jetstream();
        let written = async {
            let stored = jetstream
                .publish_with_headers(subject, headers, body)
                .await?;
            stored.await
        };
        tokio::select! {
            biased;
            stored = written => stored.map(|_| true).map_err(|error| Error::new(
                Kind::Timeout,
                format!("the bucket of {} did not confirm the write: {error}", self.called()),
            )),
            refusal = refusals.naming(&ours) => Err(self.not_permitted(&refusal)),
            _ = lost => Err(Error::new(
                Kind::ConnectionLost,
                format!("the connection broke before the bucket of {} confirmed", self.called()),
            )),
            () = sleep_until(self.deadline.at()) => Err(Error::new(
                Kind::Timeout,
                format!("the bucket of {} did not confirm the write in time", self.called()),
            )),
        }
    }

    fn jetstream(&self) -> jetstream::Context {
        let client = self.connection.client().clone();
        match &self.js_domain {
            Some(domain) => jetstream::with_domain(client, domain.as_str()),
            None => jetstream::new(client),
        }
    }

    /// Every readable value under keys that start with `prefix`, in the order of
    /// the keys; `None` where there is no bucket.
    async fn entries<T: DeserializeOwned>(&self, prefix: &str) -> Result<Option<Vec<T>>, Error> {
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let Some(stream) = self.bucket().await? else {
            return Ok(None);
        };
        let ours = [
            subject::bucket_read(&self.id, self.js_domain.as_ref()),
            subject::bucket_read(&self.id, None),
            subject::bucket_flow(&self.id),
        ];
        // A large answer takes its time to be stored, and fetched.
        let by = self.deadline.earlier(self.deadline.remaining() / 5);
        // By key: one that changes while it is read comes again.
        let mut values = BTreeMap::new();
        let mut unreadable = 0;
        let read = self.read(&stream, |key, value| {
            if !key.starts_with(prefix) {
                return;
            }
            match value.map(wire::parse) {
                Some(Ok(value)) => drop(values.insert(key.to_owned(), value)),
                Some(Err(_)) => unreadable += 1,
                None => drop(values.remove(key)),
            }
        });
        tokio::select! {
            biased;
            read = read => read?,
            _ = lost => return Err(self.not_read(&"the connection broke")),
            refusal = refusals.of(|refusal| ours.iter().any(|our| is_under(&refusal.subject, our))) => {
                let refused = self.not_permitted(&refusal);
                // There is more than a host could say in one message.
                return match is_under(&refusal.subject, &ours[2]) {
                    true => Err(refused),
                    false => self.no_bucket(&refused.to_string()).map(|_| None),
                };
            }
            () = sleep_until(by.at()) => return Err(Error::new(
                Kind::Timeout,
                format!("the metadata bucket of {} was not read in time", self.called()),
            )),
        }
        if unreadable > 0 {
            warn!(lattice = %self.id, prefix, unreadable, "entries of the bucket cannot be read");
        }
        Ok(Some(values.into_values().collect()))
    }

    /// The bucket, where there is one. Where JetStream does not say, hosts are
    /// not asked instead: what they write might not be seen by others.
    async fn bucket_for_writing(&self) -> Result<Option<Stream>, Error> {
        match self.look_up().await? {
            LookUp::Found(stream) => Ok(Some(*stream)),
            LookUp::Missing => Ok(None),
            LookUp::Unanswered(why) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "the bucket of {} cannot be looked up ({why}); nothing was sent",
                    self.called()
                ),
            )),
        }
    }

    pub(super) async fn bucket(&self) -> Result<Option<Stream>, Error> {
        match self.look_up().await? {
            LookUp::Found(stream) => Ok(Some(*stream)),
            LookUp::Missing => Ok(None),
            LookUp::Unanswered(why) => self.no_bucket(&why),
        }
    }

    async fn look_up(&self) -> Result<LookUp, Error> {
        // Refused at once when disconnected: JetStream requests would queue.
        let lost = self.connection.lost_from_now(&self.id)?;
        if self.roster.is_jetstream_refused() {
            let why = "these credentials may not use JetStream".to_owned();
            return Ok(LookUp::Unanswered(why));
        }
        let refusals = self.connection.refusals_from_now();
        let jetstream = self.jetstream();
        let name = subject::bucket(&self.id);
        let question = [
            subject::bucket_info(&self.id, self.js_domain.as_ref()),
            subject::bucket_info(&self.id, None),
        ];
        let until: Deadline = self.deadline.within(LOOK_UP_WITHIN);
        let found = tokio::select! {
            found = timeout_at(until.at(), jetstream.get_stream(name)) => found,
            _ = lost => return Err(self.not_read(&"the connection broke")),
            refusal = refusals.naming(&question) => {
                self.roster.may_not_ask_jetstream();
                let why = self.not_permitted(&refusal);
                return Ok(LookUp::Unanswered(why.to_string()));
            }
        };
        Ok(match found {
            Ok(Ok(stream)) => LookUp::Found(Box::new(stream)),
            Ok(Err(error)) if is_missing(&error) => LookUp::Missing,
            Ok(Err(error)) if is_unserved(&error) && self.js_domain.is_none() => LookUp::Missing,
            Ok(Err(error)) => LookUp::Unanswered(error.to_string()),
            Err(_) => LookUp::Unanswered("no answer; may these credentials use JetStream?".into()),
        })
    }

    /// JetStream did not answer: hosts may, unless the lattice was said to have
    /// a domain.
    fn no_bucket(&self, why: &str) -> Result<Option<Stream>, Error> {
        match &self.js_domain {
            Some(domain) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "JetStream domain {:?} of {} does not answer ({why}); \
                     check jsDomain in its credentials",
                    domain.as_str(),
                    self.called()
                ),
            )),
            None => {
                debug!(lattice = %self.id, why, "no metadata bucket, hosts are asked");
                Ok(None)
            }
        }
    }

    /// Hands the newest value under every key to `each`, none for a key that was
    /// removed. A key that changes meanwhile is handed over again.
    async fn read(
        &self,
        stream: &Stream,
        mut each: impl FnMut(&str, Option<&[u8]>),
    ) -> Result<(), Error> {
        let subjects = subject::bucket_entries(&self.id);
        let consumer = stream
            .create_consumer(OrderedConfig {
                deliver_subject: self.connection.client().new_inbox(),
                filter_subject: format!("{subjects}>"),
                deliver_policy: DeliverPolicy::LastPerSubject,
                replay_policy: ReplayPolicy::Instant,
                ..OrderedConfig::default()
            })
            .await
            .map_err(|error| self.not_read(&error))?;
        let (name, keys) = {
            let info = consumer.cached_info();
            (info.name.clone(), info.num_pending as usize)
        };
        let mut messages = consumer.messages().await.map_err(|e| self.not_read(&e))?;
        // A key that changes before it is delivered moves to the end of the
        // stream: the bucket is read when as many keys came as there were, not
        // when nothing is pending for a moment.
        let (mut seen, mut pending, mut bytes) = (HashSet::new(), 1, 0);
        while seen.len() < keys {
            let next = match pending {
                0 => timeout(NOTHING_FOLLOWS_AFTER, messages.next()).await,
                _ => Ok(messages.next().await),
            };
            // Keys that were purged do not come at all.
            let Ok(message) = next else { break };
            let message = message.ok_or_else(|| self.not_read(&"the stream ended"))?;
            let message = message.map_err(|error| self.not_read(&error))?;
            bytes += message.payload.len();
            if bytes > MAX_BYTES {
                return Err(Error::new(
                    Kind::BadReply,
                    format!(
                        "the metadata bucket of {} holds more than {MAX_BYTES} bytes",
                        self.called()
                    ),
                ));
            }
            let removed = message
                .headers
                .as_ref()
                .is_some_and(|headers| headers.get("KV-Operation").is_some());
            if let Some(key) = message.subject.strip_prefix(&subjects) {
                each(key, (!removed).then_some(&message.payload));
                seen.insert(key.to_owned());
            }
            pending = message.info().map_err(|e| self.not_read(&e))?.pending;
        }
        drop(messages);
        // Left alone, the server would keep it for half a minute. Nobody waits:
        // credentials may not allow it, and what was read is here.
        let stream = stream.clone();
        tokio::spawn(async move {
            let _ = timeout(LOOK_UP_WITHIN, stream.delete_consumer(&name)).await;
        });
        Ok(())
    }

    fn not_read(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(
            Kind::NotConnected,
            format!(
                "the metadata bucket of {} cannot be read: {error}",
                self.called()
            ),
        )
    }
}

/// What a look for the bucket brought.
enum LookUp {
    Found(Box<Stream>),
    Missing,
    /// Nobody said whether there is one.
    Unanswered(String),
}

/// Whether a subject is this one, or begins with all of its tokens.
fn is_under(subject: &str, begin: &str) -> bool {
    let rest = subject.strip_prefix(begin);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether nobody serves JetStream here.
fn is_unserved(error: &GetStreamError) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|source| source.downcast_ref::<RequestError>())
        .is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
}

/// Whether JetStream says that there is no such stream, or that it is not
/// enabled.
fn is_missing(error: &GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => matches!(
            error.error_code(),
            ErrorCode::STREAM_NOT_FOUND
                | ErrorCode::JETSTREAM_NOT_ENABLED
                | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_of_another_lattice_is_not_ours() {
        let ours = "$JS.API.CONSUMER.CREATE.KV_LATTICEDATA_prod";
        assert!(is_under(ours, ours));
        assert!(is_under(&format!("{ours}.name.filter"), ours));
        assert!(!is_under(&format!("{ours}2"), ours));
        assert!(!is_under(&format!("{ours}2.name"), ours));
    }
}
