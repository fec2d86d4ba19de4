//! Reads the entries of the metadata bucket, in one pass over it.
//!
//! Entries are decoded as they arrive. What async-nats has for this (`Ordered`) subscribes
//! only once the consumer is there, so that the first entry waits for that, and it clones
//! its client for each message.

use std::io;
use std::time::Duration;

use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::consumer::{self, DeliverPolicy, ReplayPolicy};
use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, warn};

use crate::connections::{Held, NoRoom, Refusal};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::bucket::ask::Unanswered;
use crate::lattice::bucket::entries::{Entries, Progress};
use crate::lattice::dialect::v0::place::Token;
use crate::lattice::dialect::v0::requests::encoded;
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v1;
use crate::lattice::model::lenient::Unreadable;
use crate::metadata_bucket::StreamName;
use crate::nats::is_removal;
use crate::nats::jetstream::{NoAnswer, consumer_of};

/// Most bytes of a bucket that are read: an answer to the caller could not hold more.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long one more entry is waited for when none is pending.
const NOTHING_FOLLOWS_AFTER: Duration = Duration::from_millis(100);

/// The header of a heartbeat that says how many messages were delivered before it.
const DELIVERED: &str = "Nats-Last-Consumer";

/// The stream of a bucket.
struct Stream {
    name: StreamName,
    /// How the subjects of its entries begin.
    subjects: String,
    /// Whether values are left out: they may be secrets.
    keys_only: bool,
}

/// How reading from a consumer ended.
enum Ended {
    /// Every key was there.
    Whole,
    /// Messages were lost after this number of the stream, which is 0 where none came.
    Gap(u64),
}

