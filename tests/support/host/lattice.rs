//! What the hosts of one lattice share: artifacts, links, claims, the bucket.

use std::collections::BTreeMap;
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
}

/// A lattice without hosts.
pub struct SimLattice {
    pub id: String,
    pub client: Client,
    /// Prefix of its JetStream API, where it has a bucket.
    bucket: Option<String>,
    artifacts: Mutex<BTreeMap<String, Artifact>>,
    /// Links of hosts that follow no bucket.
    cache: Mutex<BTreeMap<String, Value>>,
    /// Links in the bucket.
    stored: Mutex<BTreeMap<String, Value>>,
    claims: Mutex<BTreeMap<String, Value>>,
    /// Claims have the shape that hosts from 0.81 on write.
    new_claims: bool,
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
            claims: Mutex::default(),
            new_claims: false,
        }
    }

    /// A lattice with its bucket, made as hosts make it.
    pub async fn with_bucket(client: Client, id: &str) -> Self {
        let name = format!("LATTICEDATA_{id}");
        jetstream::new(client.clone())
            .create_stream(Config {
                name: format!("KV_{name}"),
                subjects: vec![format!("$KV.{name}.>")],
                max_messages_per_subject: 1,
                discard: DiscardPolicy::New,
                allow_rollup: true,
                deny_delete: true,
                allow_direct: true,
                ..Default::default()
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

    async fn publish(&self, image_ref: &str, key: &str, name: &str, revision: i64, contract: &str) {
        let artifact = Artifact {
            key: key.into(),
            name: name.into(),
            revision,
            contract_id: contract.into(),
        };
        self.artifacts
            .lock()
            .unwrap()
            .insert(image_ref.into(), artifact);
        let issuer = KeyPair::new(KeyPairType::Account).public_key();
        let (rev, actor) = (revision.to_string(), key.starts_with('M'));
        let mut claims = json!({
            "call_alias": "", "caps": "wasmcloud:httpserver", "contract_id": contract,
            "iss": issuer, "name": name, "rev": rev, "sub": key, "tags": "", "version": "0.1.0",
        });
        let mut stored = claims.clone();
        if self.new_claims {
            stored = match actor {
                true => json!({
                    "call_alias": "", "capabilities": ["wasmcloud:httpserver"], "issuer": issuer,
                    "name": name, "revision": rev, "subject": key, "tags": [], "version": "0.1.0",
                }),
                false => json!({
                    "contract_id": contract, "issuer": issuer, "name": name, "revision": rev,
                    "subject": key, "version": "0.1.0",
                }),
            };
            claims["issuer"] = issuer.into();
            claims["subject"] = key.into();
            claims["revision"] = rev.into();
            let members = claims.as_object_mut().unwrap();
            if actor {
                members.remove("contract_id");
                members.insert("capabilities".into(), "wasmcloud:httpserver".into());
            } else {
                for of_actors in ["call_alias", "caps", "tags"] {
                    members.remove(of_actors);
                }
            }
        }
        self.claims.lock().unwrap().insert(key.into(), claims);
        self.write(&format!("CLAIMS_{key}"), stored.to_string().as_bytes())
            .await;
    }

    /// What an image reference refers to.
    pub fn artifact(&self, image_ref: &str) -> Option<Artifact> {
        self.artifacts.lock().unwrap().get(image_ref).cloned()
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

    pub fn claims_reply(&self) -> Value {
        json!({ "claims": self.claims.lock().unwrap().values().collect::<Vec<_>>() })
    }
}

/// Key of a link in the bucket.
pub fn link_key(link: &Value) -> String {
    let text = |name: &str| link[name].as_str().unwrap_or_default().to_owned();
    let triple = text("actor_id") + &text("contract_id") + &text("link_name");
    format!("LINKDEF_{}", HEXUPPER.encode(&Sha256::digest(triple)))
}
