//! Actors on Rust 0.79.1 to 0.82.0, which keep a maximum for each annotation
//! set: a group. An entry of the table keeps the module that it was made with,
//! and instantiates that one whenever a number changes
//! (docs/hosts.md#rust-hosts-keep-old-code).

use serde_json::{Value, json};

use super::bodies::{accepted, refused};
use super::lattice::{Artifact, Fetched};
use super::orders::{Answer, Owed};
use super::running::{Annotations, Instance, annotations, contains};
use super::table::State;
use super::{Generation, Shared};

/// The count that means "without limit".
pub const UNBOUNDED: u64 = 65_535;

impl Shared {
    /// What a maximum weighs: "without limit" is less than every number
    /// (docs/hosts.md#count-without-limit).
    fn weight(&self, max: u64) -> u64 {
        match self.generation {
            Generation::G2b | Generation::G3a if max == UNBOUNDED => 0,
            _ => max,
        }
    }

    /// Returns the count of a scale. An absent count means "without limit", on
    /// 0.82 it means 0 (docs/hosts.md#missing-count-differs).
    fn maximum(&self, body: &Value) -> u64 {
        match (body["count"].as_u64(), self.generation) {
            (Some(count), _) => count,
            (None, Generation::G3b) => 0,
            (None, _) => UNBOUNDED,
        }
    }

    /// Carries out `la`, after the acknowledgement; failures are seen nowhere
    /// but for another reference (docs/hosts.md#failed-download-is-silent).
    pub fn launch_maximum(&self, state: &mut State, owed: &Owed) {
        let image_ref = owed.body["actor_ref"].as_str().unwrap_or_default();
        let count = owed.body["count"].as_u64().unwrap_or(0);
        let wanted = annotations(&owed.body);
        let Fetched::Module(artifact) = self.lattice.fetch(image_ref) else {
            return;
        };
        let group = state
            .actor(&artifact.key)
            .and_then(|a| a.instances.iter().find(|i| i.annotations == wanted));
        let mut max = count;
        if let Some(group) = group {
            if group.image_ref != image_ref {
                let error = other_reference(&group.image_ref);
                self.overtaken(state, &artifact.key, owed);
                let shown = json!(wanted);
                self.say_actors_start_failed(state, &artifact.key, image_ref, &shown, &error);
                return;
            }
            max = self.weight(group.max) + count;
        }
        self.scale_to(state, owed, &artifact, max.min(UNBOUNDED));
    }

    /// Carries out `scale`, after the acknowledgement.
    pub fn scale_maximum(&self, state: &mut State, owed: &Owed) {
        let image_ref = owed.body["actor_ref"].as_str().unwrap_or_default();
        // It fetches the image also for 0
        // (docs/hosts.md#scale-to-zero-needs-image), and a failure is in its
        // log only.
        if let Fetched::Module(artifact) = self.lattice.fetch(image_ref) {
            self.scale_to(state, owed, &artifact, self.maximum(&owed.body));
        }
    }

    fn scale_to(&self, state: &mut State, owed: &Owed, sent: &Artifact, max: u64) {
        let image_ref = owed.body["actor_ref"].as_str().unwrap_or_default();
        let wanted = annotations(&owed.body);
        let groups = state
            .actor(&sent.key)
            .map_or(Vec::new(), |a| a.instances.clone());
        let group = groups.iter().find(|i| i.annotations == wanted);
        let Some(group) = group else {
            if max > 0 {
                let new = self.group(state, sent, image_ref, &wanted, max);
                let stored = state.entry(sent, image_ref).stored.clone();
                self.say_actors_started(state, &stored, &[new], self.weight(max));
            }
            return;
        };
        if max == 0 {
            self.drop_group(state, &sent.key, &wanted);
            self.say_group_stopped(state, sent, group, (self.weight(group.max), 0));
            state.tidy();
            return;
        }
        let (now, then) = (self.weight(group.max), self.weight(max));
        if groups.iter().any(|i| i.image_ref != image_ref) {
            self.overtaken(state, &sent.key, owed);
            if then > now {
                let error = other_reference(&group.image_ref);
                if self.generation < Generation::G3b {
                    self.say_actor_start_failed(state, image_ref, &error);
                }
                let shown = json!(wanted);
                self.say_actors_start_failed(state, &sent.key, image_ref, &shown, &error);
                if self.generation == Generation::G3b {
                    let failed = (max, error.as_str());
                    self.say_scale_failed(state, &sent.key, image_ref, &wanted, failed);
                }
            }
            return;
        }
        if max == group.max {
            return;
        }
        self.drop_group(state, &sent.key, &wanted);
        let new = self.group(state, sent, image_ref, &wanted, max);
        match then > now {
            true => self.say_actors_started(state, sent, &[new], then - now),
            false => self.say_group_stopped(state, sent, group, (now - then, then)),
        }
    }

