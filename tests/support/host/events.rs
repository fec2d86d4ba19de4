//! What a host publishes, as docs/hosts.md#events says: of actors when an order
//! changes them, of itself when it starts and stops and every 30 s. Events of
//! links and health checks are left out: nothing is judged by them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::lattice::Artifact;
use super::running::{Annotations, Instance};
use super::table::{Provider, State};
use super::{Generation, Shared, SimHost};

/// Pause between heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

/// Something that a host publishes before it answers.
pub enum Said {
    /// An event with its data.
    Event(&'static str, Value),
    /// A value in the bucket.
    Stored(String, String),
}

impl State {
    /// Queues an event.
    pub fn say(&mut self, event: &'static str, data: Value) {
        self.said.push(Said::Event(event, data));
    }
}

impl SimHost {
    /// Sends a heartbeat now.
    pub async fn beat(&self) {
        self.shared.beat().await;
    }
}

// --- of actors ---

impl Shared {
    /// Queues the events of `count` more instances.
    pub fn say_actors_started(
        &self,
        state: &mut State,
        artifact: &Artifact,
        instances: &[Instance],
        count: u64,
    ) {
        let Some(first) = instances.first() else {
            return;
        };
        let claims = self.event_claims(artifact);
        if self.generation < Generation::G3b {
            // One event for each; an instance that stands for many repeats its
            // id.
            let times = match self.generation.counts_maximum() {
                true => count.min(1000) as usize,
                false => 1,
            };
            for instance in instances {
                let mut data = json!({
                    "public_key": artifact.key, "image_ref": instance.image_ref,
                    "api_version": "n/a", "instance_id": instance.id,
                    "annotations": instance.shown(self.generation), "claims": claims,
                });
                if self.generation.is_otp() && self.generation < Generation::G1b {
                    data["api_version"] = 1.into();
                }
                if !self.generation.keeps_annotations() {
                    data.as_object_mut().unwrap().remove("annotations");
                }
                for _ in 0..times {
                    if self.generation.is_otp() {
                        self.say_refmap(state, &instance.image_ref, &artifact.key);
                    }
                    state.say("actor_started", data.clone());
                }
            }
        }
        let mut data = json!({
            "public_key": artifact.key, "image_ref": first.image_ref,
            "annotations": first.shown(self.generation), "host_id": self.id, "claims": claims,
        });
        if self.generation >= Generation::G1b {
            let mut data = data.clone();
            data["count"] = count.into();
            state.say("actors_started", data);
        }
        if self.generation == Generation::G3b {
            data["max_instances"] = first.max.into();
            state.say("actor_scaled", data);
        }
    }

    /// OTP hosts remember the key behind a reference.
    pub fn say_refmap(&self, state: &mut State, image_ref: &str, key: &str) {
        let entry = json!({ "oci_url": image_ref, "public_key": key });
        state.say("refmap_set", entry);
    }

    /// Queues the event of a start that failed although the image was there.
    pub fn say_actors_start_failed(
        &self,
        state: &mut State,
        key: &str,
        image_ref: &str,
        annotations: &Value,
        error: &str,
    ) {
        if self.generation >= Generation::G1b {
            state.say(
                "actors_start_failed",
                json!({ "public_key": key, "image_ref": image_ref, "annotations": annotations,
                    "host_id": self.id, "error": error }),
            );
        }
    }

    /// Queues the event of a command that failed, for whatever reason.
    pub fn say_actor_start_failed(&self, state: &mut State, image_ref: &str, error: &str) {
        state.say(
            "actor_start_failed",
            json!({ "actor_ref": image_ref, "error": error }),
        );
    }

    /// Queues the event that 0.82 adds for a failed scale.
    pub fn say_scale_failed(
        &self,
        state: &mut State,
        key: &str,
        image_ref: &str,
        annotations: &Annotations,
        (max, error): (u64, &str),
    ) {
        state.say(
            "actor_scale_failed",
            json!({ "public_key": key, "image_ref": image_ref, "annotations": annotations,
                "host_id": self.id, "max_instances": max, "error": error }),
        );
    }

