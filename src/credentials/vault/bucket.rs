//! The bucket in which sealed credentials are kept: a JetStream key-value bucket of
//! our own lattice, `LATTICECREDS_{lattice}`. It has a key
//! `{provider}.{link name}.{lattice}` for every lattice that the instances of one
//! provider have credentials for, and keeps the newest value of each key.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push::OrderedConfig};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::de::IgnoredAny;
use tokio::time::timeout;

use crate::credentials::vault::place::Places;
pub use crate::credentials::vault::place::bucket as name;
use crate::name::LatticeId;
use crate::nats::OwnLattice;
use crate::nats::is_removal;
use crate::nats::jetstream::{JetStream, NoAnswer};

/// Longest wait for an answer of JetStream.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The header that says which revision a write replaces; 0 for none.
const LAST: &str = "Nats-Expected-Last-Subject-Sequence";

/// A place in the history of the bucket. A bucket that was deleted and made again
/// counts from 1 again, in a later era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// When the bucket was made, in nanoseconds since 1970.
    pub era: i128,
    /// Sequence of the value in it.
    pub revision: u64,
}

/// A value in the bucket, or the mark that it was removed.
#[derive(Clone)]
pub struct Stored {
    /// The value; none where it was removed.
    pub value: Option<Bytes>,
    /// The version that it has.
    pub version: Version,
}

/// A change of a key.
pub struct Change {
    /// The lattice of the key; none where the key is none that we write.
    pub lattice: Option<LatticeId>,
    /// The value now.
    pub stored: Stored,
    /// How many more changes wait to be sent.
    pub pending: u64,
    /// When it was written, in milliseconds since 1970.
    pub written_at: u64,
}

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// There is no key to seal with.
    #[error(
        "there is nothing to seal with: the host data has no cluster seed; set credentials_key"
    )]
    NoKey,
    /// JetStream refused, or did not answer.
    #[error("{0}")]
    NoAnswer(#[from] NoAnswer),
    /// The time for the answer was over.
    #[error("no answer in time")]
    Late,
    /// There is none, and JetStream makes none.
    #[error("the bucket {bucket} cannot be made: {source}")]
    NotMade {
        /// Its name.
        bucket: String,
        /// What JetStream says.
        source: NoAnswer,
    },
    /// It was deleted right after it was made.
    #[error("it was made and is gone")]
    GoneAgain,
    /// Its stream is not one of a bucket.
    #[error("the stream {0} is no key-value bucket")]
    OtherStream(String),
    /// The client cannot read its changes.
    #[error("{0}")]
    Unread(#[from] async_nats::Error),
    /// Other writers were quicker each time.
    #[error("others write it all the time")]
    Contended,
}

/// Why something was not written, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Certainly not: JetStream refused, or does not hear us.
    #[error(transparent)]
    Refused(BucketError),
    /// Certainly not: no server has the bucket.
    #[error("the bucket is gone, or JetStream is; try again")]
    Gone,
    /// It is not known whether it was.
    #[error(transparent)]
    Unknown(BucketError),
}

/// Why one attempt to write something failed.
pub(crate) enum WriteError {
    /// There is another revision than the one to be replaced.
    Changed,
    /// Something else.
    Failed(NotWritten),
}

/// The bucket.
#[derive(Clone)]
pub struct Bucket {
    jetstream: JetStream,
    client: async_nats::Client,
    /// Name of its stream.
    stream: String,
    /// What stands before the lattice in the subject of every key of ours.
    prefix: String,
    era: i128,
    /// Newest revision in it when it was opened.
    newest: u64,
}

impl Bucket {
    /// Opens the bucket, and makes it where there is none.
    ///
    /// # Errors
    /// Why JetStream does not have it.
    pub async fn open(home: &OwnLattice) -> Result<Self, BucketError> {
        let opened = async {
            if let Some(bucket) = Self::find(home).await? {
                return Ok(bucket);
            }
            let bucket = name(&home.lattice);
            let question = format!("STREAM.CREATE.KV_{bucket}");
            let (jetstream, config) = (jetstream(home), config(&bucket));
            let made = jetstream.api::<IgnoredAny>(question, &config).await;
            made.map_err(|source| BucketError::NotMade { bucket, source })?;
            Self::find(home).await?.ok_or(BucketError::GoneAgain)
        };
        let opened = timeout(ANSWERS_WITHIN * 2, opened).await;
        opened.unwrap_or_else(|_| Err(NoAnswer::Silence.into()))
    }

