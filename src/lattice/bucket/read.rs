//! Reads the entries of the metadata bucket, in one pass over it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::time::Duration;

use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{self, Consumer, DeliverPolicy, ReplayPolicy};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, warn};

use crate::connections::{Held, Refusal, Room};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::bucket::ask::Unanswered;
use crate::lattice::dialect::v0::place::Token;
use crate::lattice::dialect::v0::requests::encoded;
use crate::lattice::dialect::v0::subject;
use crate::lattice::model::lenient::parse;
use crate::nats::is_removal;
use crate::nats::jetstream::{NoAnswer, consumer_of, context};

/// Most bytes of a bucket that are read: an answer to the caller could not hold more.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What an entry takes beside its key and its value.
const ENTRY: usize = 128;

/// How long one more entry is waited for when none is pending.
const NOTHING_FOLLOWS_AFTER: Duration = Duration::from_millis(100);

impl Lattice {
    /// Reads every value under keys that start with `prefix`, in the order of the keys.
    /// Returns `None` where hosts are asked instead.
    ///
    /// # Errors
    /// `NotConnected`, `Timeout`, `Unheard`, `BadReply` where the bucket is too large, and
    /// `Busy` where there is no room for it.
    pub(crate) async fn entries<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Option<Held<Vec<T>>>, Error> {
        let Some(place) = self.bucket().await? else {
            return Ok(None);
        };
        // A large answer to the caller takes time to be stored, and to be fetched.
        let by = self.deadline.earlier(self.deadline.remaining() / 5);
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let subjects = subject::bucket_entries(&self.id, &place);
        let delivered = self.connection.client().new_inbox();
        let consumer = self.consumer(&subjects, delivered.clone(), by);
        let Some(consumer) = consumer.await? else {
            return Ok(None);
        };
        // By key: an entry that changes while the bucket is read comes again.
        let mut values = BTreeMap::new();
        let mut unreadable = 0;
        let mut room = self.roster.answers.empty();
        let read = self.read(consumer, &subjects, &mut room, |key, value| {
            if !key.starts_with(prefix) {
                return;
            }
            match value.map(parse) {
                Some(Ok(value)) => drop(values.insert(key.to_owned(), value)),
                Some(Err(_)) => unreadable += 1,
                None => drop(values.remove(key)),
            }
        });
        let flow = subject::bucket_flow(&self.id);
        let concerns = |refusal: &Refusal| {
            let subject = refusal.subject.as_str();
            refusal.is_unnamed() || subject == delivered || is_under(subject, &flow)
        };
        tokio::select! {
            biased;
            read = read => read?,
            loss = lost => return Err(self.not_read(NoAnswer::Broke(loss.said()))),
            refusal = refusals.of(concerns) => return match refusal.is_unnamed() {
                // No subscription is left for the entries; to ask hosts needs none.
                true => {
                    let words = io::Error::other(quoted(&refusal.words));
                    self.ask_hosts_instead(words).map(|()| None)
                }
                // Hosts are not asked: there may be more than fits into their message.
                false => Err(self.not_permitted(&refusal)),
            },
            () = sleep_until(by.at()) => return Err(self.not_read_in_time()),
        }
        if unreadable > 0 {
            warn!(lattice = %self.id, prefix, unreadable, "entries of the bucket cannot be read");
        }
        Ok(Some(Held::new(values.into_values().collect(), room)))
    }

    /// Makes a consumer that delivers the newest value under every subject. Returns `None`
    /// where hosts are asked instead.
    async fn consumer(
        &self,
        subjects: &str,
        deliver_subject: String,
        by: Deadline,
    ) -> Result<Option<Consumer<OrderedConfig>>, Error> {
        let config = OrderedConfig {
            deliver_subject,
            filter_subject: format!("{subjects}>"),
            deliver_policy: DeliverPolicy::LastPerSubject,
            replay_policy: ReplayPolicy::Instant,
            ..OrderedConfig::default()
        };
        let question = subject::bucket_read(&self.id, self.js_domain.as_ref());
        let body = encoded(&consumer_of(&subject::bucket(&self.id), &config))?;
        let made = self.ask_jetstream::<consumer::Info>(question, None, body, by);
        let hosts_instead = match made.await {
            Ok(info) => {
                // The library asks JetStream only where messages are lost on their way.
                let client = self.connection.client().clone();
                let library = context(client, self.js_domain.as_ref());
                return Ok(Some(Consumer::new(config, info, library)));
            }
            Err(Unanswered::Down(error) | Unanswered::Unheard(error)) => return Err(error),
            Err(Unanswered::By(NoAnswer::Silence)) => return Err(self.not_read_in_time()),
            // There is JetStream, and the bucket cannot be read now, for example because
            // there may be no more consumers, or because the question is too large for
            // these credentials. The question to hosts is smaller.
            Err(Unanswered::By(why @ (NoAnswer::No(_) | NoAnswer::TooLarge(_)))) => {
                debug!(lattice = %self.id, %why, "the bucket cannot be read, hosts are asked");
                return Ok(None);
            }
            Err(Unanswered::Refused(error)) => self.ask_hosts_instead(error),
            Err(Unanswered::By(why @ NoAnswer::Nobody)) => self.ask_hosts_instead(why),
            Err(Unanswered::By(error)) => return Err(self.not_read(error)),
        };
        hosts_instead.map(|()| None)
    }

