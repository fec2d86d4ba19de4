//! Providers of one host: docs/hosts.md#providers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bodies::{accepted, refused};
use super::lattice::Fetched;
use super::orders::Answer;
use super::running::{annotations, contains};
use super::table::Provider;
use super::{Generation, Shared, SimHost};

/// How long OTP hosts wait for a provider's answer to its shutdown request,
/// and, up to 0.59, after that answer
/// (docs/hosts.md#provider-stop-is-answered-late).
const SHUTDOWN: Duration = Duration::from_secs(2);
const AFTER_SHUTDOWN: Duration = Duration::from_millis(300);

impl SimHost {
    /// Sets whether providers of this host leave shutdown requests unanswered.
    pub fn mute_providers(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::Relaxed);
    }
}

impl Shared {
    pub fn start_provider(&self, body: Option<&Value>) -> Answer {
        let otp = self.generation.is_otp();
        let bad = || {
            Answer::now(refused(match otp {
                true => "Improperly formed start provider command JSON",
                false => "failed to deserialize provider launch command",
            }))
        };
        let Some(body) = body else {
            return bad();
        };
        if otp && !self.has(body, &["provider_ref", "link_name"]) {
            return bad();
        }
        let image_ref = body["provider_ref"].as_str().unwrap_or_default();
        let Some(link_name) = body["link_name"].as_str().or((!otp).then_some("")) else {
            // Old hosts acknowledge null, and nothing happens.
            return Answer::now(accepted());
        };
        let state = &mut *self.state.lock().unwrap();
        let Fetched::Module(artifact) = self.lattice.fetch(image_ref) else {
            self.say_provider_failed(state, body, "Failed to fetch OCI bytes");
            return Answer::now(accepted());
        };
        let same = |p: &Provider| p.key == artifact.key && p.link_name == link_name;
        if state.providers.iter().any(same) {
            let words = match otp {
                true => "Provider is already running on this host",
                false => "provider is already running",
            };
            self.say_provider_failed(state, body, words);
            return Answer::now(match self.generation {
                otp if otp.is_otp() && otp >= Generation::Otp59 => {
                    refused("Provider with that link name is already running on this host")
                }
                _ => accepted(),
            });
        }
        if otp && image_ref.starts_with("file://") && body["configuration"].is_string() {
            state.hurt(
                "the configuration of a provider from a file is dropped \
                 (docs/hosts.md#otp-drops-configuration-from-files)",
            );
        }
        let provider = Provider {
            key: artifact.key.clone(),
            image_ref: image_ref.into(),
            name: artifact.name.clone(),
            contract_id: artifact.contract_id.clone(),
            revision: artifact.revision,
            link_name: link_name.into(),
            annotations: annotations(body),
        };
        self.know(state, &artifact, image_ref);
        self.say_provider_started(state, &provider, &artifact);
        state.providers.push(provider);
        Answer::now(accepted())
    }

    pub fn stop_provider(&self, body: Option<&Value>) -> Answer {
        let otp = self.generation.is_otp();
        let words = match otp {
            true => "Invalid JSON request for stop provider",
            false => "failed to deserialize provider stop command",
        };
        let Some(body) = body else {
            return Answer::now(refused(words));
        };
        let read = match otp {
            true => self.has(body, &["provider_ref", "link_name"]),
            false => ["provider_ref", "link_name"]
                .iter()
                .all(|name| body.get(*name).is_none_or(Value::is_string)),
        };
        if !read || (!otp && body.get("provider_ref").is_none()) {
            return Answer::now(refused(words));
        }
        let checks = otp && self.generation >= Generation::Otp60;
        let Some(key) = body["provider_ref"].as_str() else {
            // Later hosts count the letters of the key, and fail.
            return match checks {
                true => Answer::silence(),
                false => Answer::now(accepted()),
            };
        };
        if checks && key.chars().count() != 56 {
            return Answer::now(refused(words));
        }
        let link_name = body["link_name"].as_str().unwrap_or_default();
        let wanted = annotations(body);
        let state = &mut *self.state.lock().unwrap();
        let known = state.providers.iter().any(|p| p.key == key);
        let here = |p: &Provider| p.key == key && p.link_name == link_name;
        if !otp && known && !state.providers.iter().any(here) {
            return Answer::now(refused("provider with that link name is not running"));
        }
        let matches = |p: &Provider| here(p) && (otp || contains(&p.annotations, &wanted));
        let all = std::mem::take(&mut state.providers);
        let (stopped, left): (Vec<_>, Vec<_>) = all.into_iter().partition(matches);
        state.providers = left;
        for provider in &stopped {
            let data = self.provider_stopped(provider);
            state.say("provider_stopped", data);
        }
        let mut late = Duration::ZERO;
        if otp && !stopped.is_empty() {
            if self.mute.load(Ordering::Relaxed) {
                late += SHUTDOWN;
            }
            if self.generation <= Generation::Otp59 {
                late += AFTER_SHUTDOWN;
            }
            state.busy_until = Some(Instant::now() + late);
        }
        Answer::late(accepted(), late)
    }
}
