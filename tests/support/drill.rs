//! What stands around a fault: a lattice elsewhere that must not notice, calls
//! that must be answered in time, credentials that must not be lost.

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
use super::world::ctx;

/// What an actor gives its calls here; answers come earlier.
pub const BUDGET: Duration = Duration::from_secs(2);
/// What a call to a healthy lattice may take, on a busy machine.
const QUICKLY: Duration = Duration::from_secs(1);
/// The provider has read what is kept.
const KEPT: &str = "credentials are kept in JetStream";
/// The lattice that must not notice.
const ELSEWHERE: &str = "elsewhere";

/// A provider that keeps its credentials, and a lattice on a server of its own
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

    /// The same on this server, with host data changed by `change`.
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

    /// Sets anonymous credentials, or those of the URL.
    pub async fn set(&self, lattice: &str, url: &str) {
        let ack = set(&self.provider.actor, lattice, url).await.unwrap();
        assert!(ack.accepted, "{}", ack.error);
    }

    /// The hosts of a lattice, answered in time, or the error.
    pub async fn hosts(&self, lattice: &str) -> Result<Vec<Host>, String> {
        let client = self.provider.actor.lattice();
        let hosts = in_time(client.get_hosts(&ctx(), lattice)).await;
        hosts.map_err(|error| error.to_string())
    }

    /// An order to a host of a lattice, answered in time.
    pub async fn start_actor(&self, lattice: &str, host: &str) -> RpcResult<CtlOperationAck> {
        let command = start_actor(lattice, host);
        let client = self.provider.actor.lattice();
        in_time(client.start_actor(&ctx(), &command)).await
    }

    /// So many questions at once, answered in time.
    pub async fn at_once(&self, lattice: &str, calls: usize) -> Vec<Result<Vec<Host>, String>> {
        let calls = (0..calls).map(|_| self.hosts(lattice));
        futures::future::join_all(calls).await
    }

    /// Calls the lattice elsewhere from now on, until it is asked.
    pub fn watch_elsewhere(&self) -> Bystander {
        Bystander::start(&self.provider.actor)
    }

    /// Resident memory of the provider, in KiB.
    pub fn resident(&self) -> i64 {
        self.provider.providers[0].resident()
    }

    /// How long it takes until the lattice answers with so many hosts; meanwhile
    /// calls are answered in time, with errors.
    pub async fn recovers(&self, lattice: &str, hosts: usize) -> Duration {
        let healed = Instant::now();
        super::eventually("the lattice to answer again", || async {
            let found = self.hosts(lattice).await.ok()?;
            (found.len() == hosts).then_some(())
        })
        .await;
        healed.elapsed()
    }

    /// That these lattices are known, also to a provider that starts anew.
    pub async fn remembers(&mut self, lattices: &[&str]) {
        self.knows(lattices).await;
        self.provider.restart().await;
        // Calls before that are told to try again.
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

/// Calls a lattice that has nothing to do with the fault.
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

    /// That no call failed or was slow so far.
    pub async fn noticed_nothing(self) {
        self.over.store(true, Ordering::Relaxed);
        let (calls, slowest) = self.task.await.unwrap();
        println!("the slowest of {calls} calls elsewhere took {slowest:?}");
        assert_under(QUICKLY, slowest);
    }
}

/// A host that answers in a lattice of this server.
pub async fn host_on(nats: &NatsServer, lattice: &str) -> SimHost {
    let sim = SimLattice::without_bucket(nats.client().await, lattice);
    SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await
}

/// Sets anonymous credentials, or those of the URL; answered in time.
pub async fn set(actor: &Actor, lattice: &str, url: &str) -> RpcResult<CtlOperationAck> {
    let request = SetLatticeCredentialsRequest {
        lattice_id: lattice.into(),
        nats_url: Some(url.into()),
        ..Default::default()
    };
    let client = actor.lattice();
    client.set_lattice_credentials(&ctx(), &request).await
}

/// An order to start an instance.
pub fn start_actor(lattice: &str, host: &str) -> StartActorCommand {
    StartActorCommand {
        lattice_id: lattice.into(),
        host_id: host.into(),
        actor_ref: super::operator::ACTOR_REF.into(),
        annotations: None,
        count: 1,
    }
}

/// What came of a call, in time: else the actor would have given up, and this
/// would be the client's own answer.
pub async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let answer = call.await;
    assert_under(BUDGET, started.elapsed());
    answer
}
