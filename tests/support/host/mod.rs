//! Simulated hosts: they listen, keep state and answer as the control-interface
//! reference says each generation does, faults included.
//!
//! - [`state`]: the actors and providers of one host
//! - [`bodies`]: what a host says, as JSON
//! - [`commands`], [`actors`]: what a host does when told
//! - [`events`]: what a host says unasked
//! - [`lattice`]: what the hosts of one lattice share

pub mod actors;
pub mod bodies;
pub mod commands;
pub mod events;
pub mod lattice;
pub mod state;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt as _;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use lattice::SimLattice;
use state::State;

/// What a host is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// OTP 0.54: no version and labels in pings, no bucket, actors repeated.
    G1a,
    /// OTP 0.63.2.
    G1b,
    /// Rust 0.78.0: counts are instances.
    G2a,
    /// Rust 0.80.0: counts are "max concurrent" per set of annotations.
    G2b,
    /// Rust 0.81.0: as 0.80.0, without `la`.
    G3a,
    /// Rust 0.82.0: as 0.81.0, counts of 32 bits, never absent.
    G3b,
}

impl Generation {
    pub const ALL: [Self; 6] = [
        Self::G1a,
        Self::G1b,
        Self::G2a,
        Self::G2b,
        Self::G3a,
        Self::G3b,
    ];

    pub fn version(self) -> &'static str {
        match self {
            Self::G1a => "0.54.6",
            Self::G1b => "0.63.2",
            Self::G2a => "0.78.0",
            Self::G2b => "0.80.0",
            Self::G3a => "0.81.0",
            Self::G3b => "0.82.0",
        }
    }

    pub fn is_otp(self) -> bool {
        matches!(self, Self::G1a | Self::G1b)
    }

    pub fn is_g3(self) -> bool {
        matches!(self, Self::G3a | Self::G3b)
    }

    /// Whether it keeps a maximum for each set of annotations.
    pub fn counts_maximum(self) -> bool {
        matches!(self, Self::G2b | Self::G3a | Self::G3b)
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
    delays: Mutex<Vec<(String, Duration)>>,
    lag: Mutex<Duration>,
    /// What it acknowledged and has not done yet.
    owed: AtomicUsize,
    silent: Mutex<Vec<String>>,
    /// Its control interface is gone, or it stopped.
    ended: CancellationToken,
    /// Links as this host knows them from the bucket.
    links: Mutex<BTreeMap<String, Value>>,
}

impl SimHost {
    /// Starts a host in `lattice` with these labels beside the usual ones.
    pub async fn start(
        lattice: &Arc<SimLattice>,
        generation: Generation,
        labels: &[(&str, &str)],
    ) -> Self {
        let id = KeyPair::new(KeyPairType::Server).public_key();
        Self::start_as(lattice, generation, labels, id).await
    }

