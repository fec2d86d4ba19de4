//! Links: all of one source are one value in the bucket, which hosts read,
//! change and write back without a check.

use serde_json::{Value, json};

use super::answers::{Answer, with};
use super::buckets::Spec;
use super::commands::{DeleteLink, Link, read};
use super::{Shared, Version};

const LOST: &str = "two puts for one source at the same time lost a link";
const TWO_TARGETS: &str = "a second target for an interface took the calls of the first one";

impl Shared {
    /// Answers `link.put`.
    pub async fn put_link(&self, body: &[u8]) -> Answer {
        let link: Link = read(body, "wrpc link definition")?;
        let data = serde_json::to_value(&link).unwrap();
        match self.try_link(&link).await {
            Ok(()) => {
                self.publish("linkdef_set", data).await;
                self.prose("successfully set link")
            }
            Err(error) => {
                // Hosts have this event from 1.2.0 on.
                if self.version >= Version::V130 {
                    let mut data = data;
                    data["error"] = error.clone().into();
                    self.publish("linkdef_set_failed", data).await;
                }
                // The answer has the outermost context only.
                let short = "failed to get component spec";
                Err(match error.starts_with(short) {
                    true => short.into(),
                    false => error,
                })
            }
        }
    }

    async fn try_link(&self, link: &Link) -> Result<(), String> {
        if let Some(name) = self.missing_config(link.configs()).await {
            return Err(match self.version < Version::V110 {
                true => "failed to resolve link config for provider".into(),
                false => format!(
                    "Failed to validate configuration and secrets. Configuration {name} not \
                     found in config store. "
                ),
            });
        }
        let mut spec = self.spec(&link.source_id).await?.unwrap_or_default();
        let same = |other: &Link| {
            let (namespace, package) = (&link.wit_namespace, &link.wit_package);
            other.is_of(&link.source_id, namespace, package, &link.name)
        };
        let rival = spec.links.iter().filter(|other| same(other)).any(|other| {
            let mut shared = other.interfaces.iter();
            other.target != link.target && shared.any(|i| link.interfaces.contains(i))
        });
        if rival && self.version >= Version::V130 {
            return Err(
                "link already exists with different target, consider deleting the \
                        existing link or using a different link name"
                    .into(),
            );
        }
        if rival {
            self.hurt(TWO_TARGETS);
        }
        let mut links = spec.links.iter_mut();
        match links.find(|other| same(other) && other.target == link.target) {
            Some(old) => *old = link.clone(),
            None => spec.links.push(link.clone()),
        }
        if self.store_spec(&link.source_id, &spec).await {
            self.hurt(LOST);
        }
        Ok(())
    }

    /// Answers `link.del`: it removes the first link of this source, package and
    /// name, whatever its target and interfaces are.
    pub async fn remove_link(&self, body: &[u8]) -> Answer {
        let order: DeleteLink = read(body, "wrpc link definition")?;
        let spec = self.spec(&order.source_id).await;
        let spec = spec.map_err(|_| "failed to get component spec".to_owned())?;
        let Some(mut spec): Option<Spec> = spec else {
            return self.prose("successfully deleted link (spec doesn't exist)");
        };
        let (namespace, package) = (&order.wit_namespace, &order.wit_package);
        let first = spec
            .links
            .iter()
            .position(|link| link.is_of(&order.source_id, namespace, package, &order.name));
        let removed = first.map(|at| spec.links.swap_remove(at));
        let mut data = json!({
            "source_id": order.source_id, "name": order.name,
            "wit_namespace": namespace, "wit_package": package,
        });
        if removed.is_some() || self.version < Version::V130 {
            self.store_spec(&order.source_id, &spec).await;
        }
        if let (Some(link), true) = (removed, self.version >= Version::V130) {
            data["target"] = link.target.into();
            data["interfaces"] = json!(link.interfaces);
        }
        self.publish("linkdef_deleted", data).await;
        self.prose("successfully deleted link")
    }

    /// Answers `link.get` from the host's memory, which follows the bucket: a
    /// link that another host put a moment ago may be missing.
    pub fn links(&self) -> Answer {
        let state = self.state.lock().unwrap();
        let links: Vec<Value> = state.links.values().flatten().map(|l| json!(l)).collect();
        with(links.into())
    }
}
