use super::*;
use std::time::Duration;

use nkeys::{KeyPair, KeyPairType};
use tokio::time::advance;

use crate::lattice::model::Host;

const EPOCH: u64 = 1;
const KEY: &str = "V1";
const REFERENCE: &str = "registry.test/http:1";

fn seen(link_name: &str, image_ref: Option<&str>) -> ProviderSeen {
    ProviderSeen {
        key: KEY.into(),
        link_name: link_name.into(),
        image_ref: image_ref.map(Into::into),
    }
}

fn listed(link_name: &str) -> Provider {
    let listed = serde_json::json!({ "id": KEY, "link_name": link_name, "image_ref": REFERENCE });
    serde_json::from_str(&listed.to_string()).unwrap()
}

/// Makes a roster of one host, whose events arrive.
fn roster() -> (Roster, HostId) {
    let key = KeyPair::new(KeyPairType::Server).public_key();
    let (roster, host) = (Roster::default(), HostId::parse(&key).unwrap());
    roster.listens(EPOCH);
    roster.note_ping_reply(&host, &Host::default(), Duration::ZERO);
    roster.heard(&host, EPOCH);
    roster.keep_providers();
    (roster, host)
}

fn runs(roster: &Roster, host: &HostId, link_name: &str) -> Option<bool> {
    roster.runs_provider(host, EPOCH, REFERENCE, link_name)
}

#[tokio::test(start_paused = true)]
async fn what_an_inventory_said_counts_as_long_as_every_event_is_heard() {
    let (roster, host) = roster();
    assert_eq!(runs(&roster, &host, "default"), None);
    roster.note_inventory(&host, Instant::now(), &[listed("default")]);
    assert_eq!(runs(&roster, &host, "default"), Some(true));
    assert_eq!(runs(&roster, &host, "other"), Some(false));
    roster.provider_started(&host, seen("other", Some(REFERENCE)));
    roster.provider_stopped(&host, KEY, "default");
    assert_eq!(runs(&roster, &host, "default"), Some(false));
    assert_eq!(runs(&roster, &host, "other"), Some(true));
    assert_eq!(
        roster.runs_provider(&host, EPOCH + 1, REFERENCE, "other"),
        None
    );
    // No heartbeat came.
    advance(HEARD_FOR).await;
    assert_eq!(runs(&roster, &host, "other"), None);
    roster.heard(&host, EPOCH);
    assert_eq!(runs(&roster, &host, "other"), Some(true));
    // Events may have been missed.
    roster.listens_no_more(EPOCH);
    advance(Duration::from_millis(1)).await;
    roster.listens(EPOCH);
    roster.heard(&host, EPOCH);
    assert_eq!(runs(&roster, &host, "other"), None);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_says_all_but_the_references() {
    let (roster, host) = roster();
    roster.note_beat(&host, EPOCH, Some(vec![seen("default", None)]));
    // Whether it is this one is not known; under another link name there is none.
    assert_eq!(runs(&roster, &host, "default"), None);
    assert_eq!(runs(&roster, &host, "other"), Some(false));
    assert_eq!(
        roster.runs_provider(&host, EPOCH, KEY, "default"),
        Some(true)
    );
    roster.note_inventory(&host, Instant::now(), &[listed("default")]);
    roster.note_beat(&host, EPOCH, Some(vec![seen("default", None)]));
    assert_eq!(runs(&roster, &host, "default"), Some(true));
    roster.note_beat(&host, EPOCH, Some(Vec::new()));
    assert_eq!(runs(&roster, &host, "default"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_changed_is_asked_for() {
    let known = || {
        let (roster, host) = roster();
        roster.note_inventory(&host, Instant::now(), &[]);
        assert_eq!(runs(&roster, &host, "default"), Some(false));
        (roster, host)
    };
    let (roster, host) = known();
    roster.provider_moves(&host);
    assert_eq!(runs(&roster, &host, "default"), None);
    let (roster, host) = known();
    roster.started(&host);
    assert_eq!(runs(&roster, &host, "default"), None);
    // An inventory that was asked for before something changed may show it or not.
    let (roster, host) = known();
    let asked = Instant::now();
    advance(Duration::from_millis(1)).await;
    roster.provider_started(&host, seen("default", Some(REFERENCE)));
    roster.note_inventory(&host, asked, &[]);
    assert_eq!(runs(&roster, &host, "default"), Some(true));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_where_no_auction_was_held_or_there_is_no_room() {
    let (_, host) = roster();
    let plain = Roster::default();
    plain.listens(EPOCH);
    plain.note_ping_reply(&host, &Host::default(), Duration::ZERO);
    plain.heard(&host, EPOCH);
    plain.note_inventory(&host, Instant::now(), &[]);
    plain.note_beat(&host, EPOCH, Some(Vec::new()));
    assert_eq!(runs(&plain, &host, "default"), None);
    let (roster, host) = roster();
    let long = "x".repeat(crate::lattice::roster::MAX_LABEL_BYTES);
    roster.note_beat(&host, EPOCH, Some(vec![seen(&long, None)]));
    assert_eq!(runs(&roster, &host, "default"), None);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_cannot_be_read_leaves_nothing_known() {
    let (roster, host) = roster();
    roster.note_inventory(&host, Instant::now(), &[listed("default")]);
    roster.note_beat(&host, EPOCH, None);
    assert_eq!(runs(&roster, &host, "default"), None);
}

#[tokio::test(start_paused = true)]
async fn a_reference_is_not_carried_over_a_gap() {
    let (roster, host) = roster();
    roster.note_inventory(&host, Instant::now(), &[listed("default")]);
    roster.listens_no_more(EPOCH);
    advance(Duration::from_millis(1)).await;
    roster.listens(EPOCH);
    roster.heard(&host, EPOCH);
    roster.note_beat(&host, EPOCH, Some(vec![seen("default", None)]));
    assert_eq!(runs(&roster, &host, "default"), None);
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_a_reference_is_known_to_have_none() {
    let (roster, host) = roster();
    let from_file = serde_json::json!({ "id": KEY, "link_name": "default" });
    let from_file: Provider = serde_json::from_str(&from_file.to_string()).unwrap();
    roster.note_inventory(&host, Instant::now(), &[from_file]);
    assert_eq!(runs(&roster, &host, "default"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_after_a_time_without_a_watch() {
    let (roster, host) = roster();
    roster.note_call();
    roster.note_listener();
    roster.note_inventory(&host, Instant::now(), &[]);
    assert_eq!(runs(&roster, &host, "default"), Some(false));
    advance(Duration::from_secs(600)).await;
    assert!(roster.end_watch_if_unused());
    roster.listens(EPOCH);
    roster.heard(&host, EPOCH);
    assert_eq!(runs(&roster, &host, "default"), None);
}

#[tokio::test(start_paused = true)]
async fn a_reference_from_an_event_completes_a_heartbeat() {
    let (roster, host) = roster();
    roster.provider_moves(&host);
    roster.provider_started(&host, seen("default", Some(REFERENCE)));
    roster.provider_moves(&host);
    assert_eq!(runs(&roster, &host, "default"), None);
    // A heartbeat may be of before that.
    roster.note_beat(&host, EPOCH, Some(Vec::new()));
    assert_eq!(runs(&roster, &host, "default"), None);
    advance(2 * OVERTAKES_WITHIN).await;
    roster.note_beat(&host, EPOCH, Some(vec![seen("default", None)]));
    assert_eq!(runs(&roster, &host, "default"), Some(true));
}
