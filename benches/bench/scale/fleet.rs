//! A provider with many lattices on one nats-server, whose hosts are simulated by one task
//! for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::json;
use wasmcloud_interface_lattice_control::LatticeController as _;

use crate::accounting::Process;
use crate::support::drill::start_actor;
use crate::support::nats::NatsServer;
use crate::support::operator::accepted;
use crate::support::world::{World, ctx};

/// Hosts of each lattice.
pub const HOSTS: usize = 100;
/// Pause between two heartbeats of a host.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// Pause between bursts of heartbeats.
const TICK: Duration = Duration::from_millis(20);
/// First calls at once.
const AT_ONCE: usize = 32;

/// The hosts of all lattices, and what they say. On the wire they are OTP hosts 0.63, for
/// which `StartActor` is one message.
pub struct Hosts(Vec<Vec<Host>>);

struct Host {
    id: String,
    /// Its answer to a ping.
    ping: Bytes,
    heartbeat: Bytes,
}

impl Hosts {
    /// Makes the hosts of so many lattices.
    pub fn make(lattices: usize) -> Arc<Self> {
        let host = || {
            let id = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
            let labels = json!({
                "hostcore.arch": "x86_64", "hostcore.os": "linux",
                "hostcore.osfamily": "unix", "zone": "eu-central-1",
            });
            let ping = json!({
                "id": id, "version": "0.63.2", "labels": labels, "uptime_seconds": 1,
                "uptime_human": "1 second", "friendly_name": "silent-river-1021",
            });
            let heartbeat = json!({
                "specversion": "1.0", "id": "b7a3c5b0-0000-4000-8000-000000000001",
                "type": "com.wasmcloud.lattice.host_heartbeat", "source": id,
                "datacontenttype": "application/json", "time": "2023-10-01T12:00:00.123456Z",
                "data": { "friendly_name": "silent-river-1021", "labels": labels,
                          "actors": {}, "providers": [], "uptime_seconds": 1,
                          "uptime_human": "1 second", "version": "0.63.2" },
            });
            Host {
                ping: ping.to_string().into(),
                heartbeat: heartbeat.to_string().into(),
                id,
            }
        };
        let lattice = |_| std::iter::repeat_with(host).take(HOSTS).collect();
        Arc::new(Self((0..lattices).map(lattice).collect()))
    }

    /// Returns the hosts of the lattice in a subject of the control interface.
    fn of(&self, subject: &str) -> &[Host] {
        let lattice = subject.split('.').nth(2).unwrap();
        &self.0[lattice[1..].parse::<usize>().unwrap()]
    }
}

/// A provider and its lattices.
pub struct Fleet {
    pub lattices: usize,
    world: World,
    remote: NatsServer,
    hosts: Arc<Hosts>,
    /// Whether all lattices have one login.
    shared: bool,
    /// How many lattices have hosts that send heartbeats.
    beating: Arc<AtomicUsize>,
}

impl Fleet {
    /// Starts a provider and the hosts.
    pub async fn start(hosts: &Arc<Hosts>, lattices: usize, shared: bool) -> Self {
        let world = World::start_on(NatsServer::start(), |host_data| {
            host_data["log_level"] = "info".into();
            let settings = json!({ "max_connections": 2 * lattices.max(500) });
            host_data["config_json"] = settings.to_string().into();
        })
        .await;
        let remote = NatsServer::without_jetstream();
        let client = remote.client().await;
        answer(&client, hosts).await;
        let beating = Arc::default();
        tokio::spawn(beat(client, hosts.clone(), Arc::clone(&beating)));
        let fleet = Self {
            lattices,
            world,
            remote,
            hosts: hosts.clone(),
            shared,
            beating,
        };
        // What all lattices share is not counted for them.
        fleet
            .world
            .set_lattice("other", &fleet.world.nats.url())
            .await;
        assert!(fleet.world.hosts("other").await.unwrap().is_empty());
        fleet
    }

    /// Has hosts of so many lattices send heartbeats from now on.
    pub fn beat(&self, lattices: usize) {
        self.beating.store(lattices, Ordering::Relaxed);
    }

    /// Returns the resident memory of the provider in KiB.
    pub fn resident(&self) -> i64 {
        self.world.provider.resident()
    }

    /// Returns the CPU time of the provider so far.
    pub fn cpu(&self) -> Duration {
        Process::from(&self.world.provider).cpu()
    }

