//! The two buckets of a lattice: `LATTICEDATA` with component specifications and
//! claims, `CONFIGDATA` with named configs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::jetstream::{self, kv};
use async_nats::{Client, Subscriber};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::super::host::lattice::bucket;
use super::Shared;
use super::commands::Link;

/// The value of `COMPONENT_{id}`. It is for components, providers and sources
/// of links alike, and does not say what runs.
#[derive(Default, Serialize, Deserialize)]
pub struct Spec {
    /// The reference of the first start; empty where a link came first.
    #[serde(default)]
    pub url: String,
    pub links: Vec<Link>,
    /// The revision of the entry that it was read from.
    #[serde(skip)]
    pub revision: u64,
}

/// Opens a bucket, and makes it where it is not there yet.
pub async fn open(client: &Client, name: &str) -> kv::Store {
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        allow_direct: true,
        ..bucket(name)
    };
    context.get_or_create_stream(config).await.unwrap();
    context.get_key_value(name).await.unwrap()
}

impl Shared {
    /// Reads a specification. A key that a bucket does not allow is an error.
    pub async fn spec(&self, id: &str) -> Result<Option<Spec>, String> {
        let entry = self.data.entry(format!("COMPONENT_{id}")).await;
        let entry = entry.map_err(|error| format!("failed to get component spec: {error}"))?;
        let there = entry.filter(|entry| entry.operation == kv::Operation::Put);
        Ok(there.map(|entry| {
            let mut spec: Spec = serde_json::from_slice(&entry.value).unwrap();
            spec.revision = entry.revision;
            spec
        }))
    }

    /// Writes a specification that is not there yet, for what starts.
    pub async fn ensure_spec(&self, id: &str, url: &str) -> Result<(), String> {
        let spec = self.spec(id).await?.unwrap_or_else(|| Spec {
            url: url.into(),
            ..Spec::default()
        });
        self.store_spec(id, &spec).await;
        Ok(())
    }

    /// Writes a specification over whatever is there, and returns whether that
    /// had changed since it was read.
    pub async fn store_spec(&self, id: &str, spec: &Spec) -> bool {
        let value = serde_json::to_vec(spec).unwrap();
        let key = format!("COMPONENT_{id}");
        let update = self
            .data
            .update(&key, value.clone().into(), spec.revision)
            .await;
        if update.is_err() {
            self.data.put(key, value.into()).await.unwrap();
        }
        update.is_err()
    }

    /// Returns the first of these named configs that does not exist.
    pub async fn missing_config<'a>(
        &self,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Option<&'a String> {
        for name in names {
            if !matches!(self.config.get(name.as_str()).await, Ok(Some(_))) {
                return Some(name);
            }
        }
        None
    }

    /// Takes what the bucket has when the host starts.
    pub async fn load(&self) {
        let keys: Vec<String> = self.data.keys().await.unwrap().try_collect().await.unwrap();
        for key in keys {
            if let Some(value) = self.data.get(&key).await.unwrap() {
                self.process(&key, &value);
            }
        }
    }

    /// Follows the bucket. Deleted keys change nothing: the host only logs `DEL`
    /// of a specification, fails on that of claims, and does not know `PURGE`.
    pub async fn follow(self: Arc<Self>, mut bucket: Subscriber) {
        let prefix = format!("$KV.LATTICEDATA_{}.", self.lattice.id);
        while let Some(message) = bucket.next().await {
            let headers = message.headers.as_ref();
            let deleted = headers.is_some_and(|h| h.get("KV-Operation").is_some());
            if let (Some(key), false) = (message.subject.strip_prefix(&prefix), deleted) {
                self.process(key, &message.payload);
            }
        }
    }

    /// Takes an entry of the bucket; those of 0.x hosts other than claims are
    /// ignored.
    fn process(&self, key: &str, value: &[u8]) {
        if let Some(id) = key.strip_prefix("COMPONENT_") {
            if let Ok(spec) = serde_json::from_slice::<Spec>(value) {
                let links = &mut self.state.lock().unwrap().links;
                links.insert(id.into(), spec.links);
            }
        } else if let Some(key) = key.strip_prefix("CLAIMS_") {
            self.process_claims(key, value);
        }
    }

    /// Returns the named config with this name.
    pub async fn named_config(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let value = self.config.get(name).await.ok().flatten();
        value.map(|value| serde_json::from_slice(&value).unwrap())
    }
}
