//! Actors on OTP hosts: one process for each instance, in the order in which
//! they were started, and one subscription for the calls of an actor. See
//! docs/hosts.md#which-command-does-what.

use std::time::Duration;

use serde_json::{Value, json};

use super::bodies::{accepted, refused};
use super::lattice::Fetched;
use super::orders::{Answer, Owed};
use super::running::{Annotations, Instance, annotations, contains};
use super::table::State;
use super::{Generation, Shared};

/// Why nothing was started.
enum Failure {
    /// With a reason, which an event repeats.
    Told(String),
    /// The task died, and nothing is published.
    Died,
}

impl Shared {
    /// Returns whether a request has all of these members. Old hosts take null
    /// for a value.
    pub fn has(&self, body: &Value, members: &[&str]) -> bool {
        members.iter().all(|member| match body.get(member) {
            None => false,
            Some(_) if self.generation <= Generation::G1a => true,
            Some(value) => !value.is_null() && *value != Value::Bool(false),
        })
    }

    /// Takes a command about actors; `None` where it is acknowledged and
    /// carried out later.
    pub fn otp_order(&self, verb: &str, body: Option<&Value>) -> Option<Answer> {
        let refuse = |words: &str| Some(Answer::now(refused(words)));
        let Some(body) = body else {
            return match verb {
                "la" => refuse("Invalid launch actor JSON request"),
                "scale" => refuse("Invalid scale actor JSON request"),
                "sa" => refuse("Invalid request to stop actor"),
                // Their error path raises
                // (docs/hosts.md#unreadable-command-has-no-answer).
                _ if self.generation < Generation::Otp60 => Some(Answer::silence()),
                _ => refuse("Invalid JSON request to update actor"),
            };
        };
        if !body.is_object() {
            return Some(Answer::silence());
        }
        match verb {
            "la" if body["actor_ref"].is_null() => refuse("Invalid launch actor JSON request"),
            "scale" => {
                let count = match self.generation {
                    Generation::Otp51 => "replicas",
                    _ => "count",
                };
                match self.has(body, &["actor_id", "actor_ref", count]) {
                    true => None,
                    false => refuse("Invalid scale actor JSON request"),
                }
            }
            "sa" if self.has(body, &["actor_ref", "count"]) => Some(self.otp_stop(body)),
            "sa" => refuse("Invalid request to stop actor"),
            "upd" if self.has(body, &["new_actor_ref"]) => Some(self.otp_update(body)),
            "upd" => refuse("Invalid JSON request to update actor"),
            _ => None,
        }
    }

    /// Carries out `la` and `scale`, after the acknowledgement.
    pub fn otp_carry_out(&self, state: &mut State, owed: &Owed) {
        let body = &owed.body;
        match owed.verb.as_str() {
            "la" => {
                let count = match (body.get("count"), self.generation) {
                    (None, _) => Some(1),
                    // It starts one, whatever the command says
                    // (docs/hosts.md#old-hosts-take-other-commands).
                    (Some(_), Generation::Otp51) => {
                        if body["count"] != 1 {
                            state.hurt(
                                "a host that reads no counts was given one \
                                 (docs/hosts.md#old-hosts-take-other-commands)",
                            );
                        }
                        Some(1)
                    }
                    (Some(count), _) => count.as_i64(),
                };
                let started =
                    self.otp_start(state, &body["actor_ref"], count, &body["annotations"]);
                if let Err(Failure::Told(error)) = started {
                    let image_ref = body["actor_ref"].as_str().unwrap_or_default();
                    self.say_actor_start_failed(state, image_ref, &error);
                }
            }
            _ => self.otp_scale(state, body),
        }
    }

