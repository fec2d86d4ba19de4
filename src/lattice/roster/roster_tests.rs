use super::*;
use crate::lattice::gather::Others;
use crate::lattice::gather::{Answer, Harvest, Reply};
use crate::lattice::roster::known::RECENT_FOR;
use crate::lattice::roster::listening::HEARD_FOR;
use nkeys::{KeyPair, KeyPairType};
use tokio::time::advance;

const MS: Duration = Duration::from_millis(1);

fn host() -> HostId {
    HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
}

fn ping(version: &str) -> Host {
    Host {
        version: Some(version.into()),
        ..Host::default()
    }
}

/// Makes a ping to all hosts that ends now, and to which these answered `after`.
fn round(hosts: &[&HostId], after: Duration, ended: Ended, took: Duration) -> Gathered {
    let mut harvest = Harvest::default();
    for host in hosts {
        let body = serde_json::json!({ "id": host.as_str(), "version": "0.80.0" });
        let reply = Reply::to_ping(body.to_string().as_bytes(), Protocol::V0);
        assert!(harvest.take(reply, after));
    }
    let answers: &Vec<Answer<Host>> = &harvest.answers;
    assert_eq!(answers.len(), hosts.len());
    Gathered {
        harvest,
        nobody: match ended {
            Ended::NoResponders => vec![Protocol::V0, Protocol::V1],
            _ => Vec::new(),
        },
        ended,
        silent: Vec::new(),
        asked: Instant::now() - took,
        took,
    }
}

/// Makes one to which these answered at once, and that waited for all hosts.
fn answered(hosts: &[&HostId]) -> Gathered {
    round(hosts, 20 * MS, Ended::Stall, 320 * MS)
}

fn known(roster: &Roster) -> usize {
    roster.expected(0).hosts.len()
}

