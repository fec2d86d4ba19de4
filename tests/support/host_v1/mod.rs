//! Simulated 1.x hosts: they listen, keep state and answer as hosts 1.0.0 to
//! 1.9.2 do, faults included. 1.0.0 and 1.9.2 are proved by transcripts of real
//! hosts; the versions between them follow the source of each tag.
//!
//! - [`version`]: which version it is
//! - [`commands`], [`answers`]: the bodies of requests and of answers
//! - [`serve`]: how it hears and answers, and when it does what it was told
//! - [`table`]: what it keeps, and what really runs
//! - [`scales`], [`updates`], [`providers`]: what it does when told
//! - [`links`], [`settings`], [`claims`], [`buckets`]: what the lattice keeps
//! - [`auctions`], [`events`]: what it says
//! - [`handles`]: what tests can see of it and switch on it

pub mod answers;
pub mod auctions;
pub mod buckets;
pub mod claims;
pub mod commands;
pub mod events;
pub mod handles;
pub mod links;
pub mod providers;
pub mod scales;
pub mod serve;
pub mod settings;
pub mod table;
pub mod updates;
pub mod version;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use nkeys::{KeyPair, KeyPairType};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::host::Received;
use super::host::lattice::SimLattice;
use serve::Owed;
use table::State;
pub use version::Version;

/// The uptime of a host when a test starts it.
const UPTIME: u64 = 3733;
/// How many of its last messages are shown of a host that was harmed.
const LAST_ORDERS: usize = 12;

/// A running host, which leaves the lattice when this is dropped.
pub struct SimHostV1 {
    pub id: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// The state of a host, which its tasks share.
pub struct Shared {
    pub id: String,
    pub version: Version,
    /// The version that it tells.
    told: Mutex<String>,
    pub lattice: Arc<SimLattice>,
    data: kv::Store,
    config: kv::Store,
    pub state: Mutex<State>,
    received: Mutex<Vec<Received>>,
    delay: Mutex<Duration>,
    delays: Mutex<Vec<(String, Duration)>>,
    silent: Mutex<Vec<String>>,
    /// How long it takes for what it does after the answer, where a test has
    /// set that.
    lag: Mutex<Option<Duration>>,
    /// The orders that it has acknowledged and not yet carried out, oldest
    /// first.
    owed: Mutex<Vec<Owed>>,
    /// Held while it carries out an order, as a real host holds its tables.
    working: tokio::sync::Mutex<()>,
    /// Whether it is carrying one out.
    busy: AtomicBool,
    /// How long it compiles a component that starts, and held meanwhile. Who
    /// needs the table of components waits.
    compiles: Mutex<Duration>,
    compiling: tokio::sync::RwLock<()>,
    /// Held while a provider is being stopped. Who needs the table of providers
    /// waits.
    stopping: tokio::sync::RwLock<()>,
    /// Whether its providers leave shutdown requests unanswered.
    mute: AtomicBool,
    /// The number of events that it has published.
    events: AtomicU64,
    /// What it had received when a request first harmed it.
    story: Mutex<Option<String>>,
    born: Instant,
    uptime_before: u64,
    /// Cancelled once it has stopped.
    ended: CancellationToken,
}

impl SimHostV1 {
    /// Starts a host in `lattice` with these labels beside the usual ones. It
    /// makes the buckets that are not there yet.
    pub async fn start(
        lattice: &Arc<SimLattice>,
        version: Version,
        labels: &[(&str, &str)],
    ) -> Self {
        let id = KeyPair::new(KeyPairType::Server).public_key();
        Self::start_as(lattice, version, labels, id).await
    }

    /// Starts a host with this id.
    pub async fn start_as(
        lattice: &Arc<SimLattice>,
        version: Version,
        labels: &[(&str, &str)],
        id: String,
    ) -> Self {
        let usual = [
            ("hostcore.arch", "x86_64"),
            ("hostcore.os", "linux"),
            ("hostcore.osfamily", "unix"),
        ];
        let labels = usual.iter().chain(labels);
        let labels = labels.map(|(name, value)| (name.to_string(), value.to_string()));
        let bucket = |kind: &str| format!("{kind}_{}", lattice.id);
        let shared = Arc::new(Shared {
            uptime_before: if lattice.was_here(&id) { 0 } else { UPTIME },
            id,
            version,
            told: Mutex::new(version.number().into()),
            data: buckets::open(&lattice.client, &bucket("LATTICEDATA")).await,
            config: buckets::open(&lattice.client, &bucket("CONFIGDATA")).await,
            lattice: lattice.clone(),
            state: Mutex::new(State {
                labels: labels.collect(),
                ..State::default()
            }),
            received: Mutex::default(),
            delay: Mutex::default(),
            delays: Mutex::default(),
            silent: Mutex::default(),
            lag: Mutex::default(),
            owed: Mutex::default(),
            working: tokio::sync::Mutex::default(),
            busy: AtomicBool::default(),
            compiles: Mutex::default(),
            compiling: tokio::sync::RwLock::default(),
            stopping: tokio::sync::RwLock::default(),
            mute: AtomicBool::default(),
            events: AtomicU64::default(),
            story: Mutex::default(),
            born: Instant::now(),
            ended: CancellationToken::new(),
        });
        let tasks = shared.listen().await;
        Self {
            id: shared.id.clone(),
            shared,
            tasks,
        }
    }
}

impl Shared {
    /// Notes that a request did harm, and what had come until then. The first
    /// one counts.
    pub fn hurt(&self, harm: &'static str) {
        let mut story = self.story.lock().unwrap();
        self.state.lock().unwrap().harm.get_or_insert(harm);
        if story.is_none() {
            let received = self.received.lock().unwrap();
            let orders = received.iter().filter(|r| r.subject != "registry.put");
            let orders = orders.map(|r| {
                let body = String::from_utf8_lossy(&r.body);
                format!("{} {body}", r.subject)
            });
            let orders: Vec<_> = orders.collect();
            let last = &orders[orders.len().saturating_sub(LAST_ORDERS)..];
            *story = Some(last.join("\n"));
        }
    }
}

impl Drop for SimHostV1 {
    fn drop(&mut self) {
        self.shared.ended.cancel();
        for task in &self.tasks {
            task.abort();
        }
        if let (Some(harm), false) = (self.harm(), std::thread::panicking()) {
            let story = self.shared.story.lock().unwrap().take();
            panic!(
                "a {:?} host was harmed: {harm}; messages until then:\n{}",
                self.shared.version,
                story.unwrap_or_default(),
            );
        }
    }
}
