use super::*;
use crate::lattice::dialect::v0::wire::HostPing;
use crate::lattice::exchange::gather::Harvest;
use nkeys::{KeyPair, KeyPairType};
use tokio::time::{advance, sleep};

const PATIENT: Duration = Duration::from_millis(1900);
const SHORT: Duration = Duration::from_millis(300);

fn host() -> HostId {
    HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
}

/// A ping to all hosts that took so long and ended like this; whether there is a
/// hint.
async fn ping_that(solo: &Solo, hosts: &[&HostId], took: Duration, ended: Ended) -> bool {
    let asked = Instant::now();
    sleep(took).await;
    let mut harvest = Harvest::<HostPing>::default();
    for host in hosts {
        let body = serde_json::json!({ "id": host.as_str(), "version": "0.80.0" });
        harvest.take(body.to_string().as_bytes(), SHORT);
    }
    let gathered = Gathered {
        harvest,
        ended,
        silent: Vec::new(),
        asked,
        took,
    };
    let hint = solo.pinged(&gathered, PATIENT);
    sleep(SHORT).await;
    hint
}

/// One that was waited for.
async fn patient_ping(solo: &Solo, hosts: &[&HostId]) -> bool {
    ping_that(solo, hosts, PATIENT, Ended::Deadline).await
}

async fn quick_ping(solo: &Solo, hosts: &[&HostId]) -> bool {
    ping_that(solo, hosts, SHORT, Ended::Stall).await
}

/// A host of two is heard, the other is known from its events alone.
async fn one_of_two() -> (Solo, HostId, HostId) {
    let (solo, heard, other) = (Solo::default(), host(), host());
    solo.alive(&other);
    assert!(!patient_ping(&solo, &[&heard]).await);
    solo.alive(&other);
    (solo, heard, other)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_beats_on_and_is_not_heard_is_a_hint() {
    let (solo, heard, _) = one_of_two().await;
    assert!(quick_ping(&solo, &[&heard]).await);
    // Not with every ping.
    assert!(!quick_ping(&solo, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_answer_in_turns_are_a_hint() {
    let (solo, one, two) = (Solo::default(), host(), host());
    assert!(!quick_ping(&solo, &[&one]).await);
    assert!(!patient_ping(&solo, &[&two]).await);
    assert!(quick_ping(&solo, &[&one]).await);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_a_ping_caused_is_a_sign_of_life() {
    let (solo, heard, other) = (Solo::default(), host(), host());
    let mut hints = 0;
    for _ in 0..2 {
        let answers = [&heard];
        let pinged = patient_ping(&solo, &answers);
        let beats = async {
            sleep(SHORT).await;
            solo.alive(&other);
        };
        let (hint, ()) = futures::join!(pinged, beats);
        hints += usize::from(hint);
    }
    assert_eq!(hints, 1);
}

#[tokio::test(start_paused = true)]
async fn two_answers_to_one_ping_refute_it_for_good() {
    for ended in [Ended::Complete, Ended::Found] {
        let (solo, heard, other) = one_of_two().await;
        assert!(!ping_that(&solo, &[&heard, &other], SHORT, ended).await);
        for _ in 0..3 {
            solo.alive(&other);
            assert!(!patient_ping(&solo, &[&heard]).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_pings_did_not_wait_for_is_no_hint() {
    let (solo, heard, slow) = (Solo::default(), host(), host());
    for ended in [Ended::Stall, Ended::Complete, Ended::Deadline, Ended::Found] {
        solo.alive(&slow);
        assert!(!ping_that(&solo, &[&heard], SHORT, ended).await);
    }
    solo.alive(&slow);
    assert!(!ping_that(&solo, &[&heard], PATIENT, Ended::Found).await);
    solo.alive(&slow);
    assert!(!quick_ping(&solo, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_gone_is_no_hint() {
    let (solo, heard, other) = (Solo::default(), host(), host());
    solo.alive(&other);
    for _ in 0..3 {
        assert!(!patient_ping(&solo, &[&heard]).await);
    }
    // Nor one whose last sign is from long ago, or that says it ends.
    let (solo, heard, _) = one_of_two().await;
    advance(ALIVE_FOR).await;
    assert!(!patient_ping(&solo, &[&heard]).await);
    let (solo, heard, other) = one_of_two().await;
    solo.ended(&other);
    assert!(!patient_ping(&solo, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn a_lattice_where_nobody_listens_begins_anew() {
    let (solo, heard, _) = one_of_two().await;
    assert!(!ping_that(&solo, &[], Duration::ZERO, Ended::NoResponders).await);
    assert!(!patient_ping(&solo, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_hosts_is_not_remembered() {
    let (solo, heard, _) = one_of_two().await;
    for _ in 0..1000 {
        solo.alive(&host());
    }
    assert_eq!(solo.state.lock().unwrap().signs.len(), MAX_HOSTS);
    assert!(patient_ping(&solo, &[&heard]).await);
}
