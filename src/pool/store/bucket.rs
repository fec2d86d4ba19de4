//! The bucket in which entries are kept: a JetStream key-value bucket of our own
//! lattice, `LATTICECREDS_{lattice}`, with a key `{provider}.{link name}.{lattice}`
//! for every lattice that the instances of one provider have credentials for.
//! Only the newest value of a key is kept.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push::OrderedConfig};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;

use crate::error::Error;
use crate::home::Home;
use crate::name::LatticeId;

/// Longest wait for an answer of JetStream.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How often an entry is written again because somebody else wrote it meanwhile.
const ATTEMPTS: usize = 8;

/// A place in the history of the bucket. A bucket that was made anew counts from
/// 1 again, in another era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Which bucket: when it was made, in nanoseconds since 1970.
    pub era: i128,
    /// Sequence of the entry in it.
    pub revision: u64,
}

/// A value in the bucket, or the mark that it was removed.
#[derive(Clone)]
pub struct Stored {
    /// The value; none where it was removed.
    pub value: Option<Bytes>,
    /// Where it stands.
    pub version: Version,
}

/// A key that changed.
pub struct Change {
    /// The lattice that it is for; none where the key is not one of ours.
    pub lattice: Option<LatticeId>,
    /// What stands there now.
    pub stored: Stored,
    /// How many more there are for now.
    pub pending: u64,
    /// When it was written, in milliseconds since 1970.
    pub written_at: u64,
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Certainly: JetStream said no, or does not hear us.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows.
    #[error("{0}")]
    Unknown(String),
    /// It may not replace what is there.
    #[error("{0}")]
    Forbidden(Error),
}

enum WriteError {
    /// What is there is not what it was thought to be.
    Changed,
    Failed(NotWritten),
}

/// The bucket.
#[derive(Clone)]
pub struct Bucket {
    store: kv::Store,
    client: async_nats::Client,
    /// Before the lattice in every key of ours.
    prefix: String,
    era: i128,
    /// Newest revision in it when it was opened.
    newest: u64,
}

/// The name of the bucket of a lattice.
pub fn name(lattice: &str) -> String {
    format!("LATTICECREDS_{}", token(lattice, '_'))
}

/// What a name is in keys and buckets, which take `A-Za-z0-9_-` and little else:
/// itself, or `sign` and hexadecimal digits.
fn token(name: &str, sign: char) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match name.bytes().all(plain) && !name.starts_with(sign) {
        true => name.to_owned(),
        false => format!("{sign}{}", HEXLOWER.encode(name.as_bytes())),
    }
}

impl Bucket {
    /// Opens the bucket, and makes it where there is none.
    ///
    /// # Errors
    /// Why JetStream does not have it.
    pub async fn open(home: &Home) -> Result<Self, String> {
        let opened = async {
            if let Some(bucket) = Self::find(home).await? {
                return Ok(bucket);
            }
            let bucket = name(&home.lattice);
            // Not `create_key_value`, which does not understand servers 2.9.
            let made = context(home).create_stream(config(&bucket)).await;
            made.map_err(|error| format!("the bucket {bucket} cannot be made: {error}"))?;
            Self::find(home)
                .await?
                .ok_or_else(|| "it was made and is gone".into())
        };
        let opened = timeout(ANSWERS_WITHIN * 2, opened).await;
        opened.unwrap_or_else(|_| Err("JetStream does not answer".into()))
    }

    /// Opens the bucket where there is one.
    ///
    /// # Errors
    /// Why JetStream does not say.
    pub async fn find(home: &Home) -> Result<Option<Self>, String> {
        let jetstream = context(home);
        let bucket = name(&home.lattice);
        let found = jetstream.get_stream(format!("KV_{bucket}")).await;
        match found.map_err(|error| (is_missing(&error.kind()), error)) {
            Ok(_) => {}
            Err((true, _)) => return Ok(None),
            Err((false, error)) => return Err(error.to_string()),
        }
        let store = jetstream.get_key_value(&bucket).await;
        let store = store.map_err(|error| error.to_string())?;
        let info = store.stream.cached_info();
        Ok(Some(Self {
            era: info.created.unix_timestamp_nanos(),
            newest: info.state.last_sequence,
            client: home.client.clone(),
            prefix: format!(
                "{}.{}.",
                token(&home.provider_key, '='),
                token(&home.link_name, '=')
            ),
            store,
        }))
    }

