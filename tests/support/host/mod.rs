//! Simulated hosts: they listen, keep state and answer as docs/hosts.md says
//! each generation does, faults included.
//!
//! - [`generation`]: which version it is
//! - [`table`], [`running`]: what it keeps, and what really runs
//! - [`serve`]: how it hears and answers
//! - [`orders`]: what it does when told, and when: [`otp`], [`rust_instances`],
//!   [`rust_maximum`] for actors, [`providers`], [`registries`], [`links`]
//! - [`bids`], [`bodies`], [`claims`]: what it says when asked
//! - [`events`]: what it says unasked
//! - [`lattice`]: what the hosts of one lattice share

pub mod bids;
pub mod bodies;
pub mod claims;
pub mod events;
pub mod generation;
pub mod lattice;
pub mod links;
pub mod orders;
pub mod otp;
pub mod providers;
pub mod registries;
pub mod running;
pub mod rust_instances;
pub mod rust_maximum;
pub mod serve;
pub mod table;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use generation::Generation;
use lattice::SimLattice;
use orders::Owed;
use running::{Annotations, Running};
use table::State;

/// How long a host takes for what it does after the acknowledgement.
const ORDINARY_LAG: Duration = Duration::from_millis(20);
/// The uptime of a host when a test starts it.
const UPTIME: u64 = 3733;

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

/// A running host, which leaves the lattice when this is dropped.
pub struct SimHost {
    pub id: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// The state of a host, which its tasks share.
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
    /// How long it takes for what it does after the acknowledgement, where a
    /// test has set that.
    lag: Mutex<Option<Duration>>,
    /// What it had received when a request first harmed it.
    story: Mutex<Option<String>>,
    /// The commands that it has acknowledged and not yet carried out, oldest
    /// first.
    owed: Mutex<Vec<Owed>>,
    /// Whether its providers leave shutdown requests unanswered.
    mute: AtomicBool,
    /// The number of events that it has published.
    events: AtomicU64,
    /// How many tasks are publishing queued events at the moment.
    flushing: AtomicUsize,
    born: Instant,
    uptime_before: u64,
    silent: Mutex<Vec<String>>,
    /// Cancelled once its control interface has died or it has stopped.
    ended: CancellationToken,
    /// The links that it knows from the bucket, by id.
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
        let links = lattice.bucket_links().into_iter();
        let links = links.map(|(key, link)| (key.trim_start_matches("LINKDEF_").into(), link));
        let shared = Arc::new(Shared {
            uptime_before: if lattice.was_here(&id) { 0 } else { UPTIME },
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
            owed: Mutex::default(),
            story: Mutex::default(),
            mute: AtomicBool::default(),
            events: AtomicU64::default(),
            flushing: AtomicUsize::default(),
            born: Instant::now(),
            silent: Mutex::default(),
            ended: CancellationToken::new(),
            links: Mutex::new(links.collect()),
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

    /// Answers this late from now on to messages on subjects with this ending.
    pub fn answer_after_on(&self, end: &str, delay: Duration) {
        self.shared.delays.lock().unwrap().push((end.into(), delay));
    }

    /// Acknowledges starts and scales at once from now on, and carries them out
    /// this much later.
    pub fn lag_by(&self, lag: Duration) {
        *self.shared.lag.lock().unwrap() = Some(lag);
    }

    /// Returns whether it has carried out all that it acknowledged, and
    /// published the events of it.
    pub fn caught_up(&self) -> bool {
        let said = self.shared.state.lock().unwrap().said.is_empty();
        let flushed = self.shared.flushing.load(Ordering::Relaxed) == 0;
        self.shared.owed.lock().unwrap().is_empty() && said && flushed
    }

    /// Leaves messages on subjects with this ending unanswered from now on.
    pub fn fall_silent_on(&self, end: &str) {
        self.shared.silent.lock().unwrap().push(end.into());
    }

    /// Answers everything again from now on.
    pub fn speak_again(&self) {
        self.shared.silent.lock().unwrap().clear();
    }

    /// Returns everything that it has received so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Returns what it has received on subjects with this ending.
    pub fn received_on(&self, end: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|message| message.subject.ends_with(end));
        received
    }

    /// Returns the one message that it has received on a subject with this
    /// ending.
    pub fn only(&self, end: &str) -> Received {
        let mut received = self.received_on(end);
        assert_eq!(received.len(), 1, "{end}: {received:?}");
        received.remove(0)
    }

    /// Returns the harm that a request did to it.
    pub fn harm(&self) -> Option<&'static str> {
        self.shared.state.lock().unwrap().harm
    }

    /// Returns the harm and forgets it, where a test means it: dropping the
    /// host does not fail then.
    pub fn meant_harm(&self) -> Option<&'static str> {
        self.shared.state.lock().unwrap().harm.take()
    }

    /// Returns whether it was told to stop.
    pub fn stopped(&self) -> bool {
        self.shared.state.lock().unwrap().stopped
    }

    /// Returns the time limit of its stop, where it uses one.
    pub fn ends_within(&self) -> Option<Duration> {
        self.shared.state.lock().unwrap().ends_within
    }

    /// Returns the links that it knows.
    pub fn links(&self) -> Vec<Value> {
        self.shared.links_view().into_values().collect()
    }

    /// Returns everything of an actor that really runs here, listed or not.
    /// What the host has acknowledged is carried out first, unless a test makes
    /// it lag.
    pub fn runs(&self, actor: &str) -> Vec<Running> {
        self.shared.settle();
        let subscribes = self.shared.generation.ends_subscriptions();
        self.shared.state.lock().unwrap().runs(actor, subscribes)
    }

    /// Returns how many instances of an actor run with which annotations.
    pub fn groups(&self, actor: &str) -> BTreeMap<Annotations, u64> {
        let mut groups = BTreeMap::new();
        for running in self.runs(actor) {
            *groups.entry(running.annotations).or_default() += running.count;
        }
        groups
    }

    /// Returns the revisions of an actor that run: one for each instance, or
    /// for each annotation set on hosts that keep a maximum.
    pub fn revisions(&self, actor: &str) -> Vec<i64> {
        let counts = self.shared.generation.counts_maximum();
        let times = |r: &Running| if counts { 1 } else { r.count as usize };
        let runs = self.runs(actor).into_iter();
        runs.flat_map(|r| std::iter::repeat_n(r.revision, times(&r)))
            .collect()
    }

    /// Returns how many instances of an actor run here.
    pub fn instances(&self, actor: &str) -> usize {
        self.runs(actor).iter().map(|r| r.count as usize).sum()
    }

    /// Returns whether a provider runs here under this link name.
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
        self.shared.ended.cancel();
        for task in &self.tasks {
            task.abort();
        }
        if let (Some(harm), false) = (self.harm(), std::thread::panicking()) {
            let story = self.shared.story.lock().unwrap().take();
            panic!(
                "a {:?} host was harmed: {harm}; orders until then:\n{}",
                self.shared.generation,
                story.unwrap_or_default(),
            );
        }
    }
}
