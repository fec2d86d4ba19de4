//! Actors on Rust 0.78.0 and 0.79.0, which count instances: the inventory tells
//! each instance's own revision, and the reference of the first start.

use serde_json::Value;

use super::Shared;
use super::bodies::{accepted, refused};
use super::lattice::{Artifact, Fetched};
use super::orders::{Answer, Owed};
use super::running::{Annotations, Instance, annotations, contains};
use super::table::State;

impl Shared {
    /// Starts so many instances of the stored module.
    fn instantiate(
        &self,
        state: &mut State,
        sent: &Artifact,
        image_ref: &str,
        annotations: &Annotations,
        count: u64,
    ) {
        let fresh = state.actor(&sent.key).is_none();
        let stored = state.entry(sent, image_ref).stored.clone();
        if fresh {
            self.know(state, &stored, image_ref);
        }
        state.judge(&stored.key, stored.revision, sent);
        let started: Vec<Instance> = (0..count.min(1000))
            .map(|_| Instance {
                id: state.instance_id(),
                annotations: annotations.clone(),
                odd: None,
                code: stored.revision,
                image_ref: image_ref.into(),
                max: 1,
            })
            .collect();
        let entry = state.entry(sent, image_ref);
        entry.instances.extend(started.iter().cloned());
        self.say_actors_started(state, &stored, &started, count);
    }

    /// Returns why this reference cannot be started beside what runs.
    fn other_reference(
        &self,
        state: &mut State,
        sent: &Artifact,
        image_ref: &str,
        wanted: &Annotations,
    ) -> Option<String> {
        let running = state.actor(&sent.key)?.image_ref.clone();
        (running != image_ref).then(|| {
            let error =
                format!("actor is already running with a different image reference `{running}`");
            let shown = serde_json::json!(wanted);
            self.say_actors_start_failed(state, &sent.key, image_ref, &shown, &error);
            error
        })
    }

    /// Carries out `la`, after the acknowledgement.
    pub fn launch_instances(&self, state: &mut State, owed: &Owed) {
        let image_ref = owed.body["actor_ref"].as_str().unwrap_or_default();
        let wanted = annotations(&owed.body);
        let count = owed.body["count"].as_u64().unwrap_or(0);
        let failed = match self.lattice.fetch(image_ref) {
            Fetched::Module(artifact) if count == 0 => {
                // It imitates OTP hosts in its event, and starts nothing.
                let data = serde_json::json!({ "public_key": artifact.key, "count": 0,
                    "image_ref": image_ref, "annotations": wanted, "host_id": self.id });
                state.say("actors_started", data);
                None
            }
            Fetched::Module(artifact) => {
                let failed = self.other_reference(state, &artifact, image_ref, &wanted);
                if failed.is_none() {
                    self.instantiate(state, &artifact, image_ref, &wanted, count);
                }
                failed
            }
            _ => Some("failed to fetch actor".into()),
        };
        if let Some(error) = failed {
            self.say_actor_start_failed(state, image_ref, &error);
        }
    }

    /// Carries out `scale`; it blocks the host until it is done, and is
    /// answered then (docs/hosts.md#one-command-at-a-time).
    pub fn scale_instances(&self, body: &Value) -> Answer {
        let image_ref = body["actor_ref"].as_str().unwrap_or_default();
        let Fetched::Module(artifact) = self.lattice.fetch(image_ref) else {
            // Also for 0 (docs/hosts.md#scale-to-zero-needs-image).
            return Answer::now(refused("failed to fetch actor"));
        };
        let (count, wanted) = (body["count"].as_u64().unwrap_or(0), annotations(body));
        let state = &mut *self.state.lock().unwrap();
        if let Some(error) = self.other_reference(state, &artifact, image_ref, &wanted) {
            return Answer::now(refused(&error));
        }
        let fits = |i: &&Instance| contains(&i.annotations, &wanted);
        let instances = state
            .actor(&artifact.key)
            .map_or(Vec::new(), |a| a.instances.clone());
        let running = instances.iter().filter(fits).count() as u64;
        if count > running {
            self.instantiate(state, &artifact, image_ref, &wanted, count - running);
            return Answer::now(accepted());
        }
        // It takes the whole surplus from the first group that it meets, in no
        // fixed order, and panics where that group has fewer.
        let surplus = (running - count) as usize;
        let group = |of: &Instance| {
            let same = instances.iter().filter(|i| i.annotations == of.annotations);
            same.count()
        };
        if instances.iter().filter(fits).any(|i| group(i) < surplus) {
            state.crash(
                "scaled down over several sets of annotations \
                 (docs/hosts.md#too-large-stop-ends-control)",
            );
            return Answer::silence();
        }
        let first = instances.iter().find(fits).map(|i| i.annotations.clone());
        let stop = instances
            .iter()
            .filter(|i| Some(&i.annotations) == first.as_ref());
        let stop: Vec<Instance> = stop.take(surplus).cloned().collect();
        self.end(state, &artifact.key, &stop);
        if !stop.is_empty() {
            let numbers = (stop.len() as i64, count as i64);
            self.say_actors_stopped(state, &artifact.key, &wanted, numbers);
        }
        state.tidy();
        Answer::now(accepted())
    }

