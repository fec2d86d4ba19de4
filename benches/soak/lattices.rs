//! Lattices that can be in two places, with other hosts in each, so that every
//! answer shows which place it came from.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, Message};
use futures::StreamExt as _;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use crate::support::nats::NatsServer;

/// Which of the two places a lattice may be bound to.
pub type Places = [bool; 2];

/// One place of a lattice.
pub struct Place {
    /// `host:port` of its server.
    pub server: String,
    pub hosts: Vec<String>,
}

/// A lattice, its places, and where it was bound to in the course of time.
pub struct Lattice {
    pub id: String,
    pub places: [Place; 2],
    /// Whether its credentials are its own, so that its connection is, too.
    pub alone: bool,
    bound: Mutex<Vec<Places>>,
    /// Held by who sets credentials: one after the other.
    pub setting: tokio::sync::Mutex<Setting>,
}

/// How often credentials were set, and until when the last time may count.
#[derive(Default)]
pub struct Setting {
    pub times: u64,
    pub unsettled_until: Option<Instant>,
}

impl Lattice {
    /// Takes where it may be bound to from now on.
    pub fn may_be_in(&self, places: Places) {
        self.bound.lock().unwrap().push(places);
    }

    /// Where it may be bound to now.
    pub fn bound(&self) -> Places {
        *self.bound.lock().unwrap().last().unwrap()
    }

    /// A moment, for [`Lattice::bound_since`].
    pub fn moment(&self) -> usize {
        self.bound.lock().unwrap().len() - 1
    }

    /// Every place that it may have been bound to since then.
    pub fn bound_since(&self, moment: usize) -> Places {
        let bound = self.bound.lock().unwrap();
        let since = bound[moment..].iter();
        since.fold([false; 2], |all, one| [all[0] | one[0], all[1] | one[1]])
    }

    /// Hosts of these places.
    pub fn hosts_in(&self, places: Places) -> impl Iterator<Item = &String> {
        let here = self.places.iter().zip(places).filter(|(_, is)| *is);
        here.flat_map(|(place, _)| &place.hosts)
    }

    /// The URL of a place; `times` tells its credentials from others.
    pub fn url(&self, place: usize, times: u64) -> String {
        let server = &self.places[place].server;
        match self.alone {
            // Servers that want no credentials take any.
            true => format!("nats://{}-{times}:pw@{server}", self.id),
            false => format!("nats://{server}"),
        }
    }
}

/// What hosts were told, and which of them.
#[derive(Default)]
pub struct Received(Mutex<HashMap<String, String>>);

impl Received {
    /// The host that received an order with this mark.
    pub fn by(&self, mark: &str) -> Option<String> {
        self.0.lock().unwrap().get(mark).cloned()
    }

    fn take(&self, mark: &str, host: &str) {
        self.0.lock().unwrap().insert(mark.into(), host.into());
    }
}

/// So many lattices over these servers, and their hosts, who answer as long as the
/// runtime lives.
pub async fn start(
    count: usize,
    servers: &[NatsServer],
    received: &Arc<Received>,
) -> Vec<Arc<Lattice>> {
    let mut clients = Vec::new();
    for server in servers {
        // Back at once where the server is.
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

/// Answers for the hosts of a lattice in one place.
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
            // So late that servers die between an order and its answer.
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

/// The hosts among these that the lattice does not have in these places.
pub fn strangers(
    lattice: &Lattice,
    places: Places,
    named: impl IntoIterator<Item = String>,
) -> Vec<String> {
    let ours: HashSet<&String> = lattice.hosts_in(places).collect();
    let named = named.into_iter();
    named.filter(|host| !ours.contains(host)).collect()
}