    /// Opens the bucket; none where there is none.
    ///
    /// # Errors
    /// Why JetStream does not say.
    pub async fn find(home: &OwnLattice) -> Result<Option<Self>, BucketError> {
        let jetstream = jetstream(home);
        let bucket = name(&home.lattice);
        let stream = format!("KV_{bucket}");
        let found = jetstream.api::<Info>(format!("STREAM.INFO.{stream}"), &());
        let info = match found.await {
            Ok(info) => info,
            Err(error) if error.code() == Some(ErrorCode::STREAM_NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A stream that was made otherwise is not meant to be a bucket.
        if info.config.max_messages_per_subject < 1 {
            return Err(BucketError::OtherStream(stream));
        }
        Ok(Some(Self {
            era: info.created.unix_timestamp_nanos(),
            newest: info.state.last_sequence,
            client: home.client.clone(),
            prefix: format!("$KV.{bucket}.{}", Places::at(home).prefix()),
            jetstream,
            stream,
        }))
    }

    /// Reads the value or the removal mark of a lattice; none where there never was
    /// a value.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn get(&self, lattice: &LatticeId) -> Result<Option<Stored>, BucketError> {
        let subject = self.subject(lattice);
        let last = self.jetstream.last(&self.stream, &subject).await?;
        Ok(last.map(|message| Stored {
            value: (!is_removal(Some(&message.headers))).then(|| copy(&message.payload)),
            version: self.version(message.sequence),
        }))
    }

    /// Writes a value over the one with revision `last`, 0 being none; returns the
    /// version of what was written.
    ///
    /// # Errors
    /// `Changed` where another revision is there, else why the write failed.
    pub(crate) async fn write(
        &self,
        lattice: &LatticeId,
        value: Bytes,
        last: u64,
    ) -> Result<Version, WriteError> {
        let mut headers = HeaderMap::new();
        headers.insert(LAST, last.to_string());
        let subject = self.subject(lattice);
        match self.jetstream.publish(&subject, headers, value).await {
            Ok(ack) => Ok(self.version(ack.sequence)),
            Err(error) => Err(match error.code() {
                Some(
                    ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                    | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
                ) => WriteError::Changed,
                _ => WriteError::Failed(error.into()),
            }),
        }
    }

    /// Removes the value of a lattice for good. A mark stays, and tells every
    /// instance.
    ///
    /// # Errors
    /// Why it was not removed.
    pub async fn remove(&self, lattice: &LatticeId) -> Result<(), BucketError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert("Nats-Rollup", "sub");
        let subject = self.subject(lattice);
        let purged = self.jetstream.publish(&subject, headers, Bytes::new());
        purged.await?;
        Ok(())
    }

    /// Returns how many keys of ours there are now, and a stream: first their newest
    /// values, then every change.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn follow(
        &self,
    ) -> Result<
        (
            u64,
            impl Stream<Item = Result<Change, BucketError>> + Unpin + use<>,
        ),
        BucketError,
    > {
        let subjects = self.prefix.clone();
        let config = OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            filter_subject: format!("{subjects}>"),
            deliver_policy: DeliverPolicy::LastPerSubject,
            replay_policy: ReplayPolicy::Instant,
            ..OrderedConfig::default()
        };
        let consumer = self.jetstream.consumer(&self.stream, config).await?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await;
        let messages = messages.map_err(async_nats::Error::from)?;
        let era = self.era;
        let changes = messages.map(move |message| {
            let message = message.map_err(async_nats::Error::from)?;
            let info = message.info()?;
            let key = message.subject.strip_prefix(&subjects);
            let removed = is_removal(message.headers.as_ref());
            Ok(Change {
                lattice: key.and_then(|key| LatticeId::parse(key).ok()),
                pending: info.pending,
                written_at: info.published.unix_timestamp().max(0) as u64 * 1000,
                stored: Stored {
                    version: Version {
                        era,
                        revision: info.stream_sequence,
                    },
                    value: (!removed).then(|| copy(&message.payload)),
                },
            })
        });
        Ok((pending, changes))
    }

    /// When it was made: tells it from another one of the same name.
    pub(super) fn era(&self) -> i128 {
        self.era
    }

    /// Returns its newest version when it was opened.
    pub fn newest(&self) -> Version {
        self.version(self.newest)
    }

    /// Reads the version of the newest value of ours.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn newest_of_ours(&self) -> Result<Version, BucketError> {
        let ours = format!("{}>", self.prefix);
        let last = self.jetstream.last(&self.stream, &ours).await?;
        Ok(self.version(last.map_or(0, |last| last.sequence)))
    }

    fn subject(&self, lattice: &LatticeId) -> String {
        format!("{}{}", self.prefix, lattice.as_str())
    }

    fn version(&self, revision: u64) -> Version {
        Version {
            era: self.era,
            revision,
        }
    }
}

/// Copies a value: a slice of a message would keep the whole read buffer.
fn copy(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}

fn jetstream(home: &OwnLattice) -> JetStream {
    JetStream::new(home, ANSWERS_WITHIN)
}

impl From<NoAnswer> for NotWritten {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Nobody => Self::Gone,
            error if error.is_definite() => Self::Refused(error.into()),
            error => Self::Unknown(error.into()),
        }
    }
}

/// Returns the configuration of the bucket, as `nats kv add` makes it but for
/// `allow_direct`: a replica that lags must not say that a lattice is unknown.
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
