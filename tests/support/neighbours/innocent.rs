//! The calls of the innocent actor. They begin at fixed times, however long those before
//! them take, so that every delay is measured as often as it would be met.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use wasmcloud_interface_lattice_control::LatticeController as _;

use super::{CONNECTED, Neighbours};
use crate::support::drill::start_actor;
use crate::support::nats::NatsServer;
use crate::support::time::scaled;
use crate::support::world::{ctx, set};

/// What the innocent actor calls: in a lattice that is connected twice, and in lattices that
/// have no connection yet.
pub const KINDS: [&str; 3] = ["command", "GetHosts", "first call"];

/// How often it calls: a command each time, `GetHosts` every second time, and a first call
/// every fourth time.
#[derive(Clone, Copy)]
pub struct Pace {
    pub every: Duration,
    pub commands: usize,
}

/// The calls of one kind.
pub struct Calls {
    /// How long each took, the shortest first.
    took: Vec<Duration>,
    /// What those said that were not carried out.
    pub refused: Vec<String>,
}

impl Calls {
    /// Returns the time within which so many of a hundred calls were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.took[(self.took.len() * percent / 100).min(self.took.len() - 1)]
    }
}

impl Neighbours {
    /// Sets credentials of lattices without a connection, as many as one run of
    /// [`Self::innocent_calls`] calls first.
    pub async fn unconnected(&self, pace: Pace) -> Vec<String> {
        let count = pace.commands / 4;
        let from = self.unconnected.fetch_add(count, Ordering::Relaxed);
        let names = (from..from + count).map(|number| format!("unconnected{number}"));
        let set = |name: String| async move {
            self.world.set_lattice(&name, &self.url_of(&name)).await;
            name
        };
        stream::iter(names.map(set)).buffered(16).collect().await
    }

    /// Has the innocent actor call, and returns its calls by kind.
    pub async fn innocent_calls(&self, pace: Pace, unconnected: Vec<String>) -> [Calls; 3] {
        let commands = (0..pace.commands).map(|_| self.command(CONNECTED.into()));
        let queries = (0..pace.commands / 2).map(|_| self.get_hosts());
        let first = unconnected.into_iter().map(|name| self.command(name));
        let (commands, queries, first) = tokio::join!(
            paced(pace.every, commands),
            paced(pace.every * 2, queries),
            paced(pace.every * 4, first),
        );
        [commands, queries, first]
    }

    /// Has the host of a lattice start an actor.
    pub fn command(&self, lattice: String) -> impl Future<Output = Result<(), String>> + use<> {
        let (actor, host) = (self.world.actor.lattice(), self.host.id.clone());
        async move {
            let command = start_actor(&lattice, &host);
            let ack = actor.start_actor(&ctx(), &command).await;
            let ack = ack.map_err(|error| error.to_string())?;
            ack.accepted.then_some(()).ok_or(ack.error)
        }
    }

    /// Asks for the hosts of the connected lattice.
    pub fn get_hosts(&self) -> impl Future<Output = Result<(), String>> + use<> {
        let actor = self.world.actor.lattice();
        async move {
            let hosts = actor.get_hosts(&ctx(), CONNECTED).await;
            let hosts = hosts.map_err(|error| error.to_string())?;
            (hosts.len() == 1).then_some(()).ok_or("no host".into())
        }
    }
}

/// Makes each of these calls at its time.
async fn paced<F>(every: Duration, calls: impl Iterator<Item = F>) -> Calls
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let mut clock = tokio::time::interval(every);
    let mut running = Vec::new();
    for call in calls {
        clock.tick().await;
        let started = Instant::now();
        let call = async move { (call.await, started.elapsed()) };
        running.push(tokio::spawn(call));
    }
    let (mut took, mut refused) = (Vec::new(), Vec::new());
    for call in running {
        let (answer, after) = call.await.unwrap();
        took.push(after);
        refused.extend(answer.err());
    }
    took.sort();
    Calls { took, refused }
}

/// How old connections are before their server restarts.
const OLD_ENOUGH: Duration = Duration::from_millis(700);

/// A server of the innocent actor which restarts, and the lattices that are connected to it.
pub struct Restarting {
    server: NatsServer,
    lattices: Vec<String>,
}

impl Restarting {
    /// Starts the server, and connects so many lattices, which have no hosts.
    pub async fn start(neighbours: &Neighbours, lattices: usize) -> Self {
        let server = NatsServer::without_jetstream();
        let name = |number| format!("restarting{number}");
        let lattices: Vec<String> = (0..lattices).map(name).collect();
        for lattice in &lattices {
            let url = format!("nats://{lattice}:x@{}", server.address());
            let actor = &neighbours.world.actor;
            assert!(set(actor, lattice, &url).await.unwrap().accepted);
            let hosts = actor.lattice().get_hosts(&ctx(), lattice).await;
            assert!(hosts.unwrap().is_empty());
        }
        Self { server, lattices }
    }

    /// Restarts the server. Returns after how long each lattice could be called again.
    pub async fn restart(&mut self, neighbours: &Neighbours) -> Vec<Duration> {
        // A connection that breaks at once is made again later.
        tokio::time::sleep(OLD_ENOUGH).await;
        tokio::task::block_in_place(|| self.server.restart());
        let up = Instant::now();
        let patience = scaled(Duration::from_secs(30));
        let answered = async |lattice: &String| {
            let actor = neighbours.world.actor.lattice();
            while actor.get_hosts(&ctx(), lattice).await.is_err() {
                assert!(
                    up.elapsed() < patience,
                    "{lattice} is away for {patience:?}"
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            up.elapsed()
        };
        let calls = self.lattices.iter().map(answered);
        futures::future::join_all(calls).await
    }
}
