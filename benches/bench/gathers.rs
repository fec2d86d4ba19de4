//! Gathers from 50 hosts that answer after 20 ms. The floor is the answer of
//! the slowest of them to a plain client; without hosts it is a round trip to
//! the server.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use lattice_controller::internals::settings::STALL;
use wasmcloud_interface_lattice_control::{ActorAuctionRequest, LatticeController as _};

use crate::support::host::Generation;
use crate::support::operator::{ACTOR_REF, LATTICE, Operated};
use crate::support::world::{World, ctx};
use crate::table::{Promise, Row, Table, Unit};

const ROUNDS: usize = 11;
const HOSTS: usize = 50;
const BIDDERS: usize = 10;
const ANSWER_AFTER: Duration = Duration::from_millis(20);
/// Every host sends a heartbeat within this time.
const HEARTBEATS: Duration = Duration::from_secs(31);

/// A row of milliseconds.
fn row(name: &str, promise: Promise) -> Row {
    Row::new(name, Unit::Ms, promise)
}

pub async fn measure(table: &mut Table) {
    let lattice = fifty_hosts().await;
    let url = lattice.world.nats.url();
    lattice.world.set_lattice(LATTICE, &url).await;
    let client = lattice.world.nats.client().await;
    known(table, &lattice, &client).await;
    first(table, &lattice, &client).await;
    silent(table, &lattice, &client).await;
    nobody(table, &lattice.world, &client).await;
}

/// The lattice is in use, every host has sent a heartbeat, and auctions were held before.
async fn known(table: &mut Table, lattice: &Operated, client: &async_nats::Client) {
    get_hosts(lattice, HOSTS).await;
    auction_actor(lattice).await;
    auction_provider(lattice).await;
    tokio::time::sleep(HEARTBEATS).await;
    let mut warm = row("GetHosts, 50 hosts, known", Promise::Times(1.3));
    let mut auction = row("AuctionActor, 10 of 50 bid, known", Promise::Times(1.8));
    let mut providers = row("AuctionProvider, 10 of 50 bid, known", Promise::Times(2.2));
    for _ in 0..ROUNDS {
        let least = slowest_answer(client, HOSTS).await;
        warm.add_ms(least, get_hosts(lattice, HOSTS).await);
        let least = slowest_answer(client, HOSTS).await;
        auction.add_ms(least, auction_actor(lattice).await);
        let least = slowest_answer(client, HOSTS).await;
        providers.add_ms(least, auction_provider(lattice).await);
    }
    table.add(warm);
    table.add(auction);
    table.add(providers);
}

/// The credentials of the lattice are new, a moment ago or a second.
async fn first(table: &mut Table, lattice: &Operated, client: &async_nats::Client) {
    let mut at_once = row(
        "GetHosts, 50 hosts, first call at once",
        Promise::Over(STALL.as_millis() as f64 + 50.0),
    );
    let mut later = row("GetHosts, 50 hosts, first call", Promise::Times(1.5));
    for round in 0..2 * ROUNDS {
        // With other credentials nothing is known, and there is no connection.
        let url = format!("nats://round-{round}:x@{}", lattice.world.nats.address());
        lattice.world.set_lattice(LATTICE, &url).await;
        let row = match round % 2 {
            0 => &mut at_once,
            _ => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                &mut later
            }
        };
        let least = slowest_answer(client, HOSTS).await;
        row.add_ms(least, get_hosts(lattice, HOSTS).await);
    }
    table.add(at_once);
    table.add(later);
}

/// 40 OTP hosts, which look at constraints themselves, and 10 Rust hosts in
/// another zone.
async fn fifty_hosts() -> Operated {
    let otp: (Generation, &[(&str, &str)]) = (Generation::G1b, &[("zone", "us")]);
    let rust: (Generation, &[(&str, &str)]) = (Generation::G2b, &[("zone", "eu")]);
    let hosts = [vec![otp; HOSTS - BIDDERS], vec![rust; BIDDERS]].concat();
    let lattice = Operated::in_world(crate::world().await, &hosts).await;
    for host in &lattice.hosts {
        host.answer_after(ANSWER_AFTER);
    }
    lattice
}

/// Measures how long the slowest of so many hosts takes to answer a ping.
async fn slowest_answer(client: &async_nats::Client, hosts: usize) -> Duration {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let started = Instant::now();
    let subject = format!("wasmbus.ctl.{LATTICE}.ping.hosts");
    let asked = client.publish_with_reply(subject, inbox, "".into());
    asked.await.unwrap();
    for _ in 0..hosts {
        replies.next().await.unwrap();
    }
    started.elapsed()
}

async fn get_hosts(lattice: &Operated, expected: usize) -> Duration {
    let started = Instant::now();
    let hosts = lattice.get_hosts().await.unwrap();
    let took = started.elapsed();
    assert_eq!(hosts.len(), expected);
    took
}

async fn auction_actor(lattice: &Operated) -> Duration {
    let started = Instant::now();
    let bids = lattice.auction_actor(&[("zone", "eu")]).await.unwrap();
    let took = started.elapsed();
    assert_eq!(bids.len(), BIDDERS);
    took
}

async fn auction_provider(lattice: &Operated) -> Duration {
    let started = Instant::now();
    let bids = lattice.auction_provider(&[("zone", "eu")]).await.unwrap();
    let took = started.elapsed();
    assert_eq!(bids.len(), BIDDERS);
    took
}

/// One of the hosts falls silent: gathers miss it, and then it is forgotten.
async fn silent(table: &mut Table, lattice: &Operated, client: &async_nats::Client) {
    let others = HOSTS - 1;
    let mut missing = row("GetHosts, 1 of 50 falls silent", Promise::Under(1800.0));
    let mut forgotten = row("GetHosts, once it is forgotten", Promise::Over(60.0));
    for _ in 0..5 {
        // All hosts are known.
        get_hosts(lattice, HOSTS).await;
        lattice.hosts[0].fall_silent_on("ping.hosts");
        let least = slowest_answer(client, others).await;
        missing.add_ms(least, get_hosts(lattice, others).await);
        // The second ping that it misses.
        get_hosts(lattice, others).await;
        let least = slowest_answer(client, others).await;
        forgotten.add_ms(least, get_hosts(lattice, others).await);
        lattice.hosts[0].speak_again();
    }
    table.add(missing);
    table.add(forgotten);
}

/// A lattice without hosts.
async fn nobody(table: &mut Table, world: &World, client: &async_nats::Client) {
    const EMPTY: &str = "empty";
    world.set_lattice(EMPTY, &world.nats.url()).await;
    let actor = world.actor.lattice();
    let under = Promise::Under(20.0);
    let mut list = row("GetHosts, nobody there", under);
    let mut auction = row("AuctionActor, nobody there", under);
    let question = ActorAuctionRequest {
        lattice_id: EMPTY.into(),
        actor_ref: ACTOR_REF.into(),
        constraints: HashMap::new(),
    };
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let nobody = client.request("nobody.listens.here", "".into()).await;
        let least = started.elapsed();
        assert!(nobody.is_err());
        let started = Instant::now();
        let hosts = actor.get_hosts(&ctx(), EMPTY).await.unwrap();
        list.add_ms(least, started.elapsed());
        assert!(hosts.is_empty());
        let started = Instant::now();
        let bids = actor.auction_actor(&ctx(), &question).await.unwrap();
        auction.add_ms(least, started.elapsed());
        assert!(bids.is_empty());
    }
    table.add(list);
    table.add(auction);
}
