//! Simulated hosts: they listen, keep state and answer as the control-interface
//! reference says each generation does, faults included.
//!
//! - [`state`]: the actors and providers of one host
//! - [`bodies`]: what a host says, as JSON
//! - [`commands`]: what a host does when told
//! - [`lattice`]: what the hosts of one lattice share

pub mod bodies;
pub mod commands;
pub mod lattice;
pub mod state;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt as _;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use lattice::SimLattice;
use state::State;

/// What a host is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// OTP 0.63.2.
    G1b,
    /// Rust 0.78.0: counts are instances.
    G2a,
    /// Rust 0.80.0: counts are "max concurrent" per set of annotations.
    G2b,
}

impl Generation {
    pub fn version(self) -> &'static str {
        match self {
            Self::G1b => "0.63.2",
            Self::G2a => "0.78.0",
            Self::G2b => "0.80.0",
        }
    }

    pub fn is_otp(self) -> bool {
        self == Self::G1b
    }
}

/// A message that a host received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Subject after `wasmbus.ctl.{lattice}.`.
    pub subject: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running host; it leaves the lattice with this value.
pub struct SimHost {
    pub id: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// A host's insides.
pub struct Shared {
    pub id: String,
    pub issuer: String,
    pub generation: Generation,
    pub lattice: Arc<SimLattice>,
    pub labels: Value,
    pub state: Mutex<State>,
    received: Mutex<Vec<Received>>,
    delay: Mutex<Duration>,
    silent: Mutex<bool>,
}

impl SimHost {
    /// Starts a host in `lattice` with these labels beside the usual ones.
    pub async fn start(
        lattice: &Arc<SimLattice>,
        generation: Generation,
        labels: &[(&str, &str)],
    ) -> Self {
        let mut all = json!({
            "hostcore.arch": "x86_64", "hostcore.os": "linux", "hostcore.osfamily": "unix",
        });
        for (name, value) in labels {
            all[*name] = (*value).into();
        }
        let shared = Arc::new(Shared {
            id: KeyPair::new(KeyPairType::Server).public_key(),
            issuer: KeyPair::new(KeyPairType::Cluster).public_key(),
            generation,
            lattice: lattice.clone(),
            labels: all,
            state: Mutex::default(),
            received: Mutex::default(),
            delay: Mutex::default(),
            silent: Mutex::default(),
        });
        let tasks = shared.clone().listen().await;
        Self {
            id: shared.id.clone(),
            shared,
            tasks,
        }
    }

    /// Answers this late from now on.
    pub fn answer_after(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// Answers nothing from now on.
    pub fn fall_silent(&self) {
        *self.shared.silent.lock().unwrap() = true;
    }

    /// Everything it received so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// What it received on subjects that end like this.
    pub fn received_on(&self, end: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|message| message.subject.ends_with(end));
        received
    }

    /// The one message that it received on a subject that ends like this.
    pub fn only(&self, end: &str) -> Received {
        let mut received = self.received_on(end);
        assert_eq!(received.len(), 1, "{end}: {received:?}");
        received.remove(0)
    }

    /// Whether its control interface still works: some requests end it.
    pub fn alive(&self) -> bool {
        !self.shared.state.lock().unwrap().dead
    }

    /// Instances of an actor that run here.
    pub fn instances(&self, actor: &str) -> usize {
        self.shared.state.lock().unwrap().instances(actor)
    }

    /// Whether a provider runs here under this link name.
    pub fn runs_provider(&self, key: &str, link_name: &str) -> bool {
        let state = self.shared.state.lock().unwrap();
        state
            .providers
            .iter()
            .any(|p| p.key == key && p.link_name == link_name)
    }
}

impl Drop for SimHost {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    async fn listen(self: Arc<Self>) -> Vec<JoinHandle<()>> {
        let client = &self.lattice.client;
        let prefix = format!("wasmbus.ctl.{}", self.lattice.id);
        let mut subscriptions = Vec::new();
        for rest in [
            "ping.hosts".to_owned(),
            "auction.>".into(),
            "registries.put".into(),
            format!("cmd.{}.*", self.id),
            format!("get.{}.inv", self.id),
        ] {
            subscriptions.push(client.subscribe(format!("{prefix}.{rest}")).await.unwrap());
        }
        for (rest, group) in [("get.*", "get"), ("linkdefs.*", "linkdefs")] {
            let subject = format!("{prefix}.{rest}");
            subscriptions.push(match self.generation {
                // Every host of these versions executes and answers (trap T19).
                Generation::G2a => client.subscribe(subject).await.unwrap(),
                Generation::G1b => client
                    .queue_subscribe(subject, prefix.clone())
                    .await
                    .unwrap(),
                Generation::G2b => {
                    let group = format!("{prefix}.{group}");
                    client.queue_subscribe(subject, group).await.unwrap()
                }
            });
        }
        client.flush().await.unwrap();
        let serve = |messages| tokio::spawn(self.clone().serve(client.clone(), messages));
        subscriptions.into_iter().map(serve).collect()
    }

    async fn serve(self: Arc<Self>, client: Client, mut messages: Subscriber) {
        while let Some(message) = messages.next().await {
            if self.state.lock().unwrap().dead {
                return;
            }
            let reply = self.take(&message).await;
            let host = self.clone();
            let client = client.clone();
            tokio::spawn(async move {
                let (delay, silent) = (*host.delay.lock().unwrap(), *host.silent.lock().unwrap());
                tokio::time::sleep(delay).await;
                if let (Some(to), Some(reply), false) = (message.reply, reply, silent) {
                    client.publish(to, reply.into()).await.unwrap();
                    client.flush().await.unwrap();
                }
            });
        }
    }

    async fn take(&self, message: &Message) -> Option<Vec<u8>> {
        let prefix = format!("wasmbus.ctl.{}.", self.lattice.id);
        let subject = message.subject.strip_prefix(&prefix)?.to_owned();
        self.received.lock().unwrap().push(Received {
            subject: subject.clone(),
            body: message.payload.to_vec(),
        });
        let parts: Vec<&str> = subject.split('.').collect();
        let body = &message.payload;
        let reply = match parts.as_slice() {
            ["ping", "hosts"] => Some(self.ping()),
            ["auction", kind] => self.bid(kind, body),
            ["registries", "put"] => self.registries(body),
            ["get", "claims"] => Some(self.lattice.claims_reply()),
            ["get", "links"] => Some(self.lattice.links_reply()),
            ["get", _, "inv"] => Some(self.inventory()),
            ["linkdefs", "put"] => Some(self.put_link(body).await),
            ["linkdefs", "del"] => Some(self.remove_link(body).await),
            ["cmd", _, verb] => self.command(verb, body),
            _ => None,
        };
        reply.map(|reply| reply.to_string().into_bytes())
    }
}
