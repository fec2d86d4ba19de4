//! `make soak` runs the release provider as a process, with 64 callers and 50
//! lattices on three servers. These servers and our own are killed and started
//! again. It exits with 0 only if every promise was kept:
//!
//! - no wrong answer: none names hosts of another lattice or of credentials
//!   that were replaced before the call; an acknowledged command was received
//!   by its host; one that was certainly not carried out was received by no
//!   host;
//! - no lost reply: every call is answered within 2 s, except while our own
//!   server was away, from its death until each actor was served again;
//! - nothing acknowledged is forgotten, also not when the provider is killed;
//! - connections and memory come back near to where they were.
//!
//! `SOAK_SECONDS` is its length, and `SOAK_SEED` repeats its random choices.
//!
//! - [`lattices`]: lattices in two places; [`callers`]: calls and their checks
//! - [`faults`]: restarts; [`tally`]: the outcomes of calls

mod callers;
mod faults;
mod lattices;
mod random;
#[allow(dead_code, reason = "a part of what tests use")]
#[path = "../../tests/support/mod.rs"]
mod support;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::time::sleep;
use wasmcloud_interface_lattice_control::{LatticeController as _, SetLatticeCredentialsRequest};

use callers::Scene;
use lattices::strangers;
use random::Random;
use support::actor::Actor;
use support::nats::{NatsServer, OURS};
use support::provider::{Identity, Provider};
use support::world::ctx;
use tally::Tally;