    /// Starts a host with this id.
    pub async fn start_as(
        lattice: &Arc<SimLattice>,
        generation: Generation,
        labels: &[(&str, &str)],
        id: String,
    ) -> Self {
        let mut all = json!({
            "hostcore.arch": "x86_64", "hostcore.os": "linux", "hostcore.osfamily": "unix",
        });
        for (name, value) in labels {
            all[*name] = (*value).into();
        }
        let shared = Arc::new(Shared {
            id,
            issuer: KeyPair::new(KeyPairType::Cluster).public_key(),
            generation,
            lattice: lattice.clone(),
            labels: all,
            state: Mutex::default(),
            received: Mutex::default(),
            delay: Mutex::default(),
            delays: Mutex::default(),
            lag: Mutex::default(),
            owed: AtomicUsize::new(0),
            silent: Mutex::default(),
            ended: CancellationToken::new(),
            links: Mutex::new(lattice.bucket_links()),
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

    /// Answers this late from now on to what comes on subjects that end like
    /// this.
    pub fn answer_after_on(&self, end: &str, delay: Duration) {
        self.shared.delays.lock().unwrap().push((end.into(), delay));
    }

    /// Acknowledges starts and scales at once from now on, and does them this
    /// much later.
    pub fn lag_by(&self, lag: Duration) {
        *self.shared.lag.lock().unwrap() = lag;
    }

    /// Whether it has done all that it acknowledged.
    pub fn caught_up(&self) -> bool {
        self.shared.owed.load(Ordering::Relaxed) == 0
    }

    /// Answers nothing from now on to what comes on subjects that end like this.
    pub fn fall_silent_on(&self, end: &str) {
        self.shared.silent.lock().unwrap().push(end.into());
    }

    /// Answers everything again from now on.
    pub fn speak_again(&self) {
        self.shared.silent.lock().unwrap().clear();
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

    /// What a request did to it that no request should.
    pub fn harm(&self) -> Option<&'static str> {
        self.shared.state.lock().unwrap().harm
    }

    /// The same, and it is meant: the host may end with it.
    pub fn meant_harm(&self) -> Option<&'static str> {
        self.shared.state.lock().unwrap().harm.take()
    }

    /// Whether it was told to stop.
    pub fn stopped(&self) -> bool {
        self.shared.state.lock().unwrap().stopped
    }

    /// The links it knows.
    pub fn links(&self) -> Vec<Value> {
        self.shared.links_view().into_values().collect()
    }

    /// Names of the registries it has credentials for.
    pub fn registries(&self) -> Vec<String> {
        self.shared
            .state
            .lock()
            .unwrap()
            .registries
            .keys()
            .cloned()
            .collect()
    }

    /// Annotations of the instances of an actor, each with how many.
    pub fn groups(&self, actor: &str) -> BTreeMap<state::Annotations, u64> {
        let state = self.shared.state.lock().unwrap();
        let mut groups = BTreeMap::new();
        for actor in state.actors.iter().filter(|a| a.key == actor) {
            for instance in &actor.instances {
                *groups.entry(instance.annotations.clone()).or_default() += instance.max;
            }
        }
        groups
    }

    /// Revisions of the instances of an actor.
    pub fn revisions(&self, actor: &str) -> Vec<i64> {
        let state = self.shared.state.lock().unwrap();
        let actors = state.actors.iter().filter(|a| a.key == actor);
        actors
            .flat_map(|a| a.instances.iter().map(|i| i.revision))
            .collect()
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
        if let (Some(harm), false) = (self.harm(), std::thread::panicking()) {
            panic!("a {:?} host was harmed: {harm}", self.shared.generation);
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
                otp if otp.is_otp() => {
                    let group = prefix.clone();
                    client.queue_subscribe(subject, group).await.unwrap()
                }
                _ => {
                    let group = format!("{prefix}.{group}");
                    client.queue_subscribe(subject, group).await.unwrap()
                }
            });
        }
        let bucket = format!("$KV.LATTICEDATA_{}.>", self.lattice.id);
        let bucket = client.subscribe(bucket).await.unwrap();
        super::fence(client).await;
        let serve = |messages| tokio::spawn(self.clone().serve(client.clone(), messages));
        let mut tasks: Vec<_> = subscriptions.into_iter().map(serve).collect();
        tasks.push(tokio::spawn(self.clone().follow(bucket)));
        tasks.push(tokio::spawn(self.clone().beat_on()));
        self.say_started().await;
        tasks
    }

    /// Follows the bucket as hosts do: Rust hosts see DEL only (trap T25) and
    /// take no link under another key than its own.
    async fn follow(self: Arc<Self>, mut bucket: Subscriber) {
        while let Some(message) = bucket.next().await {
            let Some(key) = message.subject.rsplit('.').next() else {
                continue;
            };
            let headers = message.headers.as_ref();
            let operation = headers
                .and_then(|h| h.get("KV-Operation"))
                .map(|o| o.as_str());
            let mut links = self.links.lock().unwrap();
            match operation {
                Some("DEL") => drop(links.remove(key)),
                Some(_) if self.generation.is_otp() => drop(links.remove(key)),
                Some(_) => {}
                None => {
                    let Ok(link) = serde_json::from_slice::<Value>(&message.payload) else {
                        continue;
                    };
                    let own = lattice::link_key(&link) == key && link["values"].is_object();
                    if key.starts_with("LINKDEF_") && (own || self.generation.is_otp()) {
                        links.insert(key.to_owned(), link);
                    }
                }
            }
        }
    }

