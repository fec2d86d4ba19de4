//! A metadata bucket whose entries are lost on their way, as happens where a server between
//! ours and the bucket restarts, or drops what it cannot hold.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::support::host::Generation::G2b;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::world::World;

/// Which messages are lost: of the first consumer, the second and so on, the one with this
/// number.
type Lost = &'static [u64];

/// Carries connections to a server, and loses messages of the bucket's consumers. Returns
/// its URL.
async fn losing(server: String, lost: Lost) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let ((from_client, to_client), (from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move {
                let mut from_client = from_client;
                tokio::io::copy(&mut from_client, &mut to_server).await
            });
            tokio::spawn(carry(from_server, to_client, lost));
        }
    });
    url
}

/// Carries what a server sends, except what is lost.
async fn carry(server: OwnedReadHalf, mut client: OwnedWriteHalf, lost: Lost) {
    let mut server = BufReader::new(server);
    let mut consumers: Vec<String> = Vec::new();
    loop {
        let mut frame = Vec::new();
        match server.read_until(b'\n', &mut frame).await {
            Ok(1..) => {}
            _ => return,
        }
        let line = String::from_utf8_lossy(&frame).into_owned();
        let words: Vec<_> = line.split_whitespace().collect();
        let mut is_lost = false;
        if matches!(words[0], "MSG" | "HMSG") {
            let length: u64 = words[words.len() - 1].parse().unwrap();
            let mut body = (&mut server).take(length + 2);
            body.read_to_end(&mut frame).await.unwrap();
            let reply = words.iter().find_map(|word| word.strip_prefix("$JS.ACK."));
            if let Some(reply) = reply.filter(|reply| reply.starts_with("KV_LATTICEDATA_")) {
                let tokens: Vec<_> = reply.split('.').collect();
                if !consumers.iter().any(|known| known == tokens[1]) {
                    consumers.push(tokens[1].to_owned());
                }
                let consumer = consumers.iter().position(|known| known == tokens[1]);
                is_lost = lost.get(consumer.unwrap()) == Some(&tokens[4].parse().unwrap());
            }
        }
        if !is_lost && client.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Tells whether each of 100 links is told once, whichever messages are lost. The bucket
/// holds claims of an actor and a provider before them.
async fn all_are_told(lost: Lost) {
    let nats = NatsServer::start();
    let url = losing(nats.address(), lost).await;
    let mut world = World::start_on(nats, |host_data| {
        host_data["default_rpc_timeout_ms"] = 9000.into();
    })
    .await;
    world.actor = world.actor.with_timeout(Duration::from_millis(9000));
    world.set_lattice(LATTICE, &url).await;
    let lattice = Operated::in_world(world, &[(G2b, &[])]).await;
    let values = json!({ "address": "0.0.0.0:8080" });
    lattice.sim.put_links(100, &values).await;
    let links = lattice.links().await.unwrap();
    let mut names: Vec<_> = links.into_iter().map(|link| link.link_name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 100, "{lost:?}");
}

#[tokio::test]
async fn entries_that_are_lost_on_their_way_are_asked_for_again() {
    // The first of all, the last but one, and one after the other.
    for lost in [&[1][..], &[50], &[101], &[10, 1, 20, 1]] {
        all_are_told(lost).await;
    }
}

#[tokio::test]
async fn the_last_entries_are_missed_when_the_server_says_how_many_there_were() {
    all_are_told(&[102]).await;
}