    fn otp_scale(&self, state: &mut State, body: &Value) {
        let count = match self.generation {
            Generation::Otp51 => body["replicas"].as_str().and_then(|n| n.parse().ok()),
            _ => body["count"].as_i64(),
        };
        let (Some(key), Some(count)) = (body["actor_id"].as_str(), count) else {
            // The task dies of a count that is not a number
            // (docs/hosts.md#counts-are-not-checked-on-otp).
            return;
        };
        let instances = state.actor(key).map_or(&[][..], |a| &a.instances);
        let running = instances.len() as i64;
        let mut image_ref = body["actor_ref"].clone();
        if image_ref == "" {
            // It takes the reference of what runs.
            image_ref = match instances.first() {
                Some(first) => first.image_ref.clone().into(),
                None => return,
            };
        }
        if count < 0 {
            state.hurt(
                "a negative count stopped everything \
                 (docs/hosts.md#counts-are-not-checked-on-otp)",
            );
        }
        if count < running {
            self.otp_terminate(state, key, (running - count) as u64, &Annotations::new());
        } else if count > running {
            let text = image_ref.as_str().unwrap_or_default();
            if let Fetched::Module(module) = self.lattice.fetch(text)
                && module.key != key
            {
                state.hurt(
                    "a scale started another actor \
                     (docs/hosts.md#scale-starts-the-references-actor)",
                );
            }
            // It looks at no annotations
            // (docs/hosts.md#scale-without-annotations-on-otp), and tells
            // nobody that it failed.
            let _ = self.otp_start(state, &image_ref, Some(count - running), &Value::Null);
        }
    }

    fn otp_start(
        &self,
        state: &mut State,
        image_ref: &Value,
        count: Option<i64>,
        notes: &Value,
    ) -> Result<(), Failure> {
        let Some(image_ref) = image_ref.as_str() else {
            return Err(Failure::Died);
        };
        if state.has_null_credentials(image_ref) {
            return Err(Failure::Died);
        }
        let shown = match notes {
            Value::Null | Value::Bool(false) => json!({}),
            notes => notes.clone(),
        };
        let artifact = match self.lattice.fetch(image_ref) {
            Fetched::Module(artifact) => artifact,
            Fetched::Missing => return Err(Failure::Told("Failed to fetch OCI bytes".into())),
            Fetched::Unsigned => {
                let error = "No claims found in source module";
                self.say_actors_start_failed(state, "N/A", image_ref, &shown, error);
                return Err(Failure::Told(error.into()));
            }
        };
        let other = |i: &Instance| i.image_ref != image_ref;
        if state
            .actor(&artifact.key)
            .is_some_and(|a| a.instances.iter().any(other))
        {
            let error = format!(
                "Cannot start new instance of {} from ref '{image_ref}', it is already running \
                 with different reference. To upgrade an actor, use live update.",
                artifact.key
            );
            self.say_actors_start_failed(state, &artifact.key, image_ref, &shown, &error);
            return Err(Failure::Told(error));
        }
        let Some(count) = count else {
            return Err(Failure::Died);
        };
        if count < 0 {
            state.hurt(
                "a negative count started instances \
                 (docs/hosts.md#counts-are-not-checked-on-otp)",
            );
        }
        // A range counts down, too: `1..0` has two members
        // (docs/hosts.md#count-zero-is-not-one).
        let count = if count > 0 { count } else { 2 - count };
        let odd = (!shown
            .as_object()
            .is_some_and(|o| o.values().all(Value::is_string)))
        .then(|| shown.clone())
        .filter(|_| self.generation.keeps_annotations());
        if odd.as_ref().is_some_and(|odd| !odd.is_object()) {
            state.hurt(
                "annotations that are none poisoned an actor \
                 (docs/hosts.md#odd-annotations-poison-an-actor)",
            );
        }
        let annotations = annotations(&json!({ "annotations": shown }));
        state.judge(&artifact.key, artifact.revision, &artifact);
        state.subscribe(&artifact.key);
        let started: Vec<Instance> = (0..count.min(1000))
            .map(|_| Instance {
                id: state.instance_id(),
                annotations: annotations.clone(),
                odd: odd.clone(),
                code: artifact.revision,
                image_ref: image_ref.into(),
                max: 1,
            })
            .collect();
        let entry = state.entry(&artifact, image_ref);
        entry.instances.extend(started.iter().cloned());
        self.know(state, &artifact, image_ref);
        self.say_actors_started(state, &artifact, &started, started.len() as u64);
        Ok(())
    }

    /// Answers `sa` (docs/hosts.md#stopping-some-on-otp-hosts).
    fn otp_stop(&self, body: &Value) -> Answer {
        let (Some(key), Some(count)) = (body["actor_ref"].as_str(), body["count"].as_u64()) else {
            return Answer::silence();
        };
        let wanted = match self.generation.keeps_annotations() {
            true => annotations(body),
            false => Annotations::new(),
        };
        let mut state = self.state.lock().unwrap();
        match self.otp_terminate(&mut state, key, count, &wanted) {
            Some(late) => Answer::late(accepted(), late),
            None => Answer::silence(),
        }
    }

