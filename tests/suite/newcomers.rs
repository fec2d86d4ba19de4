//! When gathers give hosts that are new time to answer, and when they need not.

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::time::assert_under;
use crate::support::world::World;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use Generation::{G1b, G2b, G3b};

const ALONE: &[(&str, &str)] = &[];
/// So long that a gather with it is told from one without.
pub const GRACE: Duration = Duration::from_millis(900);

pub fn settings() -> Value {
    json!({ "grace_ms": GRACE.as_millis() as u64, "stall_ms": 1000 })
}

async fn lattice(hosts: &[(Generation, &[(&str, &str)])]) -> Operated {
    Operated::configured(hosts, settings()).await
}

/// Lists the hosts, and returns how long that took.
async fn timed(lattice: &Operated) -> (Vec<String>, Duration) {
    let started = Instant::now();
    let hosts = lattice.get_hosts().await.unwrap();
    (
        hosts.into_iter().map(|host| host.id).collect(),
        started.elapsed(),
    )
}

/// Has all hosts send heartbeats until a gather needs no grace period.
pub async fn heard(lattice: &Operated) {
    eventually("a gather that ends with the last host", || async {
        for host in &lattice.hosts {
            host.beat().await;
        }
        let (hosts, took) = timed(lattice).await;
        (hosts.len() == lattice.hosts.len() && took < GRACE).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gather_ends_with_the_last_host_once_all_were_heard() {
    let lattice = lattice(&[(G1b, ALONE), (G2b, ALONE), (G3b, ALONE)]).await;
    lattice.hosts[2].answer_after(Duration::from_millis(40));
    heard(&lattice).await;
    for _ in 0..5 {
        let (hosts, took) = timed(&lattice).await;
        assert_eq!(hosts.len(), 3);
        assert_under(GRACE / 2, took);
    }
}

#[tokio::test]
async fn a_host_that_was_not_heard_gives_newcomers_time() {
    let lattice = lattice(&[(G2b, ALONE), (G2b, ALONE)]).await;
    timed(&lattice).await;
    // The background ping makes sure that the hosts are known and listened to.
    let provider = &lattice.world.provider;
    provider.logged("ended=Deadline").await;
    lattice.hosts[0].beat().await;
    for _ in 0..2 {
        let (hosts, took) = timed(&lattice).await;
        assert_eq!(hosts.len(), 2);
        assert!(took >= GRACE, "{took:?}");
    }
}

#[tokio::test]
async fn without_the_permission_for_events_newcomers_have_time() {
    let config = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: { subscribe: { deny: "wasmbus.evt.>" } } }
        ] }"#;
    let nats = NatsServer::with_config(config);
    let world = World::start_on(nats, |data| {
        data["config_json"] = settings().to_string().into()
    })
    .await;
    let lattice = Operated::in_world(world, &[(G2b, ALONE), (G2b, ALONE)]).await;
    let url = format!("nats://lattice:pw@{}", lattice.world.nats.address());
    lattice.world.set_lattice(LATTICE, &url).await;
    timed(&lattice).await;
    lattice.world.provider.logged("ended=Deadline").await;
    for _ in 0..2 {
        for host in &lattice.hosts {
            host.beat().await;
        }
        let (hosts, took) = timed(&lattice).await;
        assert_eq!(hosts.len(), 2);
        assert!(took >= GRACE, "{took:?}");
    }
}

#[tokio::test]
async fn a_host_that_says_it_started_has_time_to_answer_at_once() {
    let mut lattice = lattice(&[(G2b, ALONE), (G2b, ALONE)]).await;
    heard(&lattice).await;
    let late = SimHost::start(&lattice.sim, G2b, &[]).await;
    late.answer_after(GRACE / 3);
    lattice.hosts.push(late);
    // The ping that the event causes in the background finds the host no sooner than it
    // answers.
    let (hosts, took) = timed(&lattice).await;
    assert_eq!(hosts.len(), 3, "after {took:?}");
    for _ in 0..3 {
        assert_eq!(timed(&lattice).await.0.len(), 3);
    }
    // It is heard, too, so that no time is needed for others.
    let (_, took) = timed(&lattice).await;
    assert_under(GRACE / 2, took);
}

#[tokio::test]
async fn a_host_that_joins_without_a_word_is_there_within_thirty_seconds() {
    let lattice = lattice(&[(G2b, ALONE), (G2b, ALONE), (G2b, ALONE)]).await;
    let silent = &lattice.hosts[2];
    silent.fall_silent_on("ping.hosts");
    let others = &lattice.hosts[..2];
    eventually("a gather that ends with the last host", || async {
        for host in others {
            host.beat().await;
        }
        let (hosts, took) = timed(&lattice).await;
        (hosts.len() == 2 && took < GRACE).then_some(())
    })
    .await;
    // It answers later than all others.
    silent.answer_after(Duration::from_millis(300));
    silent.speak_again();
    let joined = Instant::now();
    while timed(&lattice).await.0.len() < 3 {
        // Two seconds more, in which the ping waits for it.
        assert_under(Duration::from_secs(33), joined.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(timed(&lattice).await.0.len(), 3);
}

#[tokio::test]
async fn a_silent_host_hides_no_other_where_newcomers_need_no_time() {
    let lattice = lattice(&[(G2b, ALONE); 5]).await;
    lattice.hosts[3].answer_after(Duration::from_millis(100));
    heard(&lattice).await;
    lattice.hosts[0].fall_silent_on("ping.hosts");
    for _ in 0..3 {
        let (hosts, _) = timed(&lattice).await;
        let missing = |host: &&SimHost| !hosts.contains(&host.id);
        let missing: Vec<_> = lattice
            .hosts
            .iter()
            .filter(missing)
            .map(|h| &h.id)
            .collect();
        assert_eq!(missing, [&lattice.hosts[0].id]);
    }
}
