//! What the hosts of one lattice share: artifacts, links, claims and the
//! bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use data_encoding::HEXUPPER;
use futures::{StreamExt as _, stream};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::operator::{ACTOR, CONTRACT, PROVIDER};

/// An artifact in a registry.
#[derive(Clone)]
pub struct Artifact {
    pub key: String,
    pub name: String,
    pub revision: i64,
    /// Of providers only.
    pub contract_id: String,
    pub version: Option<String>,
    pub call_alias: Option<String>,
}

/// The outcome of fetching an image.
pub enum Fetched {
    Module(Artifact),
    /// The image has no claims.
    Unsigned,
    Missing,
}

/// A lattice, before hosts are in it.
pub struct SimLattice {
    pub id: String,
    pub client: Client,
    /// The prefix of its JetStream API, where it has a bucket.
    bucket: Option<String>,
    /// The key that signs everything in the registry.
    pub issuer: String,
    /// The registry. Images without claims have no artifact.
    artifacts: Mutex<BTreeMap<String, Option<Artifact>>>,
    /// Links of hosts that follow no bucket.
    cache: Mutex<BTreeMap<String, Value>>,
    /// Links in the bucket.
    stored: Mutex<BTreeMap<String, Value>>,
    /// The claims of actors and providers that have run, by key.
    known: Mutex<BTreeMap<String, Artifact>>,
    /// The keys behind references that ran on OTP hosts.
    refmap: Mutex<BTreeMap<String, String>>,
    /// The ids of hosts that are or were in the lattice.
    hosts: Mutex<BTreeSet<String>>,
    /// Whether claims have the shape that hosts from 0.81 on write.
    pub(super) new_claims: bool,
}

/// Returns the configuration of a bucket as hosts make it, but for
/// `allow_direct`.
pub fn bucket(name: &str) -> Config {
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        ..Config::default()
    }
}

impl SimLattice {
    /// Makes a lattice whose hosts keep links and claims in memory.
    pub fn without_bucket(client: Client, id: &str) -> Self {
        Self {
            id: id.into(),
            client,
            bucket: None,
            artifacts: Mutex::default(),
            cache: Mutex::default(),
            stored: Mutex::default(),
            known: Mutex::default(),
            refmap: Mutex::default(),
            hosts: Mutex::default(),
            issuer: KeyPair::new(KeyPairType::Account).public_key(),
            new_claims: false,
        }
    }

    /// Makes a lattice with a bucket, as hosts make it.
    pub async fn with_bucket(client: Client, id: &str) -> Self {
        let name = format!("LATTICEDATA_{id}");
        jetstream::new(client.clone())
            .create_stream(Config {
                allow_direct: true,
                ..bucket(&name)
            })
            .await
            .unwrap();
        let mut lattice = Self::without_bucket(client, id);
        lattice.bucket = Some(name);
        lattice
    }

    /// Gives its claims the shape that hosts from 0.81 on write.
    pub fn with_new_claims(mut self) -> Self {
        self.new_claims = true;
        self
    }

    pub fn has_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    /// Puts an actor with its claims into the registry, and returns its key.
    pub async fn publish_actor(&self, image_ref: &str, name: &str, revision: i64) -> String {
        let key = KeyPair::new(KeyPairType::Module).public_key();
        self.publish_actor_as(image_ref, &key, name, revision).await;
        key
    }

    /// Puts another revision of an actor into the registry.
    pub async fn publish_actor_as(&self, image_ref: &str, key: &str, name: &str, revision: i64) {
        self.publish(image_ref, key, name, revision, "").await;
    }

    /// Puts a provider with this key into the registry.
    pub async fn publish_provider_as(
        &self,
        image_ref: &str,
        key: &str,
        name: &str,
        contract: &str,
    ) {
        self.publish(image_ref, key, name, 1_644_594_344, contract)
            .await;
    }

    /// Puts an artifact into the registry. The lattice knows the claims of the
    /// first one of each key, as if it had run once.
    async fn publish(&self, image_ref: &str, key: &str, name: &str, revision: i64, contract: &str) {
        let artifact = Artifact {
            key: key.into(),
            name: name.into(),
            revision,
            contract_id: contract.into(),
            version: Some("0.1.0".into()),
            call_alias: None,
        };
        self.offer(image_ref, Some(artifact.clone()));
        if self.known_revision(key).is_none() {
            self.know(&artifact);
            let stored = self.stored_claims(&artifact).to_string();
            self.write(&format!("CLAIMS_{key}"), stored.as_bytes())
                .await;
        }
    }