impl Lattice {
    /// Reads every value under keys that start with `prefix`, each by `read` when it arrives,
    /// and returns them in the order of the keys. Returns `None` where hosts are asked
    /// instead.
    ///
    /// # Errors
    /// `NotConnected`, `Timeout`, `Unheard`, `BadReply` where the bucket is too large, and
    /// `Busy` where there is no room for it.
    pub(crate) async fn entries<T>(
        &self,
        prefix: &str,
        mut read: impl FnMut(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<Option<Held<Vec<T>>>, Error> {
        let Some(place) = self.bucket().await? else {
            return Ok(None);
        };
        let stream = Stream {
            name: subject::bucket(&self.id),
            subjects: subject::bucket_entries(&self.id, &place),
            keys_only: false,
        };
        let read = |_: &str, value: &[u8]| read(value);
        self.entries_of(&stream, prefix, read).await
    }

    /// Returns the names of the named configs that hosts of 1.x keep; `None` where they cannot
    /// be read, for example because there is no such bucket.
    ///
    /// # Errors
    /// As [`Lattice::entries`].
    pub(crate) async fn config_names(&self) -> Result<Option<Held<Vec<String>>>, Error> {
        let stream = Stream {
            name: v1::subject::configs(&self.id),
            subjects: v1::subject::config_entries(&self.id),
            keys_only: true,
        };
        let read = |key: &str, _: &[u8]| Ok(key.to_owned());
        self.entries_of(&stream, "", read).await
    }

    /// Reads the entries of a bucket, whose keys start with `prefix`. Returns `None` where
    /// JetStream does not deliver it.
    async fn entries_of<T>(
        &self,
        stream: &Stream,
        prefix: &str,
        mut read: impl FnMut(&str, &[u8]) -> Result<T, Unreadable>,
    ) -> Result<Option<Held<Vec<T>>>, Error> {
        // A large answer to the caller takes time to be stored, and to be fetched.
        let by = self.deadline.earlier(self.deadline.remaining() / 5);
        let lost = self.connection.lost_from_now(&self.id)?;
        tokio::pin!(lost);
        let subjects = &stream.subjects;
        let mut entries = Entries::new(self.roster.answers.empty());
        let mut put = |entries: &mut Entries<T>, message: &Message| {
            let Some(key) = message.subject.strip_prefix(subjects.as_str()) else {
                return;
            };
            let is_wanted = key.starts_with(prefix) && !is_removal(message.headers.as_ref());
            entries.put(key, is_wanted.then(|| read(key, &message.payload)));
        };
        let (mut after, mut keys) = (None, None);
        loop {
            let refusals = self.connection.refusals_from_now();
            let client = self.connection.client();
            let delivered = client.new_inbox();
            // Before there is a consumer, which then need not wait for it.
            let messages = client.subscribe(delivered.clone()).await;
            let mut messages = messages.map_err(|error| self.not_read(error))?;
            let consumer = self.consumer(stream, delivered.clone(), after, by);
            let Some(consumer) = consumer.await? else {
                return Ok(None);
            };
            let keys = *keys.get_or_insert(consumer.num_pending as usize);
            let read = self.read(&mut messages, keys, &mut entries, &mut put);
            let flow = subject::bucket_flow(&stream.name);
            let concerns = |refusal: &Refusal| {
                let subject = refusal.subject.as_str();
                refusal.is_unnamed() || subject == delivered || is_under(subject, &flow)
            };
            let ended = tokio::select! {
                biased;
                read = read => read,
                loss = &mut lost => return Err(self.not_read(NoAnswer::Broke(loss.said()))),
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
            };
            self.end_consumer(stream, &consumer.name).await;
            match ended? {
                Ended::Whole => break,
                // Where nothing came at all, the same is asked for again.
                Ended::Gap(0) => {}
                Ended::Gap(number) => after = Some(number),
            }
        }
        let unreadable = entries.unreadable;
        if unreadable > 0 {
            warn!(lattice = %self.id, prefix, unreadable, "entries of the bucket cannot be read");
        }
        let (values, room) = entries.into_values();
        Ok(Some(Held::new(values, room)))
    }

    /// Makes a consumer that delivers the newest value under every subject, or what
    /// follows after a number of the stream. Returns `None` where hosts are asked instead.
    async fn consumer(
        &self,
        stream: &Stream,
        deliver_subject: String,
        after: Option<u64>,
        by: Deadline,
    ) -> Result<Option<consumer::Info>, Error> {
        let config = OrderedConfig {
            deliver_subject,
            filter_subject: format!("{}>", stream.subjects),
            headers_only: stream.keys_only,
            deliver_policy: match after {
                None => DeliverPolicy::LastPerSubject,
                Some(number) => DeliverPolicy::ByStartSequence {
                    start_sequence: number + 1,
                },
            },
            replay_policy: ReplayPolicy::Instant,
            ..OrderedConfig::default()
        };
        let question = subject::bucket_read(&stream.name, self.js_domain.as_ref());
        let body = encoded(&consumer_of(stream.name.as_str(), &config))?;
        let made = self.ask_jetstream::<consumer::Info>(question, None, body, by);
        let hosts_instead = match made.await {
            Ok(info) => return Ok(Some(info)),
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

    /// Ends a consumer, which the server would keep for half a minute. The reply is not
    /// waited for: the credentials may not allow this, and the entries are here.
    async fn end_consumer(&self, stream: &Stream, name: &str) {
        if let Some(name) = Token::parse(name) {
            let subject = subject::bucket_read_over(&stream.name, self.js_domain.as_ref(), &name);
            let client = self.connection.client();
            let _ = client.publish(subject, Bytes::new()).await;
        }
    }

    /// Reads what a consumer delivers until so many keys came. Puts each entry by `put`: a
    /// key that changes meanwhile comes again.
    async fn read<T>(
        &self,
        messages: &mut Subscriber,
        keys: usize,
        entries: &mut Entries<T>,
        mut put: impl FnMut(&mut Entries<T>, &Message),
    ) -> Result<Ended, Error> {
        // A key that changes before it is delivered moves to the end of the stream. So
        // the bucket is read when as many keys came as there were, and not already when
        // nothing is pending for a moment.
        let mut progress = Progress {
            pending: 1,
            ..Progress::default()
        };
        while entries.keys() < keys {
            let next = match progress.pending {
                0 => timeout(NOTHING_FOLLOWS_AFTER, messages.next()).await,
                _ => Ok(messages.next().await),
            };
            // Keys that were purged meanwhile do not come.
            let Ok(message) = next else { break };
            let ended = || self.not_read(io::Error::other("the stream ended"));
            let message = message.ok_or_else(ended)?;
            match message.status {
                None => {}
                Some(StatusCode::IDLE_HEARTBEAT) => {
                    if let Some(flow) = message.reply {
                        // The server waits for this before it sends more.
                        let _ = self.connection.client().publish(flow, Bytes::new()).await;
                    }
                    let headers = message.headers.as_ref();
                    let sent = headers.and_then(|headers| headers.get(DELIVERED));
                    let sent = sent.and_then(|sent| sent.as_str().parse().ok());
                    if sent.is_some_and(|sent: u64| sent != progress.delivered) {
                        return Ok(Ended::Gap(progress.in_stream));
                    }
                    continue;
                }
                Some(_) => continue,
            }
            let now = message.reply.as_deref().and_then(Progress::of);
            let no_number = || self.not_read(io::Error::other("a message has no number"));
            let now = now.ok_or_else(no_number)?;
            if now.delivered != progress.delivered + 1 {
                return Ok(Ended::Gap(progress.in_stream));
            }
            progress = now;
            let room = entries.weigh(&message.subject, &message.payload);
            if entries.bytes > MAX_BYTES {
                return Err(Error::new(
                    Kind::BadReply,
                    format!(
                        "the metadata bucket of {} holds more than {MAX_BYTES} bytes",
                        self.display_name()
                    ),
                ));
            }
            room.map_err(|full| self.no_room_for_entries(full))?;
            put(entries, &message);
        }
        Ok(Ended::Whole)
    }

    fn no_room_for_entries(&self, full: NoRoom) -> Error {
        Error::new(
            Kind::Busy,
            format!(
                "the metadata bucket of {} was not read to its end, and {full}",
                self.display_name()
            ),
        )
        .caused_by(full)
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
