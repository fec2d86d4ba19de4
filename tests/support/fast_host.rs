//! A host that acknowledges commands at once and does nothing else, so that
//! only the way to it is measured. On the wire it is an OTP host 0.63, for
//! which StartActor is one message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{Client, Subject};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::operator::ACTOR_REF;

/// The host.
pub struct Host {
    /// Its public key.
    pub id: String,
    /// The subject on which it takes commands to start an actor.
    pub subject: Subject,
    commands: Arc<AtomicUsize>,
}

impl Host {
    /// Starts a host in this lattice, or in all lattices of a server where that
    /// is `*`.
    pub async fn start(client: Client, lattice: &str) -> Self {
        let id = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
        let ping = json!({
            "id": id, "version": "0.63.2", "labels": {}, "uptime_seconds": 1,
            "uptime_human": "1 second", "friendly_name": "silent-river-1021",
        });
        let pings = format!("wasmbus.ctl.{lattice}.ping.hosts");
        answer(&client, pings.into(), ping, Arc::default()).await;
        // The provider sends this beside the ping, to see whether a host of 1.x
        // listens.
        let inventory = json!({ "host_id": id, "actors": [], "providers": [], "labels": {} });
        let of_host = format!("wasmbus.ctl.{lattice}.get.{id}.inv");
        answer(&client, of_host.into(), inventory, Arc::default()).await;
        let subject = Subject::from(format!("wasmbus.ctl.{lattice}.cmd.{id}.la"));
        let commands: Arc<AtomicUsize> = Arc::default();
        let ack = json!({ "accepted": true, "error": "" });
        answer(&client, subject.clone(), ack, commands.clone()).await;
        super::fence(&client).await;
        Self {
            id,
            subject,
            commands,
        }
    }

    /// Returns a command to start an actor, as hosts take it.
    pub fn command(&self) -> Value {
        json!({ "actor_ref": ACTOR_REF, "count": 1, "host_id": self.id })
    }

    /// Returns how many commands have come so far.
    pub fn commands(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }
}

/// Gives every message on a subject this answer, and counts them.
async fn answer(client: &Client, subject: Subject, body: Value, came: Arc<AtomicUsize>) {
    let mut messages = client.subscribe(subject).await.unwrap();
    let (client, body) = (client.clone(), Bytes::from(body.to_string()));
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            came.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = message.reply {
                client.publish(reply, body.clone()).await.unwrap();
            }
        }
    });
}
