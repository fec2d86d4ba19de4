//! Bodies over 900 KiB, of calls and of answers. They go through the JetStream object store
//! of the provider's lattice, bucket `{lattice}`, under the id of the invocation (answers:
//! `{id}-r`). See docs/wasmbus.md#large-bodies.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::object_store::{GetError, ObjectStore};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use futures::future::join;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::error::Error;
use crate::front::wasmbus::object::{Object, description_of, pieces};
use crate::nats::OwnLattice;
use crate::nats::jetstream::JetStream;

/// Longest wait for an answer from JetStream.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Largest body that goes into a message itself. It is the same on every host.
pub const THRESHOLD: usize = 900 * 1024;
/// Largest body of a call, in a message or fetched: four times what the largest
/// member of the contract may have.
pub const MAX_BODY: u64 = 2 * 1024 * 1024;
/// Largest answer that is stored. Hosts name no limit, and fetch it whole into the memory
/// of an actor.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Most calls in flight whose bodies are fetched from the object store.
pub(super) const MAX_FETCHED: usize = 16;

/// Returns the error of a call whose body has so many bytes.
pub(super) fn too_large(bytes: u64) -> Error {
    Error::invalid(format!(
        "the arguments have {bytes} bytes; {MAX_BODY} are allowed"
    ))
}

/// Why a body cannot be fetched or stored.
#[derive(Debug, thiserror::Error)]
pub enum LargeBodyError {
    /// The call says that it has more bytes than are allowed.
    #[error("a body of {0} bytes is over the limit of {MAX_BODY}")]
    TooLarge(u64),
    /// There is no object store, or it does not answer.
    #[error("the object store cannot be opened: {0}")]
    NotOpened(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store does not have it.
    #[error("the body is not in the store: {0}")]
    NotFound(#[source] GetError),
    /// The store has it, and gives not all of it.
    #[error("the body cannot be read from the store: {0}")]
    Unreadable(#[source] std::io::Error),
    /// It has more or fewer bytes than the call says.
    #[error("the stored body does not have the {0} bytes that it should")]
    OtherLength(u64),
    /// It was not fetched before the call had to end.
    #[error("the body of the call was not to be had in time")]
    FetchedLate,
    /// The store did not take it.
    #[error("the object store did not take it: {0}")]
    NotStored(#[from] PublishError),
    /// Storing it panicked.
    #[error("it was not stored")]
    Panicked,
    /// It was not stored before the answer had to be sent.
    #[error("it was not stored in time")]
    StoredLate,
    /// The provider ended first.
    #[error("the provider stopped")]
    Stopped,
}

/// The object store of the provider's lattice.
#[derive(Clone)]
pub struct LargeBodies {
    jetstream: JetStream,
    bucket: String,
}

impl LargeBodies {
    /// Takes the store of a lattice, in its JetStream domain where the host names one.
    pub fn new(home: &OwnLattice) -> Self {
        Self {
            jetstream: JetStream::new(home, ANSWERS_WITHIN),
            bucket: home.lattice.clone(),
        }
    }

    /// Fetches the body of a call. It stays in the store until the call is proved, because
    /// a call that is not may name the body of another.
    ///
    /// # Errors
    /// Why it cannot be fetched.
    pub async fn fetch(&self, id: &str, length: u64) -> Result<Vec<u8>, LargeBodyError> {
        if length > MAX_BODY {
            return Err(LargeBodyError::TooLarge(length));
        }
        let store = self.open().await?;
        let object = store.get(id).await;
        let object = object.map_err(LargeBodyError::NotFound)?;
        let mut body = Vec::new();
        // One byte more shows a body that is longer than the call says.
        let read = object.take(length + 1).read_to_end(&mut body).await;
        read.map_err(LargeBodyError::Unreadable)?;
        if body.len() as u64 == length {
            Ok(body)
        } else {
            Err(LargeBodyError::OtherLength(length))
        }
    }

    /// Removes the body of a call, which nobody fetches again.
    pub async fn remove(&self, id: &str) {
        if let Ok(store) = self.open().await {
            let _ = store.delete(id).await;
        }
    }

    /// Stores the body of an answer for the host to fetch.
    ///
    /// # Errors
    /// Why it cannot be stored.
    pub async fn store_answer(&self, id: &str, body: Vec<u8>) -> Result<(), LargeBodyError> {
        self.find_or_make().await?;
        let (context, name) = (self.jetstream.context(), format!("{id}-r"));
        let object = Object::new(context, &self.bucket, &name, body);
        let (replaced, stored) = join(self.pieces_of(&name), object.put_pieces(context)).await;
        let stored = match stored {
            Ok(digest) => object.put_description(context, digest).await,
            Err(error) => Err(error),
        };
        // Nobody finds pieces without a description.
        match (&stored, replaced) {
            (Err(_), _) => self.purge(&object.pieces()).await,
            (Ok(()), Some(replaced)) => self.purge(&replaced).await,
            (Ok(()), None) => {}
        }
        Ok(stored?)
    }

    /// Returns the subject of the pieces of an answer that is there already: a call may come
    /// twice.
    async fn pieces_of(&self, name: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Description {
            nuid: String,
        }
        let subject = description_of(&self.bucket, name);
        let last = self.jetstream.last(&self.stream(), &subject).await;
        let described = serde_json::from_slice(&last.ok()??.payload);
        let described: Description = described.ok()?;
        Some(pieces(&self.bucket, &described.nuid))
    }

    /// Removes pieces. They take room, and no more, where that fails.
    async fn purge(&self, subject: &str) {
        let question = format!("STREAM.PURGE.{}", self.stream());
        let filter = json!({ "filter": subject });
        let _ = self.jetstream.api::<IgnoredAny>(question, &filter).await;
    }

    /// Removes an answer that no host will fetch.
    pub async fn remove_answer(&self, id: &str) {
        if let Ok(store) = self.open().await {
            let _ = store.delete(format!("{id}-r")).await;
        }
    }

    /// Opens the object store, and makes it where there is none.
    async fn open(&self) -> Result<ObjectStore, LargeBodyError> {
        self.find_or_make().await?;
        let library = self.jetstream.context();
        let store = library.get_object_store(&self.bucket).await;
        store.map_err(|error| LargeBodyError::NotOpened(error.into()))
    }

    /// Makes the object store where there is none. The library is used only once JetStream
    /// has answered: it never gives up the memory of a question that is not answered.
    async fn find_or_make(&self) -> Result<(), LargeBodyError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !self.bucket.bytes().all(plain) {
            let problem = "the name of the lattice cannot be that of a store";
            return Err(LargeBodyError::NotOpened(problem.into()));
        }
        let stream = self.stream();
        let question = format!("STREAM.INFO.{stream}");
        let found = self.jetstream.api::<IgnoredAny>(question, &());
        let opened = match found.await {
            Err(error) if error.code() == Some(ErrorCode::STREAM_NOT_FOUND) => {
                let question = format!("STREAM.CREATE.{stream}");
                let config = config(&self.bucket);
                self.jetstream.api::<IgnoredAny>(question, &config).await
            }
            found => found,
        };
        let opened = opened.map(drop);
        opened.map_err(|error| LargeBodyError::NotOpened(error.into()))
    }

    /// Returns the name of the store's stream.
    fn stream(&self) -> String {
        format!("OBJ_{}", self.bucket)
    }
}

/// Returns the configuration that hosts give an object store.
fn config(bucket: &str) -> Config {
    Config {
        name: format!("OBJ_{bucket}"),
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        discard: DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    }
}