    /// What stands there for a lattice, where anything ever did.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn get(&self, lattice: &LatticeId) -> Result<Option<Stored>, String> {
        let entry = timeout(ANSWERS_WITHIN, self.store.entry(self.key(lattice))).await;
        let entry = entry.map_err(|_| "JetStream does not answer".to_owned())?;
        let entry = entry.map_err(|error| error.to_string())?;
        Ok(entry.map(|entry| Stored {
            value: (entry.operation == Operation::Put).then(|| alone(&entry.value)),
            version: self.version(entry.revision),
        }))
    }

    /// Writes an entry over the newest one, of which the version is `known`
    /// perhaps, else one that it may replace; its version.
    ///
    /// # Errors
    /// Whether it is known that it was not written, and why.
    pub async fn put(
        &self,
        lattice: &LatticeId,
        value: Bytes,
        known: Option<Version>,
        may_replace: impl Fn(&Stored) -> Result<(), Error>,
    ) -> Result<Version, NotWritten> {
        let known = known.filter(|known| known.era == self.era);
        let mut last = known.map_or(0, |known| known.revision);
        for _ in 0..ATTEMPTS {
            match self.write(lattice, value.clone(), last).await {
                Ok(version) => return Ok(version),
                Err(WriteError::Failed(why)) => return Err(why),
                Err(WriteError::Changed) => {
                    let newest = self.get(lattice).await.map_err(NotWritten::Refused)?;
                    if newest.as_ref().map(|newest| newest.version) < known {
                        return Err(NotWritten::Refused(
                            "the bucket is another than it was; try again".into(),
                        ));
                    }
                    if let Some(newest) = &newest {
                        may_replace(newest).map_err(NotWritten::Forbidden)?;
                    }
                    last = newest.map_or(0, |newest| newest.version.revision);
                }
            }
        }
        Err(NotWritten::Refused("others write it all the time".into()))
    }

    /// Writes an entry where none ever was; others may have been quicker.
    ///
    /// # Errors
    /// Why it was not written.
    pub async fn add(&self, lattice: &LatticeId, value: Bytes) -> Result<(), NotWritten> {
        match self.write(lattice, value, 0).await {
            Ok(_) | Err(WriteError::Changed) => Ok(()),
            Err(WriteError::Failed(why)) => Err(why),
        }
    }

    async fn write(
        &self,
        lattice: &LatticeId,
        value: Bytes,
        last: u64,
    ) -> Result<Version, WriteError> {
        let put = self.store.update(self.key(lattice), value, last);
        let error = match timeout(ANSWERS_WITHIN, put).await {
            Ok(Ok(revision)) => return Ok(self.version(revision)),
            Ok(Err(error)) => error,
            Err(_) => {
                let why = "JetStream does not answer".into();
                return Err(WriteError::Failed(NotWritten::Unknown(why)));
            }
        };
        Err(match error.kind() {
            UpdateErrorKind::WrongLastRevision => WriteError::Changed,
            UpdateErrorKind::TimedOut => WriteError::Failed(NotWritten::Unknown(error.to_string())),
            _ => WriteError::Failed(NotWritten::Refused(error.to_string())),
        })
    }

    /// Removes an entry for good. The mark that stays says so to every instance.
    ///
    /// # Errors
    /// Why it was not removed.
    pub async fn remove(&self, lattice: &LatticeId) -> Result<(), String> {
        let purged = self.store.purge(self.key(lattice));
        purged.await.map_err(|error| error.to_string())
    }

    /// Every key of ours with its newest value, then every change: how many keys
    /// there are for now, and the stream.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn follow(
        &self,
    ) -> Result<
        (
            u64,
            impl Stream<Item = Result<Change, String>> + Unpin + use<>,
        ),
        String,
    > {
        let subjects = format!("{}{}", self.store.prefix, self.prefix);
        let config = OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            filter_subject: format!("{subjects}>"),
            deliver_policy: DeliverPolicy::LastPerSubject,
            replay_policy: ReplayPolicy::Instant,
            ..OrderedConfig::default()
        };
        let made = timeout(ANSWERS_WITHIN, self.store.stream.create_consumer(config)).await;
        let made = made.map_err(|_| "JetStream does not answer".to_owned())?;
        let consumer = made.map_err(|error| error.to_string())?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|e| e.to_string())?;
        let era = self.era;
        let changes = messages.map(move |message| {
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            let key = message.subject.strip_prefix(&subjects);
            let removed = message
                .headers
                .as_ref()
                .is_some_and(|headers| headers.get("KV-Operation").is_some());
            Ok(Change {
                lattice: key.and_then(|key| LatticeId::parse(key).ok()),
                pending: info.pending,
                written_at: info.published.unix_timestamp().max(0) as u64 * 1000,
                stored: Stored {
                    version: Version {
                        era,
                        revision: info.stream_sequence,
                    },
                    value: (!removed).then(|| alone(&message.payload)),
                },
            })
        });
        Ok((pending, changes))
    }

    /// Its newest version when it was opened.
    pub fn newest(&self) -> Version {
        self.version(self.newest)
    }

    /// The version of the newest entry of ours.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn newest_of_ours(&self) -> Result<Version, String> {
        let subject = format!("{}{}>", self.store.prefix, self.prefix);
        let stream = &self.store.stream;
        let last = stream.get_last_raw_message_by_subject(&subject);
        let last = timeout(ANSWERS_WITHIN, last).await;
        let revision = match last.map_err(|_| "JetStream does not answer".to_owned())? {
            Ok(last) => last.sequence,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => 0,
            Err(error) => return Err(error.to_string()),
        };
        Ok(self.version(revision))
    }

    fn key(&self, lattice: &LatticeId) -> String {
        format!("{}{}", self.prefix, lattice.as_str())
    }

    fn version(&self, revision: u64) -> Version {
        Version {
            era: self.era,
            revision,
        }
    }
}

/// A copy: what comes in a message keeps the buffer of all that came with it.
fn alone(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}

fn context(home: &Home) -> Context {
    let client = home.client.clone();
    let mut context = match &home.js_domain {
        Some(domain) => jetstream::with_domain(client, domain.as_str()),
        None => jetstream::new(client),
    };
    context.set_timeout(ANSWERS_WITHIN);
    context
}

/// A bucket as `nats kv add` makes it, but for `allow_direct`: a replica that
/// lags must not say that a lattice is unknown.
fn config(bucket: &str) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        description: Some("credentials of lattices, sealed by the lattice controller".into()),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: false,
        num_replicas: 1,
        ..Config::default()
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    match kind {
        GetStreamErrorKind::JetStream(error) => error.error_code() == ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_key_of_its_own() {
        assert_eq!(name("home"), "LATTICECREDS_home");
        assert_eq!(name("a.b"), "LATTICECREDS__612e62");
        assert_eq!(token("default", '='), "default");
        assert_eq!(token("a b", '='), "=612062");
        let all = ["_612e62", "a.b", "home", "=x", "_x", ""].map(|name| token(name, '_'));
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
