//! Calls and answers over 900 KiB: their body goes through the JetStream object
//! store of our lattice, bucket `{lattice}`, under the invocation's id
//! (answers: `{id}-r`). Source: wasmbus-abi reference, B.6.

use std::fmt::Display;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde::de::IgnoredAny;
use tokio::io::AsyncReadExt as _;

use crate::nats::OwnLattice;
use crate::nats::jetstream::JetStream;

/// Longest wait for an answer of JetStream.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Largest body that goes into a message itself; the same on every host.
pub const THRESHOLD: usize = 900 * 1024;
/// Bytes of a message into which the object store's client cuts a body.
pub const CHUNK: usize = 128 * 1024;
/// Largest body of a call, in a message or fetched: four times what the largest
/// member of the contract may have.
pub const MAX_BODY: u64 = 2 * 1024 * 1024;
/// Largest answer that is stored. Hosts name no limit, and fetch it whole into
/// the memory of an actor.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The object store of our lattice.
#[derive(Clone)]
pub struct Chunks {
    jetstream: JetStream,
    bucket: String,
}

impl Chunks {
    /// The store of our lattice, in a JetStream domain where the host names one.
    pub fn new(home: &OwnLattice) -> Self {
        Self {
            jetstream: JetStream::new(home, ANSWERS_WITHIN),
            bucket: home.lattice.clone(),
        }
    }

    /// Fetches the body of a call. It stays in the store until the call is proved:
    /// whoever sends one may name any.
    ///
    /// # Errors
    /// Why it is not to be had.
    pub async fn take(&self, id: &str, length: u64) -> Result<Vec<u8>, String> {
        if length > MAX_BODY {
            return Err(format!(
                "a body of {length} bytes is over the limit of {MAX_BODY}"
            ));
        }
        let store = self.store().await?;
        let object = store.get(id).await;
        let object = object.map_err(|error| format!("the body is not in the store: {error}"))?;
        let mut body = Vec::new();
        // One more, to see that there is more than was said.
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

    /// Removes the body of a call: left behind, it only takes room.
    pub async fn forget(&self, id: &str) {
        if let Ok(store) = self.store().await {
            let _ = store.delete(id).await;
        }
    }

    /// Stores the body of an answer for the host to fetch.
    ///
    /// # Errors
    /// Why it cannot be stored.
    pub async fn leave(&self, id: &str, mut body: &[u8]) -> Result<(), String> {
        let store = self.store().await?;
        let name = format!("{id}-r");
        let stored = store.put(name.as_str(), &mut body).await;
        stored.map(drop).map_err(|error| error.to_string())
    }

    /// Removes an answer that nobody will fetch.
    pub async fn withdraw(&self, id: &str) {
        if let Ok(store) = self.store().await {
            let _ = store.delete(format!("{id}-r")).await;
        }
    }

    /// The object store, made where there is none. The library does the rest, and
    /// keeps a place for ever for each of its questions that is not answered: it
    /// is not used before JetStream answers.
    async fn store(&self) -> Result<ObjectStore, String> {
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

/// An object store as hosts make it.
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
