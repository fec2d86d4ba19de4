//! What one host keeps: its table of actors, which is what its inventory tells,
//! apart from the instances that it lost and that run on; its providers; and
//! its subscriptions for calls.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::events::Said;
use super::lattice::Artifact;
use super::running::{Annotations, Instance, Running};

/// How long an OTP host takes to end a subscription for calls (T39).
pub const UNSUBSCRIBING: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct State {
    /// The table.
    pub actors: Vec<Actor>,
    /// Instances that run on while no table has them, each with its actor's key.
    pub lost: Vec<(String, Instance)>,
    pub providers: Vec<Provider>,
    /// Registries it has credentials for.
    pub registries: BTreeMap<String, Value>,
    /// What it has to publish before it answers.
    pub said: Vec<Said>,
    /// Its providers are told to stop: inventories wait until then.
    pub busy_until: Option<Instant>,
    /// What a request did to it that no request should.
    pub harm: Option<&'static str>,
    /// Its control interface is gone.
    pub crashed: bool,
    /// It was told to stop.
    pub stopped: bool,
    /// How long what runs there gets to end, where the host looks at that.
    pub ends_within: Option<Duration>,
    subscriptions: BTreeMap<String, Subscription>,
    next: u64,
}

/// An actor in the table.
pub struct Actor {
    pub key: String,
    pub image_ref: String,
    /// The module that later scales and starts instantiate (T40).
    pub stored: Artifact,
    pub instances: Vec<Instance>,
    /// When it was updated last, on the host's count of what it did.
    pub updated: u64,
}

pub struct Provider {
    pub key: String,
    pub image_ref: String,
    pub name: String,
    pub contract_id: String,
    pub revision: i64,
    pub link_name: String,
    pub annotations: Annotations,
    pub configuration: Option<String>,
}

/// Of an OTP host, for the calls of one actor (T38, T39).
enum Subscription {
    There,
    /// It hears nothing more already.
    EndsAt(Instant),
}

impl State {
    /// Whether it answers nothing more.
    pub fn ended(&self) -> bool {
        self.crashed || self.stopped
    }

    /// A request did harm; the first one counts.
    pub fn hurt(&mut self, harm: &'static str) {
        self.harm.get_or_insert(harm);
    }

    /// A request ends its control interface.
    pub fn crash(&mut self, harm: &'static str) {
        self.hurt(harm);
        self.crashed = true;
    }

    /// The actor with this key.
    pub fn actor(&mut self, key: &str) -> Option<&mut Actor> {
        self.actors.iter_mut().find(|actor| actor.key == key)
    }

    /// The actor with this key, put into the table if need be.
    pub fn entry(&mut self, artifact: &Artifact, image_ref: &str) -> &mut Actor {
        let at = self.actors.iter().position(|a| a.key == artifact.key);
        let at = at.unwrap_or_else(|| {
            self.actors.push(Actor {
                key: artifact.key.clone(),
                image_ref: image_ref.into(),
                stored: artifact.clone(),
                instances: Vec::new(),
                updated: 0,
            });
            self.actors.len() - 1
        });
        &mut self.actors[at]
    }

    /// Forgets actors without instances.
    pub fn tidy(&mut self) {
        self.actors.retain(|actor| !actor.instances.is_empty());
    }

    /// Looks whether what is about to start runs what its label says, and what
    /// runs already.
    pub fn judge(&mut self, key: &str, code: i64, label: &Artifact) {
        if label.key == key && label.revision != code {
            self.hurt("old code was started under a new label (T40)");
        }
        let beside = |instance: &Instance| instance.code != code;
        let listed = self.actors.iter().filter(|a| a.key == key);
        let lost = self.lost.iter().filter(|(lost, _)| lost == key);
        if listed.flat_map(|a| &a.instances).any(beside) || lost.map(|(_, i)| i).any(beside) {
            self.hurt("other code was started beside what runs (T40, T41)");
        }
    }

    /// Moves on the host's count of what it did.
    pub fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Id for a new instance.
    pub fn instance_id(&mut self) -> String {
        format!("01a20285-2baa-7ddf-c72e-{:012x}", self.tick())
    }

    /// An actor starts: its calls are subscribed to, unless the subscription is
    /// just being ended. Such a start waits for the end and runs unheard until
    /// the next one (T39); on real hosts a race decides, here it is always lost.
    pub fn subscribe(&mut self, key: &str) {
        if let Some(Subscription::EndsAt(end)) = self.subscriptions.get(key)
            && *end > Instant::now()
        {
            self.hurt("an actor was started while its subscription ended (T39)");
            return;
        }
        self.subscriptions.insert(key.into(), Subscription::There);
    }

    /// Ends the subscription for an actor's calls; how long that takes.
    pub fn unsubscribe(&mut self, key: &str) -> Duration {
        match self.subscriptions.get(key) {
            Some(Subscription::EndsAt(end)) => end.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
            Some(Subscription::There) => {
                let end = Instant::now() + UNSUBSCRIBING;
                self.subscriptions
                    .insert(key.into(), Subscription::EndsAt(end));
                if self.actor(key).is_some_and(|a| !a.instances.is_empty()) {
                    self.hurt("instances run on, and nobody hears their calls (T38)");
                }
                UNSUBSCRIBING
            }
        }
    }

    /// All that runs of an actor; `subscribes` where the host has one
    /// subscription for all of its instances.
    pub fn runs(&self, key: &str, subscribes: bool) -> Vec<Running> {
        let there = matches!(self.subscriptions.get(key), Some(Subscription::There));
        let heard = !subscribes || there;
        let listed = self.actors.iter().filter(|a| a.key == key);
        let listed = listed.flat_map(|a| &a.instances).map(|i| (i, true));
        let lost = self.lost.iter().filter(|(lost, _)| lost == key);
        let lost = lost.map(|(_, i)| (i, false));
        let mut runs: Vec<Running> = Vec::new();
        for (instance, listed) in listed.chain(lost) {
            let found = runs.iter_mut().find(|r| {
                r.annotations == instance.annotations
                    && r.revision == instance.code
                    && r.listed == listed
            });
            match found {
                Some(running) => running.count += instance.max,
                None => runs.push(Running {
                    annotations: instance.annotations.clone(),
                    count: instance.max,
                    revision: instance.code,
                    heard,
                    listed,
                }),
            }
        }
        runs.sort();
        runs
    }
}
