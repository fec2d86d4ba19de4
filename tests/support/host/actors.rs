//! Starting, scaling, stopping and updating actors, as each generation does it.

use serde_json::Value;

use super::bodies::{accepted, refused};
use super::lattice::Artifact;
use super::state::{Actor, Annotations, Instance, State, annotations, contains};
use super::{Generation, Shared};

/// "Without limit" on hosts that keep a maximum.
pub const UNBOUNDED: u64 = 65_535;

impl Shared {
    /// 1.8
    pub fn start_actor(&self, body: &Value) -> Value {
        let otp = self.generation.is_otp();
        let image_ref = match &body["actor_ref"] {
            Value::String(text) => text.as_str(),
            Value::Null if !otp && body.get("actor_ref").is_none() => "",
            _ if otp => return refused("Invalid launch actor JSON request"),
            _ => return refused("failed to deserialize actor launch command"),
        };
        let count = match body["count"].as_u64().unwrap_or(u64::from(otp)) {
            // `1..0` counts down on OTP (T20).
            0 if otp => 2,
            count => count,
        };
        // A failed download shows in events only.
        if let (Some(artifact), true) = (self.lattice.artifact(image_ref), count > 0) {
            let mut state = self.state.lock().unwrap();
            self.ensure(&mut state, &artifact, image_ref);
            self.add(&mut state, &artifact.key, annotations(body), count);
        }
        accepted()
    }

    fn ensure(&self, state: &mut State, artifact: &Artifact, image_ref: &str) {
        if state.actor(&artifact.key).is_none() {
            state.actors.push(Actor {
                key: artifact.key.clone(),
                image_ref: image_ref.into(),
                name: artifact.name.clone(),
                revision: artifact.revision,
                instances: Vec::new(),
            });
        }
    }

    fn add(&self, state: &mut State, key: &str, annotations: Annotations, count: u64) {
        let new_ids: Vec<String> = (0..count.min(1000)).map(|_| state.instance_id()).collect();
        let Some(actor) = state.actor(key) else {
            return;
        };
        let (revision, image_ref) = (actor.revision, actor.image_ref.clone());
        if self.generation.counts_maximum() {
            let same = |instance: &&mut Instance| instance.annotations == annotations;
            if let Some(instance) = actor.instances.iter_mut().find(same) {
                // "Unbounded" counts as 0, and too much becomes unbounded.
                let now = if instance.max == UNBOUNDED {
                    0
                } else {
                    instance.max
                };
                instance.max = (now + count).min(UNBOUNDED);
            } else if let Some(id) = new_ids.into_iter().next() {
                actor.instances.push(Instance {
                    id,
                    annotations,
                    revision,
                    max: count,
                    image_ref,
                });
            }
        } else {
            actor
                .instances
                .extend(new_ids.into_iter().map(|id| Instance {
                    id,
                    annotations: annotations.clone(),
                    revision,
                    max: 1,
                    image_ref: image_ref.clone(),
                }));
        }
    }

    /// 1.7; no answer where it ends the host's control interface.
    pub fn scale_actor(&self, body: &Value) -> Option<Value> {
        let image_ref = body["actor_ref"].as_str().unwrap_or_default();
        let otp = self.generation.is_otp();
        let bad = Some(refused("failed to deserialize actor scale command"));
        let count = match (&body["count"], self.generation) {
            (Value::Number(count), _) => count.as_u64()?,
            _ if otp => return Some(refused("Invalid scale actor JSON request")),
            // Missing or null is "without limit" (T21).
            (_, Generation::G2b | Generation::G3a) => UNBOUNDED,
            _ if body.get("count").is_some() => return bad,
            _ => 0,
        };
        if otp && body["actor_id"].is_null() {
            return Some(refused("Invalid scale actor JSON request"));
        }
        let Some(artifact) = self.lattice.artifact(image_ref) else {
            return Some(match self.generation {
                Generation::G2a => refused("failed to fetch actor"),
                _ => accepted(),
            });
        };
        let wanted = match otp {
            true => Annotations::new(),
            false => annotations(body),
        };
        let mut state = self.state.lock().unwrap();
        self.ensure(&mut state, &artifact, image_ref);
        match self.generation.counts_maximum() {
            true => self.scale_maximum(&mut state, &artifact.key, image_ref, wanted, count),
            false => self.scale_instances(&mut state, &artifact.key, wanted, count),
        }
        state.tidy();
        (!state.crashed).then(accepted)
    }

    fn scale_maximum(
        &self,
        state: &mut State,
        key: &str,
        image_ref: &str,
        wanted: Annotations,
        count: u64,
    ) {
        if let Some(actor) = state.actor(key) {
            let same = |i: &Instance| i.annotations == wanted;
            let other = actor.instances.iter().any(|i| i.image_ref != image_ref);
            if count > 0 && other && actor.instances.iter().any(same) {
                // Another reference: an event says that it failed.
                return;
            }
            actor.instances.retain(|i| !same(i));
        }
        if count > 0 {
            self.add(state, key, wanted, count);
        }
    }