    /// Puts an artifact into the registry without its claims in the lattice;
    /// `None` stands for an image without claims.
    pub fn offer(&self, image_ref: &str, artifact: Option<Artifact>) {
        let mut artifacts = self.artifacts.lock().unwrap();
        artifacts.insert(image_ref.into(), artifact);
    }

    /// Takes an image out of the registry.
    pub fn withdraw(&self, image_ref: &str) {
        self.artifacts.lock().unwrap().remove(image_ref);
    }

    /// Returns what an image reference refers to.
    pub fn fetch(&self, image_ref: &str) -> Fetched {
        match self.artifacts.lock().unwrap().get(image_ref) {
            Some(Some(artifact)) => Fetched::Module(artifact.clone()),
            Some(None) => Fetched::Unsigned,
            None => Fetched::Missing,
        }
    }

    /// Notes these claims as known in the lattice.
    pub fn know(&self, artifact: &Artifact) {
        let mut known = self.known.lock().unwrap();
        known.insert(artifact.key.clone(), artifact.clone());
    }

    /// Returns the revision that the lattice knows for a key.
    pub fn known_revision(&self, key: &str) -> Option<i64> {
        self.known.lock().unwrap().get(key).map(|a| a.revision)
    }

    /// Returns the claims of all that has run.
    pub fn all_known(&self) -> Vec<Artifact> {
        self.known.lock().unwrap().values().cloned().collect()
    }

    /// Keeps the key behind a reference.
    pub fn map(&self, image_ref: &str, key: &str) {
        let mut refmap = self.refmap.lock().unwrap();
        refmap.insert(image_ref.into(), key.into());
    }

    /// Returns the key that a reference ran with.
    pub fn known_key(&self, image_ref: &str) -> Option<String> {
        self.refmap.lock().unwrap().get(image_ref).cloned()
    }

    /// Notes that a host starts, and returns whether its id was here before.
    pub fn was_here(&self, host: &str) -> bool {
        !self.hosts.lock().unwrap().insert(host.into())
    }

    /// Returns the links of hosts that follow no bucket.
    pub fn cached_links(&self) -> BTreeMap<String, Value> {
        self.cache.lock().unwrap().clone()
    }

    /// Returns the links in the bucket, for a host that starts.
    pub fn bucket_links(&self) -> BTreeMap<String, Value> {
        self.stored.lock().unwrap().clone()
    }

    /// Keeps a link: as `raw` in the bucket, or in the cache.
    pub async fn put_link(&self, link: &Value, raw: &[u8], in_bucket: bool) {
        let key = link_key(link);
        if in_bucket && self.has_bucket() {
            self.stored
                .lock()
                .unwrap()
                .insert(key.clone(), link.clone());
            self.write(&key, raw).await;
        } else {
            self.cache.lock().unwrap().insert(key, link.clone());
        }
    }

    /// Writes so many links with these values into the bucket, named `link-0`
    /// and so on.
    pub async fn put_links(&self, count: usize, values: &Value) {
        let put = |number: usize| async move {
            let link = json!({ "actor_id": ACTOR, "provider_id": PROVIDER,
                "contract_id": CONTRACT, "link_name": format!("link-{number}"),
                "values": values });
            let body = link.to_string();
            self.put_link(&link, body.as_bytes(), true).await;
        };
        let mut puts = stream::iter((0..count).map(put)).buffer_unordered(500);
        while puts.next().await.is_some() {}
    }

    /// Removes a link; `marker` is the operation that the bucket records.
    pub async fn remove_link(&self, link: &Value, marker: &str, in_bucket: bool) {
        let key = link_key(link);
        match &self.bucket {
            Some(bucket) if in_bucket => {
                self.stored.lock().unwrap().remove(&key);
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("KV-Operation", marker);
                let ack = jetstream::new(self.client.clone())
                    .publish_with_headers(format!("$KV.{bucket}.{key}"), headers, "".into())
                    .await;
                ack.unwrap().await.unwrap();
            }
            _ => drop(self.cache.lock().unwrap().remove(&key)),
        }
    }

    /// Writes a value into the bucket, where the lattice has one.
    pub async fn write(&self, key: &str, value: &[u8]) {
        if let Some(bucket) = &self.bucket {
            let ack = jetstream::new(self.client.clone())
                .publish(format!("$KV.{bucket}.{key}"), value.to_vec().into())
                .await;
            ack.unwrap().await.unwrap();
        }
    }
}

/// Returns the key of a link in the bucket.
pub fn link_key(link: &Value) -> String {
    let text = |name: &str| link[name].as_str().unwrap_or_default().to_owned();
    let triple = text("actor_id") + &text("contract_id") + &text("link_name");
    format!("LINKDEF_{}", HEXUPPER.encode(&Sha256::digest(triple)))
}
