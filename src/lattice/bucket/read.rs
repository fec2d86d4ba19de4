//! What is in the metadata bucket, in one pass over it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{self, Consumer, DeliverPolicy, ReplayPolicy};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, warn};

use crate::connections::Refusal;
use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::bucket::Unanswered;
use crate::lattice::dialect::v0::place::Token;
use crate::lattice::dialect::v0::{subject, wire};
use crate::lattice::exchange::request::json;
use crate::nats::is_removal;
use crate::nats::jetstream::{NoAnswer, consumer_of, context};

/// Most bytes of a bucket that are read: an answer could not hold more.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// After the last pending entry: how long one more is waited for.
const NOTHING_FOLLOWS_AFTER: Duration = Duration::from_millis(100);

impl Lattice {
    /// Every readable value under keys that start with `prefix`, in the order of
    /// the keys; `None` where hosts are to be asked instead.
    pub(crate) async fn entries<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(place) = self.bucket().await? else {
            return Ok(None);
        };
        // A large answer takes its time to be stored, and fetched.
        let by = self.deadline.earlier(self.deadline.remaining() / 5);
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let subjects = subject::bucket_entries(&self.id, &place);
        let delivered = self.connection.client().new_inbox();
        let consumer = self.consumer(&subjects, delivered.clone(), by);
        let Some(consumer) = consumer.await? else {
            return Ok(None);
        };
        // By key: one that changes while it is read comes again.
        let mut values = BTreeMap::new();
        let mut unreadable = 0;
        let read = self.read(consumer, &subjects, |key, value| {
            if !key.starts_with(prefix) {
                return;
            }
            match value.map(wire::parse) {
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
            loss = lost => return Err(self.not_read(&NoAnswer::Broke(loss.said()))),
            refusal = refusals.of(concerns) => return match refusal.is_unnamed() {
                // No subscription is left for the entries; hosts need none.
                true => self.no_bucket(&quoted(&refusal.words)).map(|()| None),
                // There may be more than a host could say in one message.
                false => Err(self.not_permitted(&refusal)),
            },
            () = sleep_until(by.at()) => return Err(self.not_read_in_time()),
        }
        if unreadable > 0 {
            warn!(lattice = %self.id, prefix, unreadable, "entries of the bucket cannot be read");
        }
        Ok(Some(values.into_values().collect()))
    }

    /// What hands the newest value under every subject over; `None` where hosts
    /// are to be asked instead.
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
        let body = json(&consumer_of(&subject::bucket(&self.id), &config))?;
        let made = self.ask_jetstream::<consumer::Info>(question, body, by);
        let why = match made.await {
            Ok(info) => {
                // It asks nothing by itself unless messages are lost on their way.
                let client = self.connection.client().clone();
                let library = context(client, self.js_domain.as_ref());
                return Ok(Some(Consumer::new(config, info, library)));
            }
            Err(Unanswered::Down(error) | Unanswered::Unheard(error)) => return Err(error),
            Err(Unanswered::By(NoAnswer::Silence)) => return Err(self.not_read_in_time()),
            // There is JetStream, and it lets nobody read the bucket now, as where
            // there may be no more consumers, or the question is too large for these
            // credentials. Hosts are asked with less.
            Err(Unanswered::By(why @ (NoAnswer::No(_) | NoAnswer::TooLarge(_)))) => {
                debug!(lattice = %self.id, %why, "the bucket cannot be read, hosts are asked");
                return Ok(None);
            }
            Err(Unanswered::Refused(error)) => error.to_string(),
            Err(Unanswered::By(NoAnswer::Nobody)) => NoAnswer::Nobody.to_string(),
            Err(Unanswered::By(error)) => return Err(self.not_read(&error)),
        };
        self.no_bucket(&why).map(|()| None)
    }

    /// Hands the newest value under every key to `each`, none for a key that was
    /// removed. A key that changes meanwhile is handed over again.
    async fn read(
        &self,
        consumer: Consumer<OrderedConfig>,
        subjects: &str,
        each: impl FnMut(&str, Option<&[u8]>),
    ) -> Result<(), Error> {
        let (name, keys) = {
            let info = consumer.cached_info();
            (info.name.clone(), info.num_pending as usize)
        };
        let messages = consumer.messages().await;
        let messages = messages.map_err(|error| self.not_read(&error))?;
        let read = self.read_all(messages, keys, subjects, each).await;
        if let Some(name) = Token::parse(&name) {
            // Left alone, the server would keep it for half a minute. Nobody waits:
            // credentials may not allow it, and what was read is here.
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
        mut each: impl FnMut(&str, Option<&[u8]>),
    ) -> Result<(), Error> {
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
                        self.display_name()
                    ),
                ));
            }
            if let Some(key) = message.subject.strip_prefix(subjects) {
                let removed = is_removal(message.headers.as_ref());
                each(key, (!removed).then_some(&message.payload));
                seen.insert(key.to_owned());
            }
            pending = message.info().map_err(|e| self.not_read(&e))?.pending;
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

/// Whether a subject is this one, or begins with all of its tokens.
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
