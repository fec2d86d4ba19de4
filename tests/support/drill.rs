//! What drills have around a fault: a lattice on another server, which must not
//! notice it; calls, which must be answered in time; and credentials, which
//! must not be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use super::actor::Actor;
use super::host::lattice::SimLattice;
use super::host::{Generation, SimHost};
use super::instances::Instances;
use super::nats::NatsServer;
use super::time::assert_under;
use super::world::{ctx, set};

/// How long an actor waits for an answer here. The provider answers earlier.
pub const BUDGET: Duration = Duration::from_secs(2);
/// How long a call to a healthy lattice may take on a busy machine.
const QUICKLY: Duration = Duration::from_secs(1);
/// What the provider logs once it has read the stored credentials.
const KEPT: &str = "credentials are kept in JetStream";
/// The lattice that must not notice the fault.
const ELSEWHERE: &str = "elsewhere";

/// A provider that stores its credentials, and a lattice on a server of its own
/// that is called all the time.
pub struct Drill {
    pub provider: Instances,
    elsewhere: NatsServer,
    _host: SimHost,
}

impl Drill {
    pub async fn start() -> Self {
        Self::start_on(NatsServer::start(), |_| {}).await
    }

    /// Starts them on this server, with host data changed by `change`.
    pub async fn start_on(nats: NatsServer, change: impl Fn(&mut Value)) -> Self {
        let provider = Instances::start_on(nats, 1, |_, data| {
            data["log_level"] = "debug".into();
            change(data);
        })
        .await;
        provider.logged(KEPT).await;
        let elsewhere = NatsServer::without_jetstream();
        let host = host_on(&elsewhere, ELSEWHERE).await;
        let drill = Self {
            provider,
            elsewhere,
            _host: host,
        };
        drill.set(ELSEWHERE, &drill.elsewhere.url()).await;
        assert_eq!(drill.hosts(ELSEWHERE).await.unwrap().len(), 1);
        drill
    }

    /// Sets anonymous credentials, or those in the URL.
    pub async fn set(&self, lattice: &str, url: &str) {
        let ack = set(&self.provider.actor, lattice, url).await.unwrap();
        assert!(ack.accepted, "{}", ack.error);
    }

    /// Asks for the hosts of a lattice; the answer or the error must come in
    /// time.
    pub async fn hosts(&self, lattice: &str) -> Result<Vec<Host>, String> {
        let client = self.provider.actor.lattice();
        let hosts = in_time(client.get_hosts(&ctx(), lattice)).await;
        hosts.map_err(|error| error.to_string())
    }

    /// Has a host start an actor; the answer must come in time.
    pub async fn start_actor(&self, lattice: &str, host: &str) -> RpcResult<CtlOperationAck> {
        let command = start_actor(lattice, host);
        let client = self.provider.actor.lattice();
        in_time(client.start_actor(&ctx(), &command)).await
    }

    /// Asks for the hosts of a lattice so many times at once; each answer must
    /// come in time.
    pub async fn at_once(&self, lattice: &str, calls: usize) -> Vec<Result<Vec<Host>, String>> {
        let calls = (0..calls).map(|_| self.hosts(lattice));
        futures::future::join_all(calls).await
    }

    /// Calls the lattice elsewhere from now on, until
    /// [`Bystander::noticed_nothing`].
    pub fn watch_elsewhere(&self) -> Bystander {
        Bystander::start(&self.provider.actor)
    }

    /// Returns the resident memory of the provider in KiB.
    pub fn resident(&self) -> i64 {
        self.provider.providers[0].resident()
    }

    /// Waits until the lattice answers with so many hosts, and returns how long
    /// that took. Calls before that must be answered in time, with errors.
    pub async fn recovers(&self, lattice: &str, hosts: usize) -> Duration {
        let healed = Instant::now();
        super::eventually("the lattice to answer again", || async {
            let found = self.hosts(lattice).await.ok()?;
            (found.len() == hosts).then_some(())
        })
        .await;
        healed.elapsed()
    }

    /// Asserts that these lattices are known, now and after a restart of the
    /// provider.
    pub async fn remembers(&mut self, lattices: &[&str]) {
        self.knows(lattices).await;
        self.provider.restart().await;
        // A call before that is told to try again.
        self.provider.logged(KEPT).await;
        self.knows(lattices).await;
    }

    async fn knows(&self, lattices: &[&str]) {
        for lattice in lattices.iter().chain([&ELSEWHERE]) {
            let known = self.hosts(lattice).await;
            assert!(known.is_ok(), "{lattice}: {known:?}");
        }
    }
}

/// Calls a lattice that the fault does not concern.
pub struct Bystander {
    task: JoinHandle<(usize, Duration)>,
    over: Arc<AtomicBool>,
}

impl Bystander {
    fn start(actor: &Actor) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (actor, until) = (actor.clone(), over.clone());
        let task = tokio::spawn(async move {
            let (client, mut calls, mut slowest) = (actor.lattice(), 0, Duration::ZERO);
            while calls == 0 || !until.load(Ordering::Relaxed) {
                let started = Instant::now();
                let hosts = client.get_hosts(&ctx(), ELSEWHERE).await.unwrap();
                assert_eq!(hosts.len(), 1);
                slowest = slowest.max(started.elapsed());
                calls += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (calls, slowest)
        });
        Self { task, over }
    }

    /// Asserts that no call failed or was slow so far.
    pub async fn noticed_nothing(self) {
        self.over.store(true, Ordering::Relaxed);
        let (calls, slowest) = self.task.await.unwrap();
        println!("the slowest of {calls} calls elsewhere took {slowest:?}");
        assert_under(QUICKLY, slowest);
    }
}

/// Starts a host in a lattice on this server.
pub async fn host_on(nats: &NatsServer, lattice: &str) -> SimHost {
    let sim = SimLattice::without_bucket(nats.client().await, lattice);
    SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await
}

/// Returns a command to start one instance.
pub fn start_actor(lattice: &str, host: &str) -> StartActorCommand {
    StartActorCommand {
        lattice_id: lattice.into(),
        host_id: host.into(),
        actor_ref: super::operator::ACTOR_REF.into(),
        annotations: None,
        count: 1,
    }
}

/// Has an actor stop a host; returns once the host has received that.
pub async fn stop_in_flight(
    actor: &Actor,
    lattice: &str,
    host: &SimHost,
) -> JoinHandle<RpcResult<CtlOperationAck>> {
    let actor = actor.clone();
    let command = StopHostCommand {
        lattice_id: lattice.into(),
        host_id: host.id.clone(),
        timeout: None,
    };
    let call = tokio::spawn(async move { actor.lattice().stop_host(&ctx(), &command).await });
    super::eventually("the host to hear", || async {
        (!host.received_on(".stop").is_empty()).then_some(())
    })
    .await;
    call
}

/// Waits for the answer to a call and asserts that it came in time. Later, the
/// actor would have given up, and the error would be one of the client's own.
pub async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let answer = call.await;
    assert_under(BUDGET, started.elapsed());
    answer
}