    fn scale_instances(&self, state: &mut State, key: &str, wanted: Annotations, count: u64) {
        let otp = self.generation.is_otp();
        let Some(actor) = state.actor(key) else {
            return;
        };
        let fits = |i: &Instance| otp || contains(&i.annotations, &wanted);
        let running = actor.instances.iter().filter(|i| fits(i)).count() as u64;
        let mut sets: Vec<&Annotations> = Vec::new();
        for instance in actor.instances.iter().filter(|i| fits(i)) {
            if !sets.contains(&&instance.annotations) {
                sets.push(&instance.annotations);
            }
        }
        if count < running && sets.len() > 1 && !otp {
            state.crash("scaled down over several sets of annotations (T3)");
        } else if count > running {
            self.add(state, key, wanted, count - running);
        } else {
            let mut surplus = running - count;
            actor.instances.retain(|instance| {
                let stop = surplus > 0 && fits(instance);
                surplus -= u64::from(stop);
                !stop
            });
        }
    }

    /// 1.14; no answer where it ends the host's control interface.
    pub fn stop_actor(&self, body: &Value) -> Option<Value> {
        let key = body["actor_ref"].as_str().unwrap_or_default().to_owned();
        let mut wanted = annotations(body);
        let mut state = self.state.lock().unwrap();
        let count = body["count"].as_u64();
        if self.generation.is_otp() && (count.is_none() || key.is_empty()) {
            return Some(refused("Invalid request to stop actor"));
        }
        if self.generation == Generation::G1a {
            // OTP looks at annotations from 0.55.1 on.
            wanted.clear();
        }
        let count = count.unwrap_or(0) as usize;
        let Some(actor) = state.actor(&key) else {
            return Some(match self.generation.counts_maximum() {
                true => refused("actor is not running on this host"),
                false => accepted(),
            });
        };
        match self.generation {
            Generation::G1a | Generation::G1b => {
                let take = if count == 0 { usize::MAX } else { count };
                let mut seen = 0;
                actor.instances.retain(|instance| {
                    seen += 1;
                    seen > take || !contains(&instance.annotations, &wanted)
                });
            }
            Generation::G2a if count == 0 => actor.instances.clear(),
            Generation::G2a => {
                let group = |i: &&Instance| i.annotations == wanted;
                let running = actor.instances.iter().filter(group).count();
                // The real host answered a group that is not there at all.
                if running > 0 && count > running {
                    state.crash("told to stop more instances than a group has (T3)");
                    return None;
                }
                let mut left = count;
                actor.instances.retain(|instance| {
                    let stop = left > 0 && instance.annotations == wanted;
                    left -= usize::from(stop);
                    !stop
                });
            }
            Generation::G2b | Generation::G3a | Generation::G3b => {
                let before = actor.instances.len();
                actor
                    .instances
                    .retain(|i| !contains(&i.annotations, &wanted));
                if actor.instances.len() == before {
                    // It runs on, and is gone from the inventory (T29).
                    actor.instances.clear();
                    state.tidy();
                    state.harm = Some("lost track of an actor that runs on (T29)");
                    return Some(refused("no actors with matching annotations found to stop"));
                }
            }
        }
        state.tidy();
        Some(accepted())
    }

    /// 1.11
    pub fn update_actor(&self, body: &Value) -> Option<Value> {
        let otp = self.generation.is_otp();
        let image_ref = body["new_actor_ref"].as_str().unwrap_or_default();
        let artifact = self.lattice.artifact(image_ref);
        let mut state = self.state.lock().unwrap();
        let key = match (&artifact, otp) {
            (Some(artifact), true) => artifact.key.clone(),
            // OTP raises when the download fails, and answers nothing (T23).
            (None, true) => return None,
            (_, false) => body["actor_id"].as_str().unwrap_or_default().to_owned(),
        };
        let Some(actor) = state.actor(&key) else {
            return Some(match otp {
                true => refused("Unable to perform live update: error"),
                false => refused("actor not found"),
            });
        };
        let Some(artifact) = artifact else {
            return Some(refused("failed to fetch actor"));
        };
        if otp && artifact.revision <= actor.revision {
            return Some(refused("Unable to perform live update: error"));
        }
        let wanted = annotations(body);
        let chosen = |i: &Instance| otp || i.annotations == wanted;
        if !actor.instances.iter().any(chosen) {
            return Some(refused(
                "actor instance with matching annotations not found",
            ));
        }
        actor.image_ref = image_ref.into();
        actor.revision = artifact.revision;
        for instance in actor.instances.iter_mut().filter(|i| chosen(i)) {
            instance.revision = artifact.revision;
            instance.image_ref = image_ref.into();
        }
        Some(accepted())
    }
}
