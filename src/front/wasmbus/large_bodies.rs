//! Bodies over 900 KiB, of calls and of answers. They go through the JetStream object store
//! of the provider's lattice, bucket `{lattice}`, under the id of the invocation (answers:
//! `{id}-r`). Source: wasmbus-abi reference, B.6.

use std::fmt::Display;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde::de::IgnoredAny;
use tokio::io::AsyncReadExt as _;

use crate::error::Error;
use crate::nats::OwnLattice;
use crate::nats::jetstream::JetStream;

/// Longest wait for an answer from JetStream.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Largest body that goes into a message itself. It is the same on every host.
pub const THRESHOLD: usize = 900 * 1024;
/// Bytes of the messages into which the object store's client cuts a body.
pub const CHUNK: usize = 128 * 1024;
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
    pub async fn fetch(&self, id: &str, length: u64) -> Result<Vec<u8>, String> {
        if length > MAX_BODY {
            return Err(format!(
                "a body of {length} bytes is over the limit of {MAX_BODY}"
            ));
        }
        let store = self.open().await?;
        let object = store.get(id).await;
        let object = object.map_err(|error| format!("the body is not in the store: {error}"))?;
        let mut body = Vec::new();
        // One byte more shows a body that is longer than the call says.
        let read = object.take(length + 1).read_to_end(&mut body).await;
        read.map_err(|error| format!("the body cannot be read from the store: {error}"))?;
        if body.len() as u64 == length {
            Ok(body)
        } else {
            Err(format!(
                "the stored body does not have the {length} bytes that it should"
            ))
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
    pub async fn store_answer(&self, id: &str, mut body: &[u8]) -> Result<(), String> {
        let store = self.open().await?;
        let name = format!("{id}-r");
        let stored = store.put(name.as_str(), &mut body).await;
        stored.map(drop).map_err(|error| error.to_string())
    }

    /// Removes an answer that no host will fetch.
    pub async fn remove_answer(&self, id: &str) {
        if let Ok(store) = self.open().await {
            let _ = store.delete(format!("{id}-r")).await;
        }
    }

    /// Opens the object store, and makes it where there is none. The library is used only
    /// once JetStream has answered: it never gives up the memory of a question that is not
    /// answered.
    async fn open(&self) -> Result<ObjectStore, String> {
        let failed = |why: &dyn Display| format!("the object store cannot be opened: {why}");
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !self.bucket.bytes().all(plain) {
            return Err(failed(&"the name of the lattice cannot be that of a store"));
        }
        let stream = format!("OBJ_{}", self.bucket);
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
        opened.map_err(|error| failed(&error))?;
        let library = self.jetstream.context();
        let store = library.get_object_store(&self.bucket).await;
        store.map_err(|error| failed(&error))
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