/// Has the roster learn from a ping and its answers.
fn take(roster: &Roster, gathered: Gathered, epoch: u64) {
    for answer in &gathered.harvest.answers {
        roster.note_ping_reply(&answer.host, &answer.said, answer.after);
    }
    let thorough = matches!(gathered.ended, Ended::Stall);
    roster.pinged(&gathered, thorough, epoch);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_misses_two_pings_is_forgotten() {
    let (roster, one, two) = (Roster::default(), host(), host());
    take(&roster, answered(&[&one, &two]), 0);
    assert_eq!(known(&roster), 2);
    advance(400 * MS).await;
    take(&roster, answered(&[&one]), 0);
    assert_eq!(known(&roster), 2);
    roster.missed.notified().await;
    advance(400 * MS).await;
    take(&roster, answered(&[&one]), 0);
    assert_eq!(known(&roster), 1);
    assert_eq!(roster.dialect(&two), None);
}

#[tokio::test(start_paused = true)]
async fn pings_that_were_under_way_together_are_missed_once() {
    let (roster, one, two) = (Roster::default(), host(), host());
    take(&roster, answered(&[&one, &two]), 0);
    advance(400 * MS).await;
    for _ in 0..64 {
        take(&roster, answered(&[&one]), 0);
    }
    assert_eq!(known(&roster), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_was_not_waited_for_is_not_missed() {
    let (roster, fast, slow) = (Roster::default(), host(), host());
    take(
        &roster,
        round(&[&slow], 1200 * MS, Ended::Deadline, 2000 * MS),
        0,
    );
    take(&roster, answered(&[&fast]), 0);
    for ended in [Ended::Stall, Ended::Deadline, Ended::Found, Ended::Limit] {
        advance(1000 * MS).await;
        // Shorter than a stall; longer than that, and shorter than the slow host takes.
        take(&roster, round(&[&fast], MS, ended, 100 * MS), 0);
        take(&roster, round(&[&fast], MS, ended, 1400 * MS), 0);
    }
    assert_eq!(known(&roster), 2);
    let slow = roster.expected(0).hosts[&slow];
    assert_eq!(slow.within, MOST_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn any_answer_takes_a_missed_ping_back() {
    let (roster, one, two) = (Roster::default(), host(), host());
    take(&roster, answered(&[&one, &two]), 0);
    for _ in 0..5 {
        advance(400 * MS).await;
        take(&roster, answered(&[&one]), 0);
        roster.answered(&two);
    }
    assert_eq!(known(&roster), 2);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_do_not_make_up_for_missed_pings() {
    let (roster, one, two) = (Roster::default(), host(), host());
    take(&roster, answered(&[&one, &two]), 0);
    for _ in 0..2 {
        advance(400 * MS).await;
        take(&roster, answered(&[&one]), 0);
        roster.note_version(&two, Dialect::of_version(Protocol::V0, Some("0.80.0")));
    }
    assert_eq!(known(&roster), 1);
    assert!(roster.note_version(&two, Dialect::of_version(Protocol::V0, Some("0.80.0"))));
}

#[tokio::test(start_paused = true)]
async fn hosts_that_did_not_answer_the_last_ping_do_not_count() {
    let (roster, one, two) = (Roster::default(), host(), host());
    take(&roster, answered(&[&one, &two]), 0);
    assert_eq!(roster.all(0).map(|all| all.len()), Some(2));
    advance(400 * MS).await;
    take(&roster, answered(&[&one]), 0);
    assert_eq!(roster.all(0).map(|all| all.len()), Some(1));
    take(&roster, round(&[], MS, Ended::NoResponders, MS), 0);
    assert_eq!((roster.all(0), known(&roster)), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn the_slowest_host_can_be_forgotten_too() {
    let (roster, slow) = (Roster::default(), host());
    take(
        &roster,
        round(&[&slow], 1900 * MS, Ended::Deadline, 2000 * MS),
        0,
    );
    for _ in 0..2 {
        advance(3000 * MS).await;
        take(&roster, round(&[], MS, Ended::Deadline, 1999 * MS), 0);
    }
    assert_eq!(known(&roster), 0);
}

#[tokio::test(start_paused = true)]
async fn events_make_doubt_and_pings_decide() {
    let (roster, one) = (Roster::default(), host());
    take(&roster, answered(&[&one]), 0);
    roster.doubt(&one);
    assert!(!roster.knows(&one) && roster.dialect(&one).is_none());
    assert!(roster.expected(0).hosts[&one].doubtful);
    // A ping shows that it is there.
    advance(400 * MS).await;
    take(&roster, answered(&[&one]), 0);
    assert!(roster.knows(&one));
    // Now it is not there: one ping is enough.
    roster.doubt(&one);
    advance(400 * MS).await;
    take(&roster, answered(&[]), 0);
    assert_eq!(known(&roster), 0);
}

#[tokio::test(start_paused = true)]
async fn hosts_are_not_all_known_for_ever_nor_over_a_broken_connection() {
    let (roster, one) = (Roster::default(), host());
    // One host that answered need not be the only one.
    roster.note_ping_reply(&one, &ping("0.80.0"), MS);
    assert_eq!(
        (roster.all(0), roster.expected(0).others),
        (None, Others::Any)
    );
    // It is waited for.
    assert_eq!(known(&roster), 1);
    take(&roster, answered(&[&one]), 3);
    assert_eq!(roster.expected(3).others, Others::Newcomers);
    assert_eq!(roster.expected(4).others, Others::Any);
    advance(COMPLETE_FOR).await;
    assert_eq!(roster.expected(3).others, Others::Any);
    assert!(roster.dialect(&one).is_some());
    advance(RECENT_FOR).await;
    assert_eq!(roster.dialect(&one), None);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_another_version_or_an_unknown_host_asks_for_a_ping() {
    let (roster, one) = (Roster::default(), host());
    assert!(roster.note_version(&one, Dialect::of_version(Protocol::V0, None)));
    take(&roster, answered(&[&one]), 0);
    assert!(roster.note_version(&one, Dialect::of_version(Protocol::V0, Some("0.82.0"))));
    assert_eq!(roster.dialect(&one), None);
}

#[tokio::test(start_paused = true)]
async fn one_task_watches_while_the_lattice_is_in_use() {
    let roster = Roster::default();
    // No host is known.
    assert!(!roster.note_call());
    roster.note_ping_reply(&host(), &Host::default(), MS);
    assert!(roster.note_call());
    assert!(!roster.note_call());
    assert!(!roster.note_listener());
    advance(IN_USE_FOR - MS).await;
    assert!(!roster.end_watch_if_unused());
    assert!(!roster.note_call());
    advance(IN_USE_FOR).await;
    assert!(roster.end_watch_if_unused());
    assert!(roster.note_call());
    assert!(!roster.note_call());
    // The watch failed.
    roster.note_watch_ended();
    assert!(roster.note_call());
}

#[tokio::test(start_paused = true)]
async fn hosts_that_listen_and_do_not_answer_are_watched_for() {
    let roster = Roster::default();
    assert!(!roster.note_call());
    assert!(roster.note_listener());
    assert!(!roster.note_listener() && !roster.note_call());
}

#[tokio::test(start_paused = true)]
async fn so_many_hosts_are_kept_and_no_more() {
    let roster = Roster::default();
    let hosts: Vec<_> = (0..MAX_HOSTS + 5).map(|_| host()).collect();
    for host in &hosts {
        roster.note_ping_reply(host, &Host::default(), MS);
    }
    assert_eq!(roster.state.lock().hosts.len(), MAX_HOSTS);
    assert_eq!(roster.dialect(&hosts[MAX_HOSTS]), None);
}

#[tokio::test(start_paused = true)]
async fn huge_labels_are_not_kept_and_the_host_is_known_all_the_same() {
    let roster = Roster::default();
    let with_label = |bytes: usize| Host {
        labels: Some(TextMap::from([("a".into(), "x".repeat(bytes))])),
        ..ping("0.80.0")
    };
    let (hog, usual) = (host(), host());
    roster.note_ping_reply(&hog, &with_label(MAX_LABEL_BYTES), MS);
    assert_eq!((known(&roster), roster.labels(&hog)), (1, None));
    // One host has half of the room, again and again, and others have theirs.
    for _ in 0..3 {
        roster.note_ping_reply(&hog, &with_label(MAX_LABEL_BYTES / 2 - 100), MS);
        assert!(roster.labels(&hog).is_some());
    }
    roster.note_ping_reply(&usual, &with_label(4096), MS);
    assert!(roster.labels(&usual).is_some());
    let others: Vec<HostId> = (0..100).map(|_| host()).collect();
    for other in &others {
        roster.note_ping_reply(other, &with_label(256 * 1024), MS);
    }
    let kept = others.iter().filter_map(|host| roster.labels(host));
    assert!(kept.count() < 9);
    // Usual labels are kept in any case.
    roster.note_ping_reply(&others[99], &with_label(100), MS);
    assert!(roster.labels(&others[99]).is_some());
    roster.gone(&hog);
    roster.note_ping_reply(&others[98], &with_label(256 * 1024), MS);
    assert!(roster.labels(&others[98]).is_some());
}

#[path = "newcomers_tests.rs"]
mod newcomers;

#[path = "bids_tests.rs"]
mod bids;
