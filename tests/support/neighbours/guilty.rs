//! What guilty actors do: one function for each.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use serde_json::json;
use wasmcloud_interface_lattice_control::{
    GetHostInventoryRequest, LatticeController as _, StartActorCommand,
};

use super::Neighbours;
use super::load::{Counter, Load};
use crate::support::actor::Actor;
use crate::support::drill::start_actor;
use crate::support::invocation::{bytes, mint};
use crate::support::nats::NatsServer;
use crate::support::operator::ACTOR_REF;
use crate::support::provider::Identity;
use crate::support::proxy::Proxy;
use crate::support::world::ctx;
use crate::support::{Responder, respond};

/// Callers of commands at full rate.
pub const CALLERS: usize = 64;
/// Pause between an answer and the next call to the same lattice, on average.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause between two bursts of a flood.
const TICK: Duration = Duration::from_millis(2);

/// Servers that accept connections and say nothing.
pub struct Silent(Vec<TcpListener>);

impl Neighbours {
    /// Gives the guilty actor so many lattices at servers that say nothing.
    pub async fn dead_lattices(&self, count: usize) -> (Silent, Vec<String>) {
        let listen = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let servers = Silent((0..count).map(listen).collect());
        let urls = servers.0.iter().map(|server| {
            let address = server.local_addr().unwrap();
            format!("nats://{address}")
        });
        let lattices = self.lattices_of_guilty("dead", urls).await;
        (servers, lattices)
    }

    /// Gives the guilty actor so many lattices that are connected, to a site that the proxy
    /// leads to.
    pub async fn distant_lattices(&self, count: usize) -> (Proxy, Vec<String>) {
        let site = Proxy::to(&self.remote.address()).await;
        let address = site.url().replace("nats://", "");
        let urls = (0..count).map(|number| format!("nats://distant{number}:x@{address}"));
        let lattices = self.lattices_of_guilty("distant", urls).await;
        let connect = |lattice: &String| {
            let (actor, command) = (self.guilty.lattice(), start_actor(lattice, &self.host.id));
            async move { assert!(actor.start_actor(&ctx(), &command).await.unwrap().accepted) }
        };
        stream::iter(lattices.iter().map(connect))
            .buffer_unordered(16)
            .collect::<()>()
            .await;
        (site, lattices)
    }

    /// Gives the guilty actor so many lattices at names that are in no file.
    pub async fn nameless_lattices(&self, count: usize) -> Vec<String> {
        let urls = (0..count).map(|number| format!("nats://site{number}.silent.test"));
        self.lattices_of_guilty("nameless", urls).await
    }

    async fn lattices_of_guilty(
        &self,
        name: &str,
        urls: impl Iterator<Item = String>,
    ) -> Vec<String> {
        let set = |(number, url): (usize, String)| async move {
            let lattice = format!("{name}{number}");
            self.set_by_guilty(&lattice, &url).await;
            lattice
        };
        stream::iter(urls.enumerate().map(set))
            .buffered(16)
            .collect()
            .await
    }

    /// Has the guilty actor call each of these lattices all the time, `lanes` calls at once.
    pub fn polls(&self, lattices: Vec<String>, lanes: usize) -> Load {
        let (url, identity) = (self.world.nats.url(), self.guilty_identity.clone());
        Load::start(async move |done: Counter| {
            let client = async_nats::connect(url).await.unwrap();
            // Each has a pause of its own, so that they do not call in step.
            let poll = async |(lane, lattice): (usize, &String)| loop {
                let call = mint(&identity, "GetHosts", lattice, |_| {});
                let _ = client
                    .request(identity.subject(""), bytes(&call).into())
                    .await;
                done.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE / 2 + PAUSE * (lane % 100) as u32 / 100).await;
            };
            let all = lattices.iter().cycle().take(lattices.len() * lanes);
            join_all(all.enumerate().map(poll)).await;
        })
    }

    /// Signs so many commands of the guilty actor, each to start an actor in a lattice of its
    /// own that is well.
    pub async fn orders(&self, count: usize) -> Vec<Bytes> {
        self.set_by_guilty("ordered", &self.url_of("ordered")).await;
        let command = start_actor("ordered", &self.host.id);
        signed(&self.guilty_identity, &command, count)
    }

    /// Forges calls of the guilty actor: well-formed, and signed by nobody.
    pub fn forged(&self, count: usize) -> Vec<Bytes> {
        let command = start_actor("ordered", &self.host.id);
        let forge = |call: Bytes| {
            let mut call = rmp_serde::from_slice::<wasmbus_rpc::core::Invocation>(&call).unwrap();
            let signature = call.encoded_claims.rfind('.').unwrap() + 1;
            let other = match call.encoded_claims.as_bytes()[signature] {
                b'A' => "B",
                _ => "A",
            };
            let first = signature..signature + 1;
            call.encoded_claims.replace_range(first, other);
            Bytes::from(bytes(&call))
        };
        let calls = signed(&self.guilty_identity, &command, count);
        calls.into_iter().map(forge).collect()
    }

    /// Has [`CALLERS`] make these calls at full rate, each the next one when the last is
    /// answered. `subject` is the provider's, or that of what stands for it.
    pub fn full_rate(&self, subject: String, calls: Vec<Bytes>) -> Load {
        let url = self.world.nats.url();
        Load::start(async move |done: Counter| {
            let client = async_nats::connect(url).await.unwrap();
            let share = calls.len().div_ceil(CALLERS);
            let caller = async |calls: &[Bytes]| {
                for call in calls {
                    let answer = client.request(subject.clone(), call.clone()).await;
                    answer.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            };
            join_all(calls.chunks(share).map(caller)).await;
        })
    }

    /// Sends these calls again and again, so many a second, and waits for no answer.
    pub fn flood(&self, subject: String, calls: Vec<Bytes>, per_second: u32) -> Load {
        let url = self.world.nats.url();
        Load::start(async move |done: Counter| {
            let client = async_nats::connect(url).await.unwrap();
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(format!("{inbox}.*")).await.unwrap();
            let heard = async { while answers.next().await.is_some() {} };
            let sent = async {
                let mut clock = tokio::time::interval(TICK);
                let mut calls = calls.iter().cycle();
                let burst = (TICK * per_second).as_secs() as usize;
                loop {
                    clock.tick().await;
                    for call in calls.by_ref().take(burst) {
                        let number = done.fetch_add(1, Ordering::Relaxed);
                        let reply = format!("{inbox}.{number}");
                        let subject = subject.clone();
                        let sent = client.publish_with_reply(subject, reply, call.clone());
                        sent.await.unwrap();
                    }
                }
            };
            tokio::join!(heard, sent);
        })
    }
}

