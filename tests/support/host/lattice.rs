//! What the hosts of one lattice share: artifacts, links, claims, the bucket.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_nats::Client;
use async_nats::jetstream::{self, stream};
use data_encoding::HEXUPPER;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

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
    links: Mutex<BTreeMap<String, Value>>,
    claims: Mutex<BTreeMap<String, Value>>,
}

impl SimLattice {
    /// A lattice whose hosts keep links and claims in memory.
    pub fn without_bucket(client: Client, id: &str) -> Self {
        Self {
            id: id.into(),
            client,
            bucket: None,
            artifacts: Mutex::default(),
            links: Mutex::default(),
            claims: Mutex::default(),
        }
    }

    /// A lattice with its bucket, made as hosts make it.
    pub async fn with_bucket(client: Client, id: &str) -> Self {
        let name = format!("LATTICEDATA_{id}");
        jetstream::new(client.clone())
            .create_stream(stream::Config {
                name: format!("KV_{name}"),
                subjects: vec![format!("$KV.{name}.>")],
                max_messages_per_subject: 1,
                discard: stream::DiscardPolicy::New,
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
        self.publish(image_ref, &key, name, 1_644_594_344, contract)
            .await;
        key
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
        let claims = json!({
            "call_alias": "", "caps": "", "contract_id": contract,
            "iss": KeyPair::new(KeyPairType::Account).public_key(),
            "name": name, "rev": revision.to_string(), "sub": key, "tags": "", "version": "0.1.0",
        });
        self.claims
            .lock()
            .unwrap()
            .insert(key.into(), claims.clone());
        self.write(&format!("CLAIMS_{key}"), claims.to_string().as_bytes())
            .await;
    }

    /// What an image reference refers to.
    pub fn artifact(&self, image_ref: &str) -> Option<Artifact> {
        self.artifacts.lock().unwrap().get(image_ref).cloned()
    }

    /// Every link, by its key in the bucket.
    pub fn links(&self) -> BTreeMap<String, Value> {
        self.links.lock().unwrap().clone()
    }

    /// Keeps a link, and the bytes of `raw` in the bucket.
    pub async fn put_link(&self, link: &Value, raw: &[u8]) {
        let key = link_key(link);
        let kept = json!({
            "actor_id": link["actor_id"], "provider_id": link["provider_id"],
            "link_name": link["link_name"], "contract_id": link["contract_id"],
            "values": link["values"],
        });
        self.links.lock().unwrap().insert(key.clone(), kept);
        self.write(&key, raw).await;
    }

    /// Forgets a link; `marker` is what the bucket says of it.
    pub async fn remove_link(&self, link: &Value, marker: &str) {
        let key = link_key(link);
        self.links.lock().unwrap().remove(&key);
        if let Some(bucket) = &self.bucket {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("KV-Operation", marker);
            let ack = jetstream::new(self.client.clone())
                .publish_with_headers(format!("$KV.{bucket}.{key}"), headers, "".into())
                .await;
            ack.unwrap().await.unwrap();
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

    pub fn links_reply(&self) -> Value {
        json!({ "links": self.links.lock().unwrap().values().collect::<Vec<_>>() })
    }
}

/// Key of a link in the bucket.
pub fn link_key(link: &Value) -> String {
    let text = |name: &str| link[name].as_str().unwrap_or_default().to_owned();
    let triple = text("actor_id") + &text("contract_id") + &text("link_name");
    format!("LINKDEF_{}", HEXUPPER.encode(&Sha256::digest(triple)))
}