    /// Queues the event of one instance that stopped; on hosts that keep a
    /// maximum, of one of those that it stood for.
    pub fn say_actor_stopped(&self, state: &mut State, key: &str, instance: &Instance) {
        let mut data = json!({ "public_key": key, "instance_id": instance.id });
        if self.generation >= Generation::G1b {
            data["annotations"] = instance.shown(self.generation);
        }
        state.say("actor_stopped", data);
    }

    /// Queues the event of a command that stopped `count` instances and left
    /// `remaining`.
    pub fn say_actors_stopped(
        &self,
        state: &mut State,
        key: &str,
        annotations: &Annotations,
        (count, remaining): (i64, i64),
    ) {
        if self.generation >= Generation::G1b {
            state.say(
                "actors_stopped",
                json!({ "host_id": self.id, "public_key": key, "count": count,
                    "remaining": remaining, "annotations": annotations }),
            );
        }
    }

    /// Queues the events of a host with maximums that took `count` away from a
    /// group.
    pub fn say_group_stopped(
        &self,
        state: &mut State,
        artifact: &Artifact,
        group: &Instance,
        (count, remaining): (u64, u64),
    ) {
        if self.generation < Generation::G3b {
            for _ in 0..count.min(1000) {
                self.say_actor_stopped(state, &artifact.key, group);
            }
            let numbers = (count as i64, remaining as i64);
            self.say_actors_stopped(state, &artifact.key, &group.annotations, numbers);
            return;
        }
        let mut data = json!({
            "host_id": self.id, "public_key": artifact.key, "count": count,
            "remaining": remaining, "annotations": group.annotations,
            "image_ref": group.image_ref,
        });
        state.say("actors_stopped", data.clone());
        let members = data.as_object_mut().unwrap();
        members.remove("count");
        members.remove("remaining");
        data["claims"] = self.event_claims(artifact);
        // Real hosts tell the old maximum here.
        data["max_instances"] = group.max.into();
        state.say("actor_scaled", data);
    }

    /// Queues the event of an OTP host that put other code into an instance.
    pub fn say_actor_updated(&self, state: &mut State, key: &str, id: &str, revision: i64) {
        state.say(
            "actor_updated",
            json!({ "public_key": key, "revision": revision, "instance_id": id }),
        );
    }

    fn event_claims(&self, artifact: &Artifact) -> Value {
        let (not_before, expires) = match self.generation.is_otp() {
            true => ("immediately", "never"),
            false => ("TODO", "TODO"),
        };
        json!({
            "call_alias": artifact.call_alias, "issuer": self.lattice.issuer,
            "caps": ["wasmcloud:httpserver", "wasmcloud:latticecontrol"], "tags": ["t1"],
            "name": artifact.name, "version": artifact.version, "revision": artifact.revision,
            "not_before_human": not_before, "expires_human": expires,
        })
    }
}

// --- of providers ---

impl Shared {
    pub fn say_provider_started(
        &self,
        state: &mut State,
        provider: &Provider,
        artifact: &Artifact,
    ) {
        let claims = self.event_claims(artifact);
        let mut data = self.of_provider(provider);
        data["image_ref"] = provider.image_ref.clone().into();
        data["claims"] = json!({
            "issuer": claims["issuer"], "tags": null, "name": claims["name"],
            "version": claims["version"], "not_before_human": claims["not_before_human"],
            "expires_human": claims["expires_human"],
        });
        if self.generation.keeps_annotations() {
            data["annotations"] = json!(provider.annotations);
        }
        state.say("provider_started", data);
        if self.generation.is_otp() {
            self.say_refmap(state, &provider.image_ref, &provider.key);
        }
    }

    pub fn provider_stopped(&self, provider: &Provider) -> Value {
        let mut data = self.of_provider(provider);
        let reason = match self.generation.is_otp() {
            true => "normal",
            false => "stop",
        };
        data["reason"] = reason.into();
        if self.generation >= Generation::G1b {
            data["annotations"] = json!(provider.annotations);
        }
        data
    }

    fn of_provider(&self, provider: &Provider) -> Value {
        let mut data = json!({
            "public_key": provider.key, "link_name": provider.link_name,
            "contract_id": provider.contract_id,
            "instance_id": "5a0f6d0e-2c0a-4f0e-8d53-1a7fd6a7b0aa",
        });
        if !self.generation.is_otp() {
            data["host_id"] = self.id.clone().into();
        }
        data
    }