const CALLERS: usize = 64;
const ACTORS: usize = 8;
const LATTICES: usize = 50;
const SERVERS: usize = 3;
/// How long calls go on before the first measurement and the first kill.
const WARM_UP: Duration = Duration::from_secs(5);
const IDLE_LIMIT: Duration = Duration::from_secs(2);
/// How much more memory may be in use at the end, in KiB.
const MAY_GROW: i64 = 8 * 1024;
/// The file for the provider's log if a promise was broken.
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/soak.log");
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} must be a whole number")))
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = number("SOAK_SECONDS").unwrap_or(300);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("SOAK_SEED").unwrap_or(now.as_secs());
    println!("{seconds} s with SOAK_SEED={seed}");
    let broken = soak(Duration::from_secs(seconds), Random::new(seed)).await;
    match broken.as_slice() {
        [] => {
            println!("every promise was kept");
            ExitCode::SUCCESS
        }
        broken => {
            println!("{} promises were broken, SOAK_SEED={seed}:", broken.len());
            for what in broken.iter().take(20) {
                println!("- {what}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn soak(time: Duration, mut random: Random) -> Vec<String> {
    let home = NatsServer::start();
    let servers: Vec<_> = (0..SERVERS)
        .map(|_| NatsServer::without_jetstream())
        .collect();
    let identity = Identity::new();
    let mut data = identity.host_data(&home.url());
    data["log_level"] = "info".into();
    let settings = json!({ "idle_limit_ms": IDLE_LIMIT.as_millis() as u64 });
    data["config_json"] = settings.to_string().into();
    let provider = Provider::start(&data);
    provider.logged("credentials are kept in JetStream").await;
    let mut actors = Vec::new();
    for _ in 0..ACTORS {
        actors.push(Actor::connect(&home.url(), &identity).await);
    }
    let received = Arc::default();
    let lattices = lattices::start(LATTICES, &servers, &received).await;
    let scene = |tally| {
        Arc::new(Scene {
            lattices: lattices.clone(),
            received: received.clone(),
            tally,
            over: false.into(),
            refused: Default::default(),
            marks: Default::default(),
        })
    };
    set_all(&actors[0], &lattices).await;

    let warm = scene(Tally::new());
    let calling = begin(&warm, &actors, &mut random);
    sleep(WARM_UP).await;
    end(&warm, calling).await;
    idle(&servers).await;
    let (memory, connections) = (provider.resident(), home.open_connections(""));
    println!("warm: {}; {memory} KiB", warm.tally);

    let scene = scene(Tally::new());
    // These marks differ from those before.
    scene.marks.store(1 << 32, Relaxed);
    let calling = begin(&scene, &actors, &mut random);
    let faults = faults::of_lattices(scene.clone(), servers, random.fork());
    let faults = tokio::spawn(faults);
    let at_home = faults::of_home(scene.clone(), home, actors.clone(), random.fork());
    let at_home = tokio::spawn(at_home);
    let until = Instant::now() + time;
    while Instant::now() < until {
        let left = until - Instant::now();
        sleep(left.min(Duration::from_secs(10))).await;
        println!("{}; {} KiB", scene.tally, provider.resident());
    }
    end(&scene, calling).await;
    let (servers, home) = (faults.await.unwrap(), at_home.await.unwrap());

    // --- what is left ---
    let mut broken = warm.tally.broken();
    let left = idle(&servers).await;
    let now = (provider.resident(), home.open_connections(""));
    println!(
        "idle again: {left} connections to lattices; {} to our own server, {connections} before; \
         {} KiB, {memory} before",
        now.1, now.0
    );
    if left > 0 || now.1 > connections {
        broken.push("connections were left behind".into());
    }
    if now.0 > memory + MAY_GROW {
        broken.push(format!("memory has grown by {} KiB", now.0 - memory));
    }
    known(&scene, &actors[0], "at the end").await;
    let log = provider.log();
    drop(provider);
    let provider = Provider::start(&data);
    provider.ready().await;
    known(&scene, &actors[0], "after a restart of the provider").await;
    for mark in scene.refused.lock().unwrap().iter() {
        if let Some(host) = received.by(mark) {
            let what = format!("{mark} was certainly not carried out, and received by {host}");
            scene.tally.wrong(what);
        }
    }
    println!("{}", scene.tally);
    broken.extend(scene.tally.broken());
    if !broken.is_empty() {
        std::fs::write(LOG, log + &provider.log()).unwrap();
        println!("the provider's log is in {LOG}");
    }
    broken
}

type Calling = Vec<tokio::task::JoinHandle<()>>;

fn begin(scene: &Arc<Scene>, actors: &[Actor], random: &mut Random) -> Calling {
    let callers = (0..CALLERS).map(|number| {
        let actor = actors[number % actors.len()].clone();
        tokio::spawn(callers::call_on(scene.clone(), actor, random.fork()))
    });
    callers.collect()
}

async fn end(scene: &Scene, calling: Calling) {
    scene.over.store(true, Relaxed);
    for caller in calling {
        caller.await.unwrap();
    }
}

async fn set_all(actor: &Actor, lattices: &[Arc<lattices::Lattice>]) {
    for lattice in lattices {
        let request = SetLatticeCredentialsRequest {
            lattice_id: lattice.id.clone(),
            nats_url: Some(lattice.url(0, 0)),
            ..Default::default()
        };
        let client = actor.lattice();
        let ack = client.set_lattice_credentials(&ctx(), &request).await;
        assert!(ack.unwrap().accepted);
    }
}

/// Waits until the provider's connections to lattices are closed, and returns
/// how many are left after a while.
async fn idle(servers: &[NatsServer]) -> usize {
    let open = || servers.iter().map(|one| one.open_connections(OURS)).sum();
    let until = Instant::now() + IDLE_LIMIT + Duration::from_secs(8);
    loop {
        match open() {
            left if left == 0 || Instant::now() > until => return left,
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Checks that each lattice has all of its hosts, in the place of its last
/// credentials.
async fn known(scene: &Scene, actor: &Actor, when: &str) {
    for lattice in &scene.lattices {
        let until = Instant::now() + Duration::from_secs(5);
        // Hosts that have just reconnected may miss a first query.
        while let Err(problem) = has_its_hosts(lattice, actor).await {
            if Instant::now() > until {
                let id = &lattice.id;
                scene.tally.wrong(format!("{id} {when}: {problem}"));
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn has_its_hosts(lattice: &lattices::Lattice, actor: &Actor) -> Result<(), String> {
    let client = actor.lattice();
    let hosts = client.get_hosts(&ctx(), &lattice.id).await;
    let hosts = hosts.map_err(|error| error.to_string())?;
    let count = hosts.len();
    let named = hosts.into_iter().map(|host| host.id);
    match strangers(lattice, lattice.bound(), named) {
        strangers if !strangers.is_empty() => Err(format!("names {strangers:?}")),
        _ if count != 2 => Err(format!("{count} hosts of 2 are found")),
        _ => Ok(()),
    }
}