    /// The links this host knows: OTP before 0.60 has no bucket.
    fn links_view(&self) -> BTreeMap<String, Value> {
        match self.generation == Generation::G1a || !self.lattice.has_bucket() {
            true => self.lattice.cached_links(),
            false => self.links.lock().unwrap().clone(),
        }
    }

    async fn serve(self: Arc<Self>, client: Client, mut messages: Subscriber) {
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.ended.cancelled() => None,
            };
            let Some(message) = message else {
                return;
            };
            let lag = *self.lag.lock().unwrap();
            let later = [".la", ".scale"]
                .iter()
                .any(|end| message.subject.ends_with(end));
            self.record(&message);
            let reply = if later && !lag.is_zero() {
                // As hosts do that download first: acknowledged, not done yet.
                let (host, message) = (self.clone(), message.clone());
                self.owed.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    tokio::time::sleep(lag).await;
                    host.take(&message).await;
                    host.owed.fetch_sub(1, Ordering::Relaxed);
                    if host.state.lock().unwrap().ended() {
                        host.ended.cancel();
                    }
                });
                Some(bodies::accepted().to_string().into_bytes())
            } else {
                self.take(&message).await
            };
            if self.generation.is_otp() && message.subject.ends_with("ping.hosts") {
                self.beat().await;
            }
            let (ended, stopped) = {
                let state = self.state.lock().unwrap();
                (state.ended(), state.stopped)
            };
            if stopped && !self.ended.is_cancelled() {
                self.say_stopped().await;
            }
            if ended {
                self.ended.cancel();
            }
            let host = self.clone();
            let client = client.clone();
            tokio::spawn(async move {
                let subject = message.subject.as_str();
                let mut delay = *host.delay.lock().unwrap();
                for (end, more) in host.delays.lock().unwrap().iter() {
                    if subject.ends_with(end.as_str()) {
                        delay = *more;
                    }
                }
                let silent = host
                    .silent
                    .lock()
                    .unwrap()
                    .iter()
                    .any(|end| subject.ends_with(end));
                tokio::time::sleep(delay).await;
                if let (Some(to), Some(reply), false) = (message.reply, reply, silent) {
                    client.publish(to, reply.into()).await.unwrap();
                    let _ = client.flush().await;
                }
            });
        }
    }

    fn record(&self, message: &Message) {
        let prefix = format!("wasmbus.ctl.{}.", self.lattice.id);
        let subject = message.subject.strip_prefix(&prefix);
        self.received.lock().unwrap().push(Received {
            subject: subject.unwrap_or_default().to_owned(),
            body: message.payload.to_vec(),
        });
    }

    async fn take(&self, message: &Message) -> Option<Vec<u8>> {
        let prefix = format!("wasmbus.ctl.{}.", self.lattice.id);
        let subject = message.subject.strip_prefix(&prefix)?.to_owned();
        let parts: Vec<&str> = subject.split('.').collect();
        let body = &message.payload;
        let reply = match parts.as_slice() {
            ["ping", "hosts"] => Some(self.ping()),
            ["auction", kind] => self.bid(kind, body),
            ["registries", "put"] => self.registries(body),
            ["get", "claims"] => Some(self.lattice.claims_reply()),
            ["get", "links"] => Some(self.links_reply()),
            ["get", _, "inv"] => Some(self.inventory()),
            ["linkdefs", "put"] => Some(self.put_link(body).await),
            ["linkdefs", "del"] => Some(self.remove_link(body).await),
            ["cmd", _, verb] => self.command(verb, body),
            _ if self.generation.is_g3() => Some(bodies::refused("unsupported subject")),
            _ => None,
        };
        reply.map(|reply| reply.to_string().into_bytes())
    }
}
