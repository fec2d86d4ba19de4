//! Providers: `provider.start` is answered before the work, `provider.stop`
//! after it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::super::host::lattice::Fetched;
use super::answers::Answer;
use super::commands::{StartProvider, StopProvider, read};
use super::scales::NAMES_OTHER_HOST;
use super::serve::Work;
use super::table::Provider;
use super::{Shared, Version};

/// How long a host waits for a provider's answer to its shutdown request.
const SHUTDOWN: Duration = Duration::from_millis(300);

const KILLED: &str = "a stop whose body names another host killed a provider without its shutdown";

impl Shared {
    /// Answers `provider.start`; `None` where the host stays silent.
    pub async fn take_provider(&self, body: &[u8]) -> Result<Option<(Answer, Work)>, String> {
        let order: StartProvider = read(body, "provider start command")?;
        // A provider that exited is listed and counts as running up to 1.5.
        let runs = {
            let state = self.state.lock().unwrap();
            state.providers.contains_key(&order.provider_id)
        };
        if runs {
            return Err("provider with that ID is already running".into());
        }
        let early = self.version < Version::V110;
        if early && self.missing_config(&order.config).await.is_some() {
            return Err("Unable to fetch requested config".into());
        }
        // Hosts from 1.8.0 on say nothing of these, where they are off.
        let off = ["http-server", "messaging-nats"];
        let builtin = order.provider_ref.strip_prefix("wasmcloud+builtin://");
        if self.version >= Version::V192 && builtin.is_some_and(|name| off.contains(&name)) {
            return Ok(None);
        }
        let answer = self.prose("successfully started provider");
        Ok(Some((answer, Work::StartProvider(order))))
    }

    /// Carries out a start of a provider.
    pub async fn start_provider(&self, order: &StartProvider) {
        if self.named(&order.host_id) != self.id {
            self.hurt(NAMES_OTHER_HOST);
        }
        let Err(error) = self.try_provider(order).await else {
            return;
        };
        let mut data = json!({
            "error": error, "link_name": "default", "provider_id": order.provider_id,
            "provider_ref": order.provider_ref,
        });
        if self.version >= Version::V151 {
            data["host_id"] = self.named(&order.host_id).into();
        }
        self.publish("provider_start_failed", data).await;
    }

    async fn try_provider(&self, order: &StartProvider) -> Result<(), String> {
        let artifact = match self.lattice.fetch(&order.provider_ref) {
            Fetched::Module(artifact) => Some(artifact),
            Fetched::Unsigned => None,
            Fetched::Missing => {
                return Err(
                    "failed to fetch provider: failed to read provider: failed to load \
                            provider archive: No such file or directory (os error 2)"
                        .into(),
                );
            }
        };
        self.store_claims(artifact.as_ref()).await;
        let listed = self.listed(&order.provider_ref);
        self.ensure_spec(&order.provider_id, &listed).await?;
        if let Some(name) = self.missing_config(&order.config).await {
            return Err(format!(
                "Unable to fetch requested config: Config {name} does not exist"
            ));
        }
        let provider = Provider {
            image_ref: listed,
            artifact,
            annotations: order.annotations.clone().unwrap_or_default(),
            config: order.config.clone(),
            alive: true,
        };
        let mut data = json!({
            "annotations": provider.annotations, "host_id": self.named(&order.host_id),
            "image_ref": provider.image_ref, "provider_id": order.provider_id,
        });
        if let Some(artifact) = &provider.artifact {
            data["claims"] = self.event_claims(artifact);
            of_old_hosts(&mut data, &order.provider_id);
        }
        {
            let state = &mut *self.state.lock().unwrap();
            if state.providers.contains_key(&order.provider_id) {
                return Err("provider is already running with that ID".into());
            }
            state.providers.insert(order.provider_id.clone(), provider);
        }
        self.publish("provider_started", data).await;
        Ok(())
    }

    /// Returns a reference as inventories list it.
    fn listed(&self, reference: &str) -> String {
        let schemes = ["file://", "oci://", "http://", "https://"];
        let bare = schemes.iter().find_map(|s| reference.strip_prefix(s));
        match bare {
            Some(bare) if self.version.drops_schemes() => bare.into(),
            _ => reference.into(),
        }
    }

    /// Answers `provider.stop`. Inventories wait until it is done.
    pub async fn stop_provider(&self, body: &[u8]) -> Answer {
        let order: StopProvider = read(body, "provider stop command")?;
        let _stopping = self.stopping.write().await;
        let stopped = {
            let providers = &mut self.state.lock().unwrap().providers;
            providers.remove(&order.provider_id)
        };
        let Some(provider) = stopped else {
            return Err("provider with that ID is not running".into());
        };
        // The provider compares the host in the request with its own one.
        let named = self.named(&order.host_id);
        if provider.alive && named != self.id {
            self.hurt(KILLED);
        }
        let answers = named == self.id && !self.mute.load(Ordering::Relaxed);
        if provider.alive && !answers {
            tokio::time::sleep(SHUTDOWN).await;
        }
        let mut data = json!({
            "annotations": provider.annotations, "host_id": named,
            "provider_id": order.provider_id, "reason": "stop",
        });
        of_old_hosts(&mut data, &order.provider_id);
        self.publish("provider_stopped", data).await;
        self.prose("successfully stopped provider")
    }
}

/// Adds the members of events that are there for old readers.
fn of_old_hosts(data: &mut serde_json::Value, id: &str) {
    data["instance_id"] = id.into();
    data["public_key"] = id.into();
    data["link_name"] = "default".into();
}