    fn end(&self, state: &mut State, key: &str, stop: &[Instance]) {
        for instance in stop {
            self.say_actor_stopped(state, key, instance);
        }
        if let Some(actor) = state.actor(key) {
            actor
                .instances
                .retain(|i| stop.iter().all(|s| s.id != i.id));
        }
    }

    /// Answers `sa` (docs/hosts.md#stopping-some-on-otp-hosts).
    pub fn stop_instances(&self, body: &Value) -> Answer {
        let key = body["actor_ref"].as_str().unwrap_or_default();
        let (count, wanted) = (body["count"].as_u64().unwrap_or(0), annotations(body));
        let state = &mut *self.state.lock().unwrap();
        let Some(actor) = state.actor(key) else {
            return Answer::now(accepted());
        };
        let instances = actor.instances.clone();
        if count == 0 {
            // It stops all of them, whatever their annotations are.
            self.end(state, key, &instances);
            let mut told: Vec<&Annotations> = Vec::new();
            for instance in &instances {
                if !told.contains(&&instance.annotations) {
                    told.push(&instance.annotations);
                    let same = |i: &&Instance| i.annotations == instance.annotations;
                    let numbers = (instances.iter().filter(same).count() as i64, 0);
                    self.say_actors_stopped(state, key, &instance.annotations, numbers);
                }
            }
            state.tidy();
            return Answer::now(accepted());
        }
        let group = instances.iter().filter(|i| i.annotations == wanted);
        let group: Vec<Instance> = group.cloned().collect();
        // This is what the real host answered for a group that does not exist.
        if !group.is_empty() && count as usize > group.len() {
            state.crash(
                "told to stop more instances than a group has \
                 (docs/hosts.md#too-large-stop-ends-control)",
            );
            return Answer::silence();
        }
        if !group.is_empty() {
            self.end(state, key, &group[..count as usize]);
            let numbers = (count as i64, group.len() as i64 - count as i64);
            self.say_actors_stopped(state, key, &wanted, numbers);
        }
        state.tidy();
        Answer::now(accepted())
    }

    /// Answers `upd`; the entry keeps its module and its reference
    /// (docs/hosts.md#rust-hosts-keep-old-code).
    pub fn update_instances(&self, body: &Value) -> Answer {
        let key = body["actor_id"].as_str().unwrap_or_default();
        let image_ref = body["new_actor_ref"].as_str().unwrap_or_default();
        let wanted = annotations(body);
        let state = &mut *self.state.lock().unwrap();
        let Some(actor) = state.actor(key) else {
            return Answer::now(refused("actor not found"));
        };
        let old = actor.instances.iter().filter(|i| i.annotations == wanted);
        let old: Vec<Instance> = old.cloned().collect();
        if old.is_empty() {
            let words = "actor instances with matching annotations not found";
            return Answer::now(refused(words));
        }
        let Fetched::Module(artifact) = self.lattice.fetch(image_ref) else {
            return Answer::now(refused("failed to fetch actor"));
        };
        if artifact.key != key {
            state.hurt("an update put another actor's code in");
        }
        self.know(state, &artifact, image_ref);
        self.end(state, key, &old);
        self.say_actors_stopped(state, key, &wanted, (old.len() as i64, 0));
        let mut new = old;
        for instance in &mut new {
            instance.id = state.instance_id();
            instance.code = artifact.revision;
            // The inventory has that of the entry, not this one.
            instance.image_ref = image_ref.into();
        }
        let now = state.tick();
        if let Some(actor) = state.actor(key) {
            actor.instances.extend(new.iter().cloned());
            actor.updated = now;
        }
        self.say_actors_started(state, &artifact, &new, new.len() as u64);
        Answer::now(accepted())
    }
}
