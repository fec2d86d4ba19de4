use super::*;
use crate::lattice::gather::{Harvest, Reply};
use crate::lattice::model::{Host, Protocol};
use nkeys::{KeyPair, KeyPairType};
use tokio::time::{advance, sleep};

const PATIENT: Duration = Duration::from_millis(1900);
const SHORT: Duration = Duration::from_millis(300);

fn host() -> HostId {
    HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
}

/// Makes a ping to all hosts that took this time and ended like this. Returns whether the
/// check has something to log.
async fn ping_that(
    export_check: &ExportCheck,
    hosts: &[&HostId],
    took: Duration,
    ended: Ended,
) -> bool {
    let asked = Instant::now();
    sleep(took).await;
    let mut harvest = Harvest::<Host>::default();
    for host in hosts {
        let body = serde_json::json!({ "id": host.as_str(), "version": "0.80.0" });
        harvest.take(
            Reply::to_ping(body.to_string().as_bytes(), Protocol::V0),
            SHORT,
        );
    }
    let gathered = Gathered {
        nobody: Vec::new(),
        harvest,
        ended,
        silent: Vec::new(),
        asked,
        took,
    };
    let hint = export_check.pinged(&gathered, PATIENT);
    sleep(SHORT).await;
    hint
}

/// Makes a ping that waited for every host.
async fn patient_ping(export_check: &ExportCheck, hosts: &[&HostId]) -> bool {
    ping_that(export_check, hosts, PATIENT, Ended::Deadline).await
}

async fn quick_ping(export_check: &ExportCheck, hosts: &[&HostId]) -> bool {
    ping_that(export_check, hosts, SHORT, Ended::Stall).await
}

/// Makes a check with two hosts: one answers pings, and one sends only events.
async fn one_of_two() -> (ExportCheck, HostId, HostId) {
    let (export_check, heard, other) = (ExportCheck::default(), host(), host());
    export_check.alive(&other);
    assert!(!patient_ping(&export_check, &[&heard]).await);
    export_check.alive(&other);
    (export_check, heard, other)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_beats_on_and_is_not_heard_is_a_hint() {
    let (export_check, heard, _) = one_of_two().await;
    assert!(quick_ping(&export_check, &[&heard]).await);
    // It is not logged with every ping.
    assert!(!quick_ping(&export_check, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_answer_in_turns_are_a_hint() {
    let (export_check, one, two) = (ExportCheck::default(), host(), host());
    assert!(!quick_ping(&export_check, &[&one]).await);
    assert!(!patient_ping(&export_check, &[&two]).await);
    assert!(quick_ping(&export_check, &[&one]).await);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_a_ping_caused_is_a_sign_of_life() {
    let (export_check, heard, other) = (ExportCheck::default(), host(), host());
    let mut hints = 0;
    for _ in 0..2 {
        let answers = [&heard];
        let pinged = patient_ping(&export_check, &answers);
        let beats = async {
            sleep(SHORT).await;
            export_check.alive(&other);
        };
        let (hint, ()) = futures::join!(pinged, beats);
        hints += usize::from(hint);
    }
    assert_eq!(hints, 1);
}

#[tokio::test(start_paused = true)]
async fn two_answers_to_one_ping_refute_it_for_good() {
    for ended in [Ended::Complete, Ended::Found] {
        let (export_check, heard, other) = one_of_two().await;
        assert!(!ping_that(&export_check, &[&heard, &other], SHORT, ended).await);
        for _ in 0..3 {
            export_check.alive(&other);
            assert!(!patient_ping(&export_check, &[&heard]).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_pings_did_not_wait_for_is_no_hint() {
    let (export_check, heard, slow) = (ExportCheck::default(), host(), host());
    for ended in [Ended::Stall, Ended::Complete, Ended::Deadline, Ended::Found] {
        export_check.alive(&slow);
        assert!(!ping_that(&export_check, &[&heard], SHORT, ended).await);
    }
    export_check.alive(&slow);
    assert!(!ping_that(&export_check, &[&heard], PATIENT, Ended::Found).await);
    export_check.alive(&slow);
    assert!(!quick_ping(&export_check, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_gone_is_no_hint() {
    let (export_check, heard, other) = (ExportCheck::default(), host(), host());
    export_check.alive(&other);
    for _ in 0..3 {
        assert!(!patient_ping(&export_check, &[&heard]).await);
    }
    // A host does not count whose last sign is long ago, or that says that it ends.
    let (export_check, heard, _) = one_of_two().await;
    advance(ALIVE_FOR).await;
    assert!(!patient_ping(&export_check, &[&heard]).await);
    let (export_check, heard, other) = one_of_two().await;
    export_check.ended(&other);
    assert!(!patient_ping(&export_check, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn a_lattice_where_nobody_listens_begins_anew() {
    let (export_check, heard, _) = one_of_two().await;
    assert!(!ping_that(&export_check, &[], Duration::ZERO, Ended::NoResponders).await);
    assert!(!patient_ping(&export_check, &[&heard]).await);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_hosts_is_not_remembered() {
    let (export_check, heard, _) = one_of_two().await;
    for _ in 0..1000 {
        export_check.alive(&host());
    }
    assert_eq!(export_check.state.lock().signs.len(), MAX_HOSTS);
    assert!(patient_ping(&export_check, &[&heard]).await);
}