    /// Sets the credentials of all lattices.
    pub async fn set_credentials(&self) {
        let set = |number: usize| async move {
            let user = if self.shared {
                "all"
            } else {
                &*format!("u{number}")
            };
            let url = format!("nats://{user}:x@{}", self.remote.address());
            self.world.set_lattice(&name(number), &url).await;
        };
        let all = stream::iter((0..self.lattices).map(set));
        all.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Asks so many lattices for their hosts, many at once.
    pub async fn call_each(&self, lattices: usize) {
        let all = stream::iter((0..lattices).map(|number| self.get_hosts(number)));
        all.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    }

    /// Has hosts of these lattices in turn start actors; returns how long each call took,
    /// the shortest first.
    pub async fn commands(&self, count: usize, lattices: usize, from: usize) -> Vec<Duration> {
        let mut took = Vec::with_capacity(count);
        for number in from..from + count {
            let lattice = number % lattices;
            let host = &self.hosts.0[lattice][number / lattices % HOSTS].id;
            let command = start_actor(&name(lattice), host);
            let started = Instant::now();
            let ack = self
                .world
                .actor
                .lattice()
                .start_actor(&ctx(), &command)
                .await;
            took.push(started.elapsed());
            accepted(ack);
        }
        took.sort();
        took
    }

    /// Asks these lattices in turn for their hosts; returns how long each call took, the
    /// shortest first.
    pub async fn queries(&self, count: usize, lattices: usize, from: usize) -> Vec<Duration> {
        let mut took = Vec::with_capacity(count);
        for number in from..from + count {
            took.push(self.get_hosts(number % lattices).await);
        }
        took.sort();
        took
    }

    async fn get_hosts(&self, lattice: usize) -> Duration {
        let started = Instant::now();
        let hosts = self.world.hosts(&name(lattice)).await.unwrap();
        let took = started.elapsed();
        assert_eq!(hosts.len(), HOSTS);
        took
    }
}

fn name(lattice: usize) -> String {
    format!("x{lattice}")
}

/// Answers the pings, questions and commands of all lattices.
async fn answer(client: &Client, hosts: &Arc<Hosts>) {
    let mut pings = client.subscribe("wasmbus.ctl.*.ping.hosts").await.unwrap();
    let mut inventories = client.subscribe("wasmbus.ctl.*.get.*.inv").await.unwrap();
    let mut commands = client.subscribe("wasmbus.ctl.*.cmd.*.la").await.unwrap();
    crate::support::fence(client).await;
    let (client, hosts) = (client.clone(), hosts.clone());
    tokio::spawn(async move {
        let accepted = Bytes::from_static(br#"{"accepted":true,"error":""}"#);
        loop {
            tokio::select! {
                Some(ping) = pings.next() => {
                    let to = ping.reply.unwrap();
                    for host in hosts.of(&ping.subject) {
                        client.publish(to.clone(), host.ping.clone()).await.unwrap();
                    }
                }
                Some(question) = inventories.next() => {
                    let host = question.subject.split('.').nth(4).unwrap();
                    let body = json!({ "host_id": host, "actors": [], "providers": [],
                                       "labels": {} });
                    let to = question.reply.unwrap();
                    client.publish(to, body.to_string().into()).await.unwrap();
                }
                Some(command) = commands.next() => {
                    client.publish(command.reply.unwrap(), accepted.clone()).await.unwrap();
                }
                else => return,
            }
        }
    });
}

/// Sends heartbeats of all hosts of the first lattices, evenly over time.
async fn beat(client: Client, hosts: Arc<Hosts>, beating: Arc<AtomicUsize>) {
    let mut clock = tokio::time::interval(TICK);
    let (mut due, mut next) = (0.0, 0);
    loop {
        clock.tick().await;
        let all = beating.load(Ordering::Relaxed) * HOSTS;
        due += all as f64 * TICK.as_secs_f64() / HEARTBEAT_EVERY.as_secs_f64();
        while due >= 1.0 {
            due -= 1.0;
            next = (next + 1) % all.max(1);
            let (lattice, host) = (next / HOSTS, next % HOSTS);
            let subject = format!("wasmbus.evt.{}", name(lattice));
            let body = hosts.0[lattice][host].heartbeat.clone();
            client.publish(subject, body).await.unwrap();
        }
    }
}
