//! How long something is in flight.

use super::*;
use crate::lattice::model::Group;
use nkeys::{KeyPair, KeyPairType};

fn host() -> HostId {
    HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
}

fn notes(pairs: &[(&str, &str)]) -> TextMap {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    pairs.collect()
}

fn shown(groups: &[(&[(&str, &str)], u32)]) -> Running {
    let groups = groups.iter().map(|(pairs, count)| Group {
        annotations: notes(pairs),
        count: *count,
        image_ref: "ref".into(),
    });
    Running {
        groups: groups.collect(),
        ..Running::default()
    }
}

/// An inventory that shows no other actor.
fn nothing() -> Seen<'static> {
    Seen {
        asked: Instant::now(),
        key_of: &|_| None,
        running: &|_| Running::default(),
    }
}

fn of<'a>(host: &'a HostId, key: Option<&'a str>) -> Target<'a> {
    Target {
        host,
        key,
        image_ref: "ref",
        names_actor: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_counts_until_the_inventory_shows_it_or_its_time_is_over() {
    let (in_flight, host) = (InFlight::default(), host());
    let of = of(&host, Some("M"));
    let none = notes(&[]);
    in_flight.expect_count(of, &none, 3, 1);
    let other: (&[_], _) = (&[("a", "b")], 7);
    let expected = in_flight.expected(of, shown(&[(&[], 1), other]), &nothing());
    assert_eq!(expected.running, shown(&[(&[], 3), other]));
    assert!(expected.in_the_way_of(&After::Everything).is_some());
    assert!(
        expected
            .in_the_way_of(&After::Groups(vec![none.clone()]))
            .is_some()
    );
    let groups = After::Groups(vec![notes(&[("a", "b")])]);
    assert!(expected.in_the_way_of(&groups).is_none());
    assert!(expected.in_the_way_of(&After::AllButStarts).is_some());
    // Once the inventory has shown it, later changes are somebody else's.
    let there = shown(&[(&[], 3)]);
    assert_eq!(
        in_flight.expected(of, there.clone(), &nothing()).running,
        there
    );
    let fewer = shown(&[(&[], 1)]);
    assert_eq!(
        in_flight.expected(of, fewer.clone(), &nothing()).running,
        fewer
    );
    // Gone counts as fewer.
    in_flight.expect_count(of, &none, 0, 1);
    assert_eq!(
        in_flight.expected(of, fewer.clone(), &nothing()).running,
        shown(&[])
    );
    tokio::time::advance(SHOWN_WITHIN).await;
    assert_eq!(
        in_flight.expected(of, fewer.clone(), &nothing()).running,
        fewer
    );
}

#[tokio::test(start_paused = true)]
async fn starts_in_a_row_add_up_and_only_the_first_looks() {
    let (in_flight, host) = (InFlight::default(), host());
    let (of, none) = (of(&host, None), notes(&[]));
    assert!(!in_flight.has_starts(of, &none));
    in_flight.add_starts(of, &none, Some(1), 2);
    assert!(in_flight.has_starts(of, &none));
    assert!(!in_flight.has_starts(of, &notes(&[("a", "b")])));
    in_flight.add_starts(of, &none, None, 3);
    let expected = in_flight.expected(of, shown(&[(&[], 1)]), &nothing());
    assert_eq!(expected.running, shown(&[(&[], 6)]));
    // Further starts need not wait for them.
    assert!(expected.in_the_way_of(&After::AllButStarts).is_none());
    let there = in_flight.expected(of, shown(&[(&[], 6)]), &nothing());
    assert!(there.in_the_way_of(&After::Everything).is_none());
    assert!(!in_flight.has_starts(of, &none));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_come_true_is_forgotten() {
    let (in_flight, host) = (InFlight::default(), host());
    let (of, none) = (of(&host, Some("M")), notes(&[]));
    let began = Instant::now();
    let waits = || {
        let expected = in_flight.expected(of, shown(&[]), &nothing());
        expected.in_the_way_of(&After::Everything).is_some()
    };
    in_flight.expect_count(of, &none, 3, 0);
    in_flight.failed(&host, "another", None, "no such image");
    in_flight.failed(&host, "ref", Some(&notes(&[("a", "b")])), "no such image");
    assert!(waits());
    in_flight.failed(&host, "ref", None, "no such image");
    assert!(!waits());
    let reason = in_flight.failure(&host, "ref", began);
    assert_eq!(reason.as_deref(), Some("no such image"));
    in_flight.expect_count(of, &none, 3, 0);
    in_flight.forget(&host);
    assert!(!waits());
}

#[tokio::test(start_paused = true)]
async fn a_start_of_an_unknown_actor_keeps_only_commands_waiting_that_may_concern_it() {
    let (in_flight, host) = (InFlight::default(), host());
    in_flight.add_starts(of(&host, None), &notes(&[]), Some(0), 1);
    let expected = |key: Option<&str>, names_actor, shown| {
        let of = Target {
            host: &host,
            key,
            image_ref: if names_actor { "" } else { "other" },
            names_actor,
        };
        let expected = in_flight.expected(of, shown, &nothing());
        expected.in_the_way_of(&After::Everything).is_some()
    };
    assert!(!expected(Some("M"), false, shown(&[])));
    assert!(!expected(None, false, shown(&[])));
    // Nothing runs of the named actor, so that the start may be of it.
    assert!(expected(Some("M"), true, shown(&[])));
    let mut others = shown(&[(&[], 1)]);
    others.groups[0].image_ref = "other".into();
    assert!(!expected(Some("M"), true, others));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lists_very_much_has_only_so_much_in_flight() {
    let (in_flight, host) = (InFlight::default(), host());
    let target = Target {
        host: &host,
        key: Some("M"),
        image_ref: "r",
        names_actor: true,
    };
    let huge = notes(&[("a", &"x".repeat(MAX_ANNOTATION_BYTES))]);
    in_flight.expect_count(target, &huge, 0, 1);
    assert_eq!(in_flight.0.lock()[&host].pending.len(), 0);
    for number in 0..2 * MAX_PENDING {
        in_flight.expect_count(target, &notes(&[("a", &number.to_string())]), 0, 1);
    }
    assert_eq!(in_flight.0.lock()[&host].pending.len(), MAX_PENDING);
}
