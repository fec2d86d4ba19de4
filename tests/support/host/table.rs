//! What one host keeps: its table of actors, which its inventory shows; beside
//! it, the instances that it has lost and that still run; its providers; and
//! its subscriptions for calls.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::events::Said;
use super::lattice::Artifact;
use super::running::{Annotations, Instance, Running};

/// How long an OTP host takes to end a subscription for calls
/// (docs/hosts.md#start-during-stop-is-unheard).
pub const UNSUBSCRIBING: Duration = Duration::from_millis(500);

#[derive(Default)]
pub struct State {
    /// The table.
    pub actors: Vec<Actor>,
    /// Instances that still run and are in no table, each with its actor's key.
    pub lost: Vec<(String, Instance)>,
    pub providers: Vec<Provider>,
    /// The registries that it has credentials for.
    pub registries: BTreeMap<String, Value>,
    /// What it publishes before it answers.
    pub said: Vec<Said>,
    /// Until when its providers are being stopped. Inventories wait for that.
    pub busy_until: Option<Instant>,
    /// The harm that a request did to it.
    pub harm: Option<&'static str>,
    /// Whether its control interface has died.
    pub crashed: bool,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// The time limit of its stop, where it uses one.
    pub ends_within: Option<Duration>,
    subscriptions: BTreeMap<String, Subscription>,
    next: u64,
}

/// An actor in the table.
pub struct Actor {
    pub key: String,
    pub image_ref: String,
    /// The module that later scales and starts instantiate
    /// (docs/hosts.md#rust-hosts-keep-old-code).
    pub stored: Artifact,
    pub instances: Vec<Instance>,
    /// When it was last updated, on the host's own clock of what it did.
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
}

/// The subscription of an OTP host for the calls of one actor
/// (docs/hosts.md#stop-ends-call-subscription,
/// docs/hosts.md#start-during-stop-is-unheard).
enum Subscription {
    There,
    /// It has ended and hears nothing more.
    EndsAt(Instant),
}

impl State {
    /// Returns whether it answers nothing more.
    pub fn ended(&self) -> bool {
        self.crashed || self.stopped
    }

    /// Notes that a request did harm. The first one counts.
    pub fn hurt(&mut self, harm: &'static str) {
        self.harm.get_or_insert(harm);
    }

    /// Notes that a request killed its control interface.
    pub fn crash(&mut self, harm: &'static str) {
        self.hurt(harm);
        self.crashed = true;
    }

    /// Returns the actor with this key.
    pub fn actor(&mut self, key: &str) -> Option<&mut Actor> {
        self.actors.iter_mut().find(|actor| actor.key == key)
    }

    /// Returns the actor with this key, which it puts into the table if need
    /// be.
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

    /// Removes actors without instances.
    pub fn tidy(&mut self) {
        self.actors.retain(|actor| !actor.instances.is_empty());
    }

    /// Notes harm where what is about to start is other code than its label
    /// says, or than what runs already.
    pub fn judge(&mut self, key: &str, code: i64, label: &Artifact) {
        if label.key == key && label.revision != code {
            self.hurt(
                "old code was started under a new label \
                 (docs/hosts.md#rust-hosts-keep-old-code)",
            );
        }
        let beside = |instance: &Instance| instance.code != code;
        let listed = self.actors.iter().filter(|a| a.key == key);
        let lost = self.lost.iter().filter(|(lost, _)| lost == key);
        if listed.flat_map(|a| &a.instances).any(beside) || lost.map(|(_, i)| i).any(beside) {
            self.hurt(
                "other code was started beside what runs \
                 (docs/hosts.md#rust-hosts-keep-old-code, \
                 docs/hosts.md#otp-lists-old-reference-after-update)",
            );
        }
    }

    /// Advances the host's clock of what it did.
    pub fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns an id for a new instance.
    pub fn instance_id(&mut self) -> String {
        format!("01a20285-2baa-7ddf-c72e-{:012x}", self.tick())
    }

    /// Subscribes to the calls of an actor that starts, unless its subscription
    /// is being ended at this moment. Such a start waits for the end and stays
    /// unheard until the next one (docs/hosts.md#start-during-stop-is-unheard).
    /// On real hosts a race decides; here the start always loses it.
    pub fn subscribe(&mut self, key: &str) {
        if let Some(Subscription::EndsAt(end)) = self.subscriptions.get(key)
            && *end > Instant::now()
        {
            self.hurt(
                "an actor was started while its subscription ended \
                 (docs/hosts.md#start-during-stop-is-unheard)",
            );
            return;
        }
        self.subscriptions.insert(key.into(), Subscription::There);
    }

    /// Ends the subscription for an actor's calls, and returns how long that
    /// takes.
    pub fn unsubscribe(&mut self, key: &str) -> Duration {
        match self.subscriptions.get(key) {
            Some(Subscription::EndsAt(end)) => end.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
            Some(Subscription::There) => {
                let end = Instant::now() + UNSUBSCRIBING;
                self.subscriptions
                    .insert(key.into(), Subscription::EndsAt(end));
                if self.actor(key).is_some_and(|a| !a.instances.is_empty()) {
                    self.hurt(
                        "instances run on, and nobody hears their calls \
                         (docs/hosts.md#stop-ends-call-subscription)",
                    );
                }
                UNSUBSCRIBING
            }
        }
    }

    /// Returns all that runs of an actor; `subscribes` says that the host has
    /// one subscription for all of its instances.
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