    /// Makes a group of the stored module under the reference that was sent.
    fn group(
        &self,
        state: &mut State,
        sent: &Artifact,
        image_ref: &str,
        wanted: &Annotations,
        max: u64,
    ) -> Instance {
        let fresh = state.actor(&sent.key).is_none();
        let stored = state.entry(sent, image_ref).stored.clone();
        if fresh {
            self.know(state, &stored, image_ref);
        }
        state.judge(&sent.key, stored.revision, sent);
        let new = Instance {
            id: state.instance_id(),
            annotations: wanted.clone(),
            odd: None,
            code: stored.revision,
            image_ref: image_ref.into(),
            max,
        };
        state.entry(sent, image_ref).instances.push(new.clone());
        new
    }

    fn drop_group(&self, state: &mut State, key: &str, wanted: &Annotations) {
        if let Some(actor) = state.actor(key) {
            actor.instances.retain(|i| i.annotations != *wanted);
        }
    }

    /// Notes a command that was lost to an update, which came after it and was
    /// carried out before it (docs/hosts.md#update-overtakes-scale).
    fn overtaken(&self, state: &mut State, key: &str, owed: &Owed) {
        if state.actor(key).is_some_and(|a| a.updated > owed.since) {
            state.hurt(
                "an update overtook an order that is lost now \
                 (docs/hosts.md#update-overtakes-scale)",
            );
        }
    }

    /// Answers `sa`: the actor leaves the table first, and what does not match
    /// is lost (docs/hosts.md#unmatched-stop-loses-actor,
    /// docs/hosts.md#partial-stop-loses-others).
    pub fn stop_maximum(&self, body: &Value) -> Answer {
        let key = body["actor_ref"].as_str().unwrap_or_default();
        let wanted = annotations(body);
        let state = &mut *self.state.lock().unwrap();
        let Some(at) = state.actors.iter().position(|a| a.key == key) else {
            return Answer::now(refused("actor is not running on this host"));
        };
        let actor = state.actors.remove(at);
        let (stop, lost): (Vec<_>, Vec<_>) = actor
            .instances
            .into_iter()
            .partition(|i| contains(&i.annotations, &wanted));
        for group in &stop {
            let numbers = (self.weight(group.max), 0);
            self.say_group_stopped(state, &actor.stored, group, numbers);
        }
        if !lost.is_empty() {
            let lost = lost.into_iter().map(|i| (actor.key.clone(), i));
            state.lost.extend(lost);
            state.hurt(
                "lost track of groups that run on \
                 (docs/hosts.md#unmatched-stop-loses-actor, \
                 docs/hosts.md#partial-stop-loses-others)",
            );
        }
        Answer::now(match stop.is_empty() {
            true => refused("no actors with matching annotations found to stop"),
            false => accepted(),
        })
    }

    /// Answers `upd`: other code for one group; the entry keeps its module
    /// (docs/hosts.md#rust-hosts-keep-old-code).
    pub fn update_maximum(&self, body: &Value) -> Answer {
        let key = body["actor_id"].as_str().unwrap_or_default();
        let image_ref = body["new_actor_ref"].as_str().unwrap_or_default();
        let wanted = annotations(body);
        let state = &mut *self.state.lock().unwrap();
        let Some(actor) = state.actor(key) else {
            return Answer::now(refused("actor not found"));
        };
        let old_module = actor.stored.clone();
        let group = actor.instances.iter().find(|i| i.annotations == wanted);
        let Some(old) = group.cloned() else {
            let words = "actor instance with matching annotations not found";
            return Answer::now(refused(words));
        };
        let Fetched::Module(artifact) = self.lattice.fetch(image_ref) else {
            return Answer::now(refused("failed to fetch actor"));
        };
        if artifact.key != key {
            state.hurt("an update put another actor's code in");
        }
        self.know(state, &artifact, image_ref);
        let new = Instance {
            id: state.instance_id(),
            code: artifact.revision,
            image_ref: image_ref.into(),
            ..old.clone()
        };
        self.drop_group(state, key, &wanted);
        let now = state.tick();
        if let Some(actor) = state.actor(key) {
            actor.instances.push(new.clone());
            actor.updated = now;
        }
        let count = self.weight(old.max);
        self.say_actors_started(state, &artifact, &[new], count);
        self.say_group_stopped(state, &old_module, &old, (count, count));
        Answer::now(accepted())
    }
}

fn other_reference(running: &str) -> String {
    format!("actor is already running with a different image reference `{running}`")
}