    pub fn say_provider_failed(&self, state: &mut State, body: &Value, error: &str) {
        state.say(
            "provider_start_failed",
            json!({ "provider_ref": body["provider_ref"], "link_name": body["link_name"],
                "error": error }),
        );
    }
}

// --- of itself ---

impl Shared {
    /// Sends heartbeats until the host ends. Up to OTP 0.59 the first one comes
    /// at once, on later hosts half a minute after the start.
    pub async fn beat_on(self: Arc<Self>) {
        if self.generation <= Generation::Otp59 {
            self.beat().await;
        }
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT_EVERY) => self.beat().await,
            }
        }
    }

    pub async fn beat(&self) {
        let body = self.heartbeat();
        self.publish("host_heartbeat", body).await;
    }

    pub async fn say_started(&self) {
        let mut body = json!({ "friendly_name": "silent-river-1021", "labels": self.labels });
        if self.generation >= Generation::G1b {
            body["uptime_seconds"] = 0.into();
            body["version"] = self.generation.version().into();
        }
        self.publish("host_started", body).await;
    }

    /// Queues the events of the host's own stop, `times` times.
    pub fn say_stopped(&self, state: &mut State, times: usize) {
        for _ in 0..times {
            state.say("host_stopped", json!({ "labels": self.labels }));
        }
    }

    fn heartbeat(&self) -> Value {
        if self.generation == Generation::G3b {
            return self.inventory();
        }
        let state = self.state.lock().unwrap();
        let mut body = json!({
            "friendly_name": "silent-river-1021", "labels": self.labels,
            "providers": state.providers.iter().map(|p| json!({
                "public_key": p.key, "link_name": p.link_name, "contract_id": p.contract_id,
            })).collect::<Vec<_>>(),
        });
        if self.generation <= Generation::Otp59 {
            body["actors"] = state
                .actors
                .iter()
                .flat_map(|actor| actor.instances.iter().map(move |i| (actor, i)))
                .map(|(actor, i)| json!({ "public_key": actor.key, "instance_id": i.id }))
                .collect();
            for provider in body["providers"].as_array_mut().unwrap() {
                provider["instance_id"] = "5a0f6d0e-2c0a-4f0e-8d53-1a7fd6a7b0aa".into();
            }
        } else {
            let counts = state.actors.iter().map(|actor| {
                let count: u64 = actor.instances.iter().map(|i| i.max).sum();
                (actor.key.clone(), count.into())
            });
            body["actors"] = Value::Object(counts.collect());
        }
        if self.generation > Generation::G1a {
            body["uptime_seconds"] = self.uptime().into();
            body["uptime_human"] = self.uptime_human().into();
            body["version"] = self.generation.version().into();
        }
        body
    }

    /// Publishes the queued events.
    pub async fn flush(&self) {
        let said = std::mem::take(&mut self.state.lock().unwrap().said);
        self.flushing.fetch_add(1, Ordering::Relaxed);
        for said in said {
            match said {
                Said::Event(event, data) => self.publish(event, data).await,
                Said::Stored(key, value) => self.lattice.write(&key, value.as_bytes()).await,
            }
        }
        self.flushing.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hosts from 0.81 on publish everything twice.
    pub async fn publish(&self, event: &str, data: Value) {
        let id = self.events.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "specversion": "1.0", "id": format!("b7a3c5b0-0000-4000-8000-{id:012x}"),
            "type": format!("com.wasmcloud.lattice.{event}"), "source": self.id,
            "datacontenttype": "application/json", "time": "2023-10-01T12:00:00.123456Z",
            "data": data,
        });
        let subject = format!("wasmbus.evt.{}", self.lattice.id);
        let client = &self.lattice.client;
        if self.generation.is_g3() {
            let with_name = format!("{subject}.{event}");
            let body = body.to_string().into();
            client.publish(with_name, body).await.unwrap();
        }
        let body = body.to_string().into();
        client.publish(subject, body).await.unwrap();
    }
}
