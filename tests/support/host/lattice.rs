//! What the hosts of one lattice share: artifacts, links, claims, the bucket.

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
    /// Of providers.
    pub contract_id: String,
    pub version: Option<String>,
    pub call_alias: Option<String>,
}

/// What came of fetching an image.
pub enum Fetched {
    Module(Artifact),
    /// It has no claims.
    Unsigned,
    Missing,
}

/// A lattice without hosts.
pub struct SimLattice {
    pub id: String,
    pub client: Client,
    /// Prefix of its JetStream API, where it has a bucket.
    bucket: Option<String>,
    /// Signs everything in the registry.
    pub issuer: String,
    /// The registry; images without claims have no artifact.
    artifacts: Mutex<BTreeMap<String, Option<Artifact>>>,
    /// Links of hosts that follow no bucket.
    cache: Mutex<BTreeMap<String, Value>>,
    /// Links in the bucket.
    stored: Mutex<BTreeMap<String, Value>>,
    /// What the lattice knows of actors and providers that ran, by key.
    known: Mutex<BTreeMap<String, Artifact>>,
    /// Keys of the references that ran on OTP hosts.
    refmap: Mutex<BTreeMap<String, String>>,
    /// Ids of hosts that were here.
    hosts: Mutex<BTreeSet<String>>,
    /// Claims have the shape that hosts from 0.81 on write.
    pub(super) new_claims: bool,
}

/// A bucket as hosts make it, but for `allow_direct`.
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
    /// A lattice whose hosts keep links and claims in memory.
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

    /// A lattice with its bucket, made as hosts make it.
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

    /// The same, whose claims are written by hosts from 0.81 on.
    pub fn with_new_claims(mut self) -> Self {
        self.new_claims = true;
        self
    }

    pub fn has_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    /// Puts an actor into the registry, with its claims; hands back its key.
    pub async fn publish_actor(&self, image_ref: &str, name: &str, revision: i64) -> String {
        let key = KeyPair::new(KeyPairType::Module).public_key();
        self.publish_actor_as(image_ref, &key, name, revision).await;
        key
    }

    /// Puts another revision of an actor into the registry.
    pub async fn publish_actor_as(&self, image_ref: &str, key: &str, name: &str, revision: i64) {
        self.publish(image_ref, key, name, revision, "").await;
    }

    /// Puts a provider into the registry, with its claims; hands back its key.
    pub async fn publish_provider(&self, image_ref: &str, name: &str, contract: &str) -> String {
        let key = KeyPair::new(KeyPairType::Service).public_key();
        self.publish_provider_as(image_ref, &key, name, contract)
            .await;
        key
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

    /// Puts it into the registry; the claims of what was there first are on the
    /// lattice, as if it had run once.
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

    /// Puts an artifact into the registry and nothing on the lattice; none for
    /// an image without claims.
    pub fn offer(&self, image_ref: &str, artifact: Option<Artifact>) {
        let mut artifacts = self.artifacts.lock().unwrap();
        artifacts.insert(image_ref.into(), artifact);
    }

    /// Takes an image out of the registry.
    pub fn withdraw(&self, image_ref: &str) {
        self.artifacts.lock().unwrap().remove(image_ref);
    }

    /// What an image reference refers to.
    pub fn fetch(&self, image_ref: &str) -> Fetched {
        match self.artifacts.lock().unwrap().get(image_ref) {
            Some(Some(artifact)) => Fetched::Module(artifact.clone()),
            Some(None) => Fetched::Unsigned,
            None => Fetched::Missing,
        }
    }

    /// The artifact that an image reference refers to.
    pub fn artifact(&self, image_ref: &str) -> Option<Artifact> {
        match self.fetch(image_ref) {
            Fetched::Module(artifact) => Some(artifact),
            Fetched::Unsigned | Fetched::Missing => None,
        }
    }

    /// The lattice knows these claims from now on.
    pub fn know(&self, artifact: &Artifact) {
        let mut known = self.known.lock().unwrap();
        known.insert(artifact.key.clone(), artifact.clone());
    }

    /// The revision that the lattice knows of a key.
    pub fn known_revision(&self, key: &str) -> Option<i64> {
        self.known.lock().unwrap().get(key).map(|a| a.revision)
    }

    /// All that ran.
    pub fn all_known(&self) -> Vec<Artifact> {
        self.known.lock().unwrap().values().cloned().collect()
    }

    /// Keeps which key a reference has.
    pub fn map(&self, image_ref: &str, key: &str) {
        let mut refmap = self.refmap.lock().unwrap();
        refmap.insert(image_ref.into(), key.into());
    }

    /// The key that a reference ran with.
    pub fn known_key(&self, image_ref: &str) -> Option<String> {
        self.refmap.lock().unwrap().get(image_ref).cloned()
    }

    /// A host comes; whether one with its id was here before.
    pub fn was_here(&self, host: &str) -> bool {
        !self.hosts.lock().unwrap().insert(host.into())
    }

    /// Links of hosts that follow no bucket.
    pub fn cached_links(&self) -> BTreeMap<String, Value> {
        self.cache.lock().unwrap().clone()
    }

    /// Links that hosts put into the bucket before another one starts.
    pub fn bucket_links(&self) -> BTreeMap<String, Value> {
        self.stored.lock().unwrap().clone()
    }

    /// Keeps a link: in the bucket `raw`, or in the cache.
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

    /// Keeps so many links in the bucket, `link-0` and so on, with these values.
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

    /// Forgets a link; `marker` is what the bucket says of it.
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

    /// Writes a value into the bucket, where there is one.
    pub async fn write(&self, key: &str, value: &[u8]) {
        if let Some(bucket) = &self.bucket {
            let ack = jetstream::new(self.client.clone())
                .publish(format!("$KV.{bucket}.{key}"), value.to_vec().into())
                .await;
            ack.unwrap().await.unwrap();
        }
    }
}

/// Key of a link in the bucket.
pub fn link_key(link: &Value) -> String {
    let text = |name: &str| link[name].as_str().unwrap_or_default().to_owned();
    let triple = text("actor_id") + &text("contract_id") + &text("link_name");
    format!("LINKDEF_{}", HEXUPPER.encode(&Sha256::digest(triple)))
}
