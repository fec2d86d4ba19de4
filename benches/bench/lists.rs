//! Links from the bucket. The floor is a plain client's subscription that gets
//! the same messages from a consumer and only counts them.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::support::operator::{LATTICE, Operated};
use crate::table::{Promise, Row, Table, Unit};

pub async fn measure(table: &mut Table) {
    for (links, rounds, promise) in [
        (1_000, 15, Promise::Times(1.5)),
        // The answer is over 900 KiB, so it goes through the object store.
        (10_000, 7, Promise::Times(2.0)),
    ] {
        let lattice = Operated::in_world(crate::world().await, &[]).await;
        lattice
            .world
            .set_lattice(LATTICE, &lattice.world.nats.url())
            .await;
        let client = lattice.world.nats.client().await;
        // The bucket has the claims of an actor and a provider, too.
        let entries = links + 2;
        let values = json!({ "address": "0.0.0.0:8080" });
        lattice.sim.put_links(links, &values).await;
        let mut row = Row::new(&format!("GetLinks, {links} links"), Unit::Ms, promise);
        for round in 0..=rounds {
            let least = direct(&client, entries).await;
            let started = Instant::now();
            let found = lattice.links().await.unwrap();
            let took = started.elapsed();
            assert_eq!(found.len(), links);
            // The first call connects.
            if round > 0 {
                row.add_ms(least, took);
            }
        }
        table.add(row);
    }
}

/// Measures how long a subscription takes to get so many entries.
async fn direct(client: &async_nats::Client, entries: usize) -> Duration {
    let started = Instant::now();
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.unwrap();
    let stream = format!("KV_LATTICEDATA_{LATTICE}");
    let consumer = json!({ "stream_name": stream, "config": {
        "deliver_subject": inbox, "deliver_policy": "last_per_subject", "ack_policy": "none",
        "filter_subject": format!("$KV.LATTICEDATA_{LATTICE}.>"), "replay_policy": "instant",
    } });
    let create = format!("$JS.API.CONSUMER.CREATE.{stream}");
    let created = client.request(create, consumer.to_string().into()).await;
    let created: Value = serde_json::from_slice(&created.unwrap().payload).unwrap();
    assert!(created["error"].is_null(), "{created}");
    for _ in 0..entries {
        messages.next().await.unwrap();
    }
    let took = started.elapsed();
    let name = created["name"].as_str().unwrap();
    let delete = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
    client.request(delete, "".into()).await.unwrap();
    took
}