    /// Stops instances, 0 for all, and returns how long that takes, or nothing
    /// where it fails on a poisoned instance
    /// (docs/hosts.md#odd-annotations-poison-an-actor).
    fn otp_terminate(
        &self,
        state: &mut State,
        key: &str,
        count: u64,
        wanted: &Annotations,
    ) -> Option<Duration> {
        let instances = state.actor(key).map_or(Vec::new(), |a| a.instances.clone());
        let fits = |i: &&Instance| contains(&i.annotations, wanted);
        let counted = match self.generation >= Generation::Otp60 {
            // It takes the oldest first and stops those of them that match.
            true => instances.len() as i64,
            false => instances.iter().filter(fits).count() as i64,
        };
        let take = if count == 0 {
            usize::MAX
        } else {
            count as usize
        };
        let mut failed = instances.iter().take(take).any(Instance::is_poisoned);
        let stopped: Vec<Instance> = match self.generation >= Generation::Otp60 {
            true => {
                let taken = instances.iter().take(take);
                let sound = taken.take_while(|i| !i.is_poisoned());
                sound.filter(fits).cloned().collect()
            }
            false => {
                failed = instances.iter().any(Instance::is_poisoned);
                let all = if failed { &[] } else { instances.as_slice() };
                all.iter().filter(fits).take(take).cloned().collect()
            }
        };
        for instance in &stopped {
            self.say_actor_stopped(state, key, instance);
        }
        if let Some(actor) = state.actor(key) {
            let ids: Vec<_> = stopped.iter().map(|i| &i.id).collect();
            actor.instances.retain(|i| !ids.contains(&&i.id));
        }
        if failed {
            state.tidy();
            return None;
        }
        let remaining = counted - count as i64;
        if count > 0 {
            self.say_actors_stopped(state, key, wanted, (count as i64, remaining));
        }
        let mut late = Duration::ZERO;
        if self.generation.ends_subscriptions() && (count == 0 || remaining <= 0) {
            late = state.unsubscribe(key);
        }
        state.tidy();
        Some(late)
    }

    /// Answers `upd`.
    fn otp_update(&self, body: &Value) -> Answer {
        let image_ref = body["new_actor_ref"].as_str().unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        let fetched = match state.has_null_credentials(image_ref) {
            true => Fetched::Missing,
            false => self.lattice.fetch(image_ref),
        };
        // It raises where the download fails or the image has no claims
        // (docs/hosts.md#failed-update-has-no-answer-on-otp).
        let Fetched::Module(artifact) = fetched else {
            return Answer::silence();
        };
        // Claims in the lattice are enough: the actor need not run here.
        let known = self.lattice.known_revision(&artifact.key);
        if known.is_none_or(|known| artifact.revision <= known) {
            return Answer::now(refused("Unable to perform live update: error"));
        }
        self.know(&mut state, &artifact, image_ref);
        self.say_refmap(&mut state, image_ref, &artifact.key);
        let relabels = self.generation <= Generation::G1a;
        let mut updated = Vec::new();
        if let Some(actor) = state.actor(&artifact.key) {
            for instance in &mut actor.instances {
                instance.code = artifact.revision;
                if relabels {
                    instance.image_ref = image_ref.into();
                }
                updated.push(instance.id.clone());
            }
            if relabels {
                actor.image_ref = image_ref.into();
            }
        }
        for id in updated {
            self.say_actor_updated(&mut state, &artifact.key, &id, artifact.revision);
        }
        Answer::now(accepted())
    }
}

impl State {
    /// Returns whether its credentials for this reference's registry break
    /// every download from there
    /// (docs/hosts.md#null-credentials-break-downloads).
    fn has_null_credentials(&self, image_ref: &str) -> bool {
        let registry = image_ref.split('/').next().unwrap_or_default();
        let Some(entry) = self.registries.get(registry) else {
            return false;
        };
        let null = |member: &str| entry.get(member).is_some_and(Value::is_null);
        null("username") || null("password")
    }
}