/// Signs so many commands, each different from the others.
fn signed(identity: &Identity, command: &StartActorCommand, count: usize) -> Vec<Bytes> {
    let one = || Bytes::from(bytes(&mint(identity, "StartActor", command, |_| {})));
    std::iter::repeat_with(one).take(count).collect()
}

/// A lattice of the guilty actor whose only host says very much.
pub struct Verbose {
    server: NatsServer,
    host: String,
    _answering: [Responder; 2],
}

impl Verbose {
    const LATTICE: &str = "verbose";

    /// Starts the host, whose inventory has so many bytes.
    pub async fn start(neighbours: &Neighbours, bytes: usize) -> Self {
        // One answer has 32 MiB, and the server has room for some of them.
        let config = "max_payload: 67108864, max_pending: 268435456";
        let server = NatsServer::with_config_without_jetstream(config);
        let host = neighbours.host.id.clone();
        let ping = json!({
            "id": host, "version": "0.63.2", "labels": {}, "uptime_seconds": 1,
            "uptime_human": "1 second", "friendly_name": "silent-river-1021",
        });
        let actor = json!({
            "id": neighbours.world.identity.actor, "image_ref": ACTOR_REF, "name": "echo",
            "instances": [{ "instance_id": "0f2f5b1a-6b1c-4c57-9c44-6a9d6f1d6c11",
                            "revision": 0, "annotations": {} }],
        });
        let actors = vec![actor.to_string(); bytes / (actor.to_string().len() + 1)].join(",");
        let inventory =
            format!(r#"{{"host_id":"{host}","labels":{{}},"providers":[],"actors":[{actors}]}}"#);
        let client = server.client().await;
        let subject = |rest: &str| format!("wasmbus.ctl.{}.{rest}", Self::LATTICE);
        let pings = vec![ping.to_string().into_bytes()];
        let inventories = vec![inventory.into_bytes()];
        let answering = [
            respond(&client, &subject("ping.hosts"), pings).await,
            respond(&client, &subject(&format!("get.{host}.inv")), inventories).await,
        ];
        let url = server.url();
        neighbours.set_by_guilty(Self::LATTICE, &url).await;
        Self {
            server,
            host,
            _answering: answering,
        }
    }

    /// Has so many callers ask for the inventory all the time.
    pub fn asked(&self, neighbours: &Neighbours, callers: usize) -> Load {
        let url = neighbours.world.nats.url();
        let identity = Arc::new(neighbours.guilty_identity.clone());
        let request = GetHostInventoryRequest {
            lattice_id: Self::LATTICE.into(),
            host_id: self.host.clone(),
        };
        Load::start(async move |done: Counter| {
            let actor = Actor::connect(&url, &identity).await;
            let ask = async |_| loop {
                let answer = actor.lattice().get_host_inventory(&ctx(), &request).await;
                if done.fetch_add(1, Ordering::Relaxed) == 0 {
                    println!("the first of them: {}", shown(answer));
                }
                tokio::time::sleep(PAUSE).await;
            };
            join_all((0..callers).map(ask)).await;
        })
    }

    /// Has so many callers ask the host itself all the time, not through the provider.
    pub fn asked_directly(&self, callers: usize) -> Load {
        let (url, host) = (self.server.url(), self.host.clone());
        Load::start(async move |done: Counter| {
            let client = async_nats::connect(url).await.unwrap();
            let subject = format!("wasmbus.ctl.{}.get.{host}.inv", Self::LATTICE);
            let ask = async |_| loop {
                client.request(subject.clone(), "".into()).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            };
            join_all((0..callers).map(ask)).await;
        })
    }
}

/// Describes an answer in a few words.
fn shown<T>(answer: wasmbus_rpc::error::RpcResult<T>) -> String {
    match answer {
        Ok(_) => "answered".into(),
        Err(error) => error.to_string().chars().take(200).collect(),
    }
}