    /// Calls `each` with every key and its newest value, or none where the key was
    /// removed. A key that changes meanwhile comes again.
    async fn read(
        &self,
        consumer: Consumer<OrderedConfig>,
        subjects: &str,
        room: &mut Room,
        each: impl FnMut(&str, Option<&[u8]>),
    ) -> Result<(), Error> {
        let (name, keys) = {
            let info = consumer.cached_info();
            (info.name.clone(), info.num_pending as usize)
        };
        let messages = consumer.messages().await;
        let messages = messages.map_err(|error| self.not_read(error))?;
        let read = self.read_all(messages, keys, subjects, room, each).await;
        if let Some(name) = Token::parse(&name) {
            // The server would keep the consumer for half a minute. The reply is not
            // waited for: the credentials may not allow this, and the entries are here.
            let subject = subject::bucket_read_over(&self.id, self.js_domain.as_ref(), &name);
            let _ = self
                .connection
                .client()
                .publish(subject, Bytes::new())
                .await;
        }
        read
    }

    async fn read_all(
        &self,
        mut messages: Ordered,
        keys: usize,
        subjects: &str,
        room: &mut Room,
        mut each: impl FnMut(&str, Option<&[u8]>),
    ) -> Result<(), Error> {
        // A key that changes before it is delivered moves to the end of the stream. So
        // the bucket is read when as many keys came as there were, and not already when
        // nothing is pending for a moment.
        let (mut seen, mut pending, mut bytes) = (HashSet::new(), 1, 0);
        while seen.len() < keys {
            let next = match pending {
                0 => timeout(NOTHING_FOLLOWS_AFTER, messages.next()).await,
                _ => Ok(messages.next().await),
            };
            // Keys that were purged meanwhile do not come.
            let Ok(message) = next else { break };
            let ended = || self.not_read(io::Error::other("the stream ended"));
            let message = message.ok_or_else(ended)?;
            let message = message.map_err(|error| self.not_read(error))?;
            bytes += message.payload.len();
            if bytes > MAX_BYTES {
                return Err(Error::new(
                    Kind::BadReply,
                    format!(
                        "the metadata bucket of {} holds more than {MAX_BYTES} bytes",
                        self.display_name()
                    ),
                ));
            }
            let taken = room.take(message.subject.len() + ENTRY + message.payload.len());
            let taken = taken.and_then(|()| room.take_json(&message.payload));
            taken.map_err(|full| {
                Error::new(
                    Kind::Busy,
                    format!(
                        "the metadata bucket of {} was not read to its end, and {full}",
                        self.display_name()
                    ),
                )
                .caused_by(full)
            })?;
            if let Some(key) = message.subject.strip_prefix(subjects) {
                let removed = is_removal(message.headers.as_ref());
                each(key, (!removed).then_some(&message.payload));
                seen.insert(key.to_owned());
            }
            let info = message.info().map_err(io::Error::other);
            pending = info.map_err(|error| self.not_read(error))?.pending;
        }
        Ok(())
    }

    fn not_read_in_time(&self) -> Error {
        Error::new(
            Kind::Timeout,
            format!(
                "the metadata bucket of {} was not read in time",
                self.display_name()
            ),
        )
    }
}

/// Tells whether a subject is this one, or begins with all of its tokens.
fn is_under(subject: &str, begin: &str) -> bool {
    let rest = subject.strip_prefix(begin);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_of_another_lattice_is_not_ours() {
        let ours = "$JS.FC.KV_LATTICEDATA_prod";
        assert!(is_under(ours, ours));
        assert!(is_under(&format!("{ours}.name.filter"), ours));
        assert!(!is_under(&format!("{ours}2"), ours));
        assert!(!is_under(&format!("{ours}2.name"), ours));
    }
}
