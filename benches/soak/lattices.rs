//! Lattices that can be in two places with different hosts, so that every
//! answer shows its place.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, Message};
use futures::StreamExt as _;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use crate::support::nats::NatsServer;

/// The places that the present credentials of a lattice may lead to.
pub type Places = [bool; 2];

/// One place of a lattice.
pub struct Place {
    /// `host:port` of its server.
    pub server: String,
    pub hosts: Vec<String>,
}

/// A lattice, its places, and the history of its credentials.
pub struct Lattice {
    pub id: String,
    pub places: [Place; 2],
    /// Whether its credentials, and so its connection, are its own.
    pub alone: bool,
    bound: Mutex<Vec<Places>>,
    /// Held by the caller who sets credentials, so that one does so at a time.
    pub setting: tokio::sync::Mutex<Setting>,
}

/// How often credentials were set, and until when those with an unknown outcome
/// may take effect.
#[derive(Default)]
pub struct Setting {
    pub times: u64,
    pub unsettled_until: Option<Instant>,
}

impl Lattice {
    /// Notes where its credentials may lead from now on.
    pub fn may_be_in(&self, places: Places) {
        self.bound.lock().unwrap().push(places);
    }

    /// Returns where its credentials may lead now.
    pub fn bound(&self) -> Places {
        *self.bound.lock().unwrap().last().unwrap()
    }

    /// Returns the present moment, for [`Lattice::bound_since`].
    pub fn moment(&self) -> usize {
        self.bound.lock().unwrap().len() - 1
    }

    /// Returns every place that its credentials may have led to since then.
    pub fn bound_since(&self, moment: usize) -> Places {
        let bound = self.bound.lock().unwrap();
        let since = bound[moment..].iter();
        since.fold([false; 2], |all, one| [all[0] | one[0], all[1] | one[1]])
    }

    /// Returns the hosts of these places.
    pub fn hosts_in(&self, places: Places) -> impl Iterator<Item = &String> {
        let here = self.places.iter().zip(places).filter(|(_, is)| *is);
        here.flat_map(|(place, _)| &place.hosts)
    }

    /// Returns the URL of a place; `times` makes its credentials differ from
    /// others.
    pub fn url(&self, place: usize, times: u64) -> String {
        let server = &self.places[place].server;
        match self.alone {
            // Servers without authentication accept any credentials.
            true => format!("nats://{}-{times}:pw@{server}", self.id),
            false => format!("nats://{server}"),
        }
    }
}

/// The commands that hosts have received.
#[derive(Default)]
pub struct Received(Mutex<HashMap<String, String>>);

impl Received {
    /// Returns the host that received a command with this mark.
    pub fn by(&self, mark: &str) -> Option<String> {
        self.0.lock().unwrap().get(mark).cloned()
    }

    fn take(&self, mark: &str, host: &str) {
        self.0.lock().unwrap().insert(mark.into(), host.into());
    }
}

/// Makes so many lattices on these servers, and their hosts, which answer as
/// long as the runtime lives.
pub async fn start(
    count: usize,
    servers: &[NatsServer],
    received: &Arc<Received>,
) -> Vec<Arc<Lattice>> {
    let mut clients = Vec::new();
    for server in servers {
        // It reconnects as soon as the server is back.
        let options = async_nats::ConnectOptions::new()
            .reconnect_delay_callback(|_| Duration::from_millis(20));
        clients.push(options.connect(server.url()).await.unwrap());
    }
    let mut lattices = Vec::new();
    for number in 0..count {
        let id = format!("l{number}");
        let place = async |at: usize| {
            let hosts: Vec<_> = (0..2).map(|_| new_host()).collect();
            let version = ["0.80.0", "0.82.0"][number % 2];
            serve(&clients[at], &id, version, &hosts, received).await;
            Place {
                server: servers[at].address(),
                hosts,
            }
        };
        let (one, two) = (number % servers.len(), (number + 1) % servers.len());
        let places = [place(one).await, place(two).await];
        lattices.push(Arc::new(Lattice {
            id,
            places,
            alone: number % 2 == 0,
            bound: Mutex::new(vec![[true, false]]),
            setting: Default::default(),
        }));
    }
    for client in &clients {
        crate::support::fence(client).await;
    }
    lattices
}

fn new_host() -> String {
    KeyPair::new(KeyPairType::Server).public_key()
}

/// Answers as the hosts of a lattice in one place.
async fn serve(
    client: &Client,
    lattice: &str,
    version: &'static str,
    hosts: &[String],
    received: &Arc<Received>,
) {
    let prefix = format!("wasmbus.ctl.{lattice}.");
    let mut asked = client.subscribe(format!("{prefix}>")).await.unwrap();
    let (client, hosts, received) = (client.clone(), hosts.to_vec(), received.clone());
    tokio::spawn(async move {
        for number in 0_u64.. {
            let Some(message) = asked.next().await else {
                return;
            };
            let subject = message.subject.as_str().trim_start_matches(&prefix);
            let answers = answers(subject, &message, version, &hosts, &received);
            // Answers are late enough for servers to die between a command and
            // its answer.
            let delay = Duration::from_millis(number * 7 % 50);
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                for answer in answers {
                    if let Some(to) = message.reply.clone() {
                        let _ = client.publish(to, answer.to_string().into()).await;
                    }
                }
            });
        }
    });
}

fn answers(
    subject: &str,
    message: &Message,
    version: &str,
    hosts: &[String],
    received: &Received,
) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
    let of_each = |answer: &dyn Fn(&String) -> Value| hosts.iter().map(answer).collect();
    match subject.split('.').collect::<Vec<_>>().as_slice() {
        ["ping", "hosts"] => of_each(
            &|host| json!({ "id": host, "version": version, "uptime_seconds": 1, "labels": {} }),
        ),
        ["auction", "actor"] => of_each(
            &|host| json!({ "actor_ref": body["actor_ref"], "constraints": {}, "host_id": host }),
        ),
        ["get", host, "inv"] if hosts.iter().any(|id| id == host) => {
            vec![json!({ "host_id": host, "labels": {}, "actors": [], "providers": [] })]
        }
        ["cmd", host, _] if hosts.iter().any(|id| id == host) => {
            let marks = [&body["actor_ref"], &body["provider_ref"]];
            for mark in marks.into_iter().filter_map(Value::as_str) {
                received.take(mark, host);
            }
            vec![json!({ "accepted": true, "error": "" })]
        }
        _ => Vec::new(),
    }
}

/// Returns the hosts among these that the lattice does not have in these
/// places.
pub fn strangers(
    lattice: &Lattice,
    places: Places,
    named: impl IntoIterator<Item = String>,
) -> Vec<String> {
    let ours: HashSet<&String> = lattice.hosts_in(places).collect();
    let named = named.into_iter();
    named.filter(|host| !ours.contains(host)).collect()
}
