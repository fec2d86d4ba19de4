//! Links as one host knows them, docs/hosts.md#links, and what it takes from
//! the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Subscriber;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::bodies::{accepted, refused};
use super::lattice::link_key;
use super::orders::Answer;
use super::{Generation, Shared};

impl Shared {
    /// Answers `linkdefs.put`.
    pub async fn put_link(&self, body: &[u8]) -> Answer {
        match self.generation.is_otp() {
            true => self.otp_put_link(body).await,
            false => self.rust_put_link(body).await,
        }
    }

    async fn otp_put_link(&self, body: &[u8]) -> Answer {
        let old = self.generation <= Generation::G1a;
        let bad = || Answer::now(refused("Invalid link definition put request"));
        let link = match serde_json::from_slice::<Value>(body) {
            Ok(link) if link.is_object() => link,
            Ok(_) if old => return Answer::silence(),
            _ => return bad(),
        };
        let mut members = vec!["actor_id", "contract_id", "link_name", "provider_id"];
        if old {
            members.push("values");
        }
        if !self.has(&link, &members) {
            return bad();
        }
        // The key is a hash of texts.
        let texts = ["actor_id", "contract_id", "link_name"];
        let in_bucket = self.generation.keeps_bucket();
        if in_bucket && !texts.iter().all(|name| link[*name].is_string()) {
            return Answer::silence();
        }
        // OTP hosts do not look at the values, and drop other members
        // (docs/hosts.md#links-that-cannot-be-removed).
        let mut kept = json!({
            "actor_id": link["actor_id"], "provider_id": link["provider_id"],
            "link_name": link["link_name"], "contract_id": link["contract_id"],
            "values": link["values"],
        });
        if kept["values"].is_null() && !old {
            kept["values"] = json!({});
        }
        let mut stored = kept.clone();
        stored["id"] = hash(&kept).into();
        let raw = stored.to_string();
        self.lattice
            .put_link(&kept, raw.as_bytes(), in_bucket)
            .await;
        if in_bucket {
            self.links.lock().unwrap().insert(hash(&kept), kept);
        }
        Answer::now(accepted())
    }

    async fn rust_put_link(&self, body: &[u8]) -> Answer {
        let bad = || Answer::now(refused("failed to deserialize link definition"));
        let Ok(link) = serde_json::from_slice::<Value>(body) else {
            return bad();
        };
        if !link["values"].is_object() {
            return bad();
        }
        self.lattice.put_link(&link, body, true).await;
        Answer::now(accepted())
    }

    /// Answers `linkdefs.del`; OTP hosts write PURGE, Rust hosts DEL
    /// (docs/hosts.md#removal-unseen-by-rust-hosts).
    pub async fn remove_link(&self, body: &[u8]) -> Answer {
        let otp = self.generation.is_otp();
        let bad = || {
            Answer::now(refused(match otp {
                true => "Invalid link definition removal request",
                false => "failed to deserialize link definition deletion command",
            }))
        };
        let Ok(link) = serde_json::from_slice::<Value>(body) else {
            return bad();
        };
        let members = ["actor_id", "contract_id", "link_name"];
        if otp && !self.has(&link, &members) {
            return bad();
        }
        let in_bucket = self.generation.keeps_bucket();
        if !otp {
            self.lattice.remove_link(&link, "DEL", in_bucket).await;
            return Answer::now(accepted());
        }
        if !in_bucket {
            self.lattice.remove_link(&link, "PURGE", false).await;
            return Answer::now(accepted());
        }
        if !members.iter().all(|name| link[*name].is_string()) {
            return Answer::silence();
        }
        self.lattice.remove_link(&link, "PURGE", true).await;
        // A link under another id stays, and one without values breaks the
        // answer (docs/hosts.md#links-that-cannot-be-removed).
        let removed = self.links.lock().unwrap().remove(&hash(&link));
        match removed {
            Some(removed) if removed.get("values").is_none() => Answer::silence(),
            _ => Answer::now(accepted()),
        }
    }

    /// Follows the bucket as hosts do. Rust hosts see DEL only
    /// (docs/hosts.md#removal-unseen-by-rust-hosts) and take no link from under
    /// a key that is not its own; OTP hosts keep a link under its own id,
    /// whatever the key (docs/hosts.md#links-that-cannot-be-removed).
    pub async fn follow(self: Arc<Self>, mut bucket: Subscriber) {
        while let Some(message) = bucket.next().await {
            let Some(key) = message.subject.rsplit('.').next() else {
                continue;
            };
            let Some(id) = key.strip_prefix("LINKDEF_") else {
                continue;
            };
            let headers = message.headers.as_ref();
            let operation = headers
                .and_then(|h| h.get("KV-Operation"))
                .map(|o| o.as_str());
            let mut links = self.links.lock().unwrap();
            let otp = self.generation.is_otp();
            match operation {
                // An OTP host fails on a link without values.
                Some(_) if otp && links.get(id).is_some_and(|l| l.get("values").is_none()) => {}
                Some("DEL") => drop(links.remove(id)),
                Some(_) if otp => drop(links.remove(id)),
                Some(_) => {}
                None => {
                    let Ok(link) = serde_json::from_slice::<Value>(&message.payload) else {
                        continue;
                    };
                    let own = hash(&link) == id && link["values"].is_object();
                    if otp {
                        let id = link["id"].as_str().map_or_else(|| hash(&link), Into::into);
                        links.insert(id, link);
                    } else if own {
                        links.insert(id.to_owned(), link);
                    }
                }
            }
        }
    }

    /// Returns the links that this host knows, by id; OTP hosts before 0.60
    /// have no bucket.
    pub fn links_view(&self) -> BTreeMap<String, Value> {
        match self.generation.keeps_bucket() && self.lattice.has_bucket() {
            true => self.links.lock().unwrap().clone(),
            false => self.lattice.cached_links(),
        }
    }

    /// Returns the answer to `get.links`.
    pub fn links_reply(&self) -> Value {
        let links = self.links_view().into_iter().map(|(id, link)| {
            if self.generation.is_otp() && self.generation.keeps_bucket() {
                // With whatever members were stored
                // (docs/hosts.md#removed-links-come-back,
                // docs/hosts.md#links-that-cannot-be-removed).
                let mut body = link;
                body["id"] = id.into();
                return body;
            }
            let mut body = json!({});
            for name in [
                "actor_id",
                "provider_id",
                "link_name",
                "contract_id",
                "values",
            ] {
                body[name] = link[name].clone();
            }
            body
        });
        json!({ "links": links.collect::<Vec<_>>() })
    }
}

/// Returns the id of a link: its key in the bucket without the prefix of all
/// keys.
fn hash(link: &Value) -> String {
    link_key(link).trim_start_matches("LINKDEF_").into()
}
