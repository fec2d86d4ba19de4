//! Plans by generation: each case is a row of the reference or a trap.

use super::*;

const REF: &str = "r:1";

fn traits(version: &str) -> Traits {
    Traits::of(Some(version).filter(|version| !version.is_empty()))
}

fn notes(pairs: &[(&str, &str)]) -> TextMap {
    pairs
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

fn group(pairs: &[(&str, &str)], count: u32) -> Group {
    Group {
        annotations: notes(pairs),
        count,
        image_ref: REF.into(),
    }
}

fn stop_order(pairs: &[(&str, &str)], count: Option<u16>) -> Order {
    Order::Stop {
        annotations: notes(pairs),
        count,
    }
}

fn scale_order(pairs: &[(&str, &str)], count: u32) -> Order {
    Order::Scale {
        annotations: notes(pairs),
        count,
        image_ref: REF.into(),
    }
}

#[test]
fn starting_adds_to_what_runs() {
    let start = |version: &str, running, count| {
        let groups = [group(&[], running), group(&[("a", "1")], 9)];
        start(&traits(version), &groups, &notes(&[]), count, REF)
    };
    for version in ["", "0.63.2", "0.78.0"] {
        let la = Order::Start {
            annotations: notes(&[]),
            count: 3,
        };
        assert_eq!(start(version, 2, 3), Ok(vec![la]), "{version}");
    }
    for version in ["0.80.0", "0.81.0", "0.82.0"] {
        let scale = scale_order(&[], 5);
        assert_eq!(start(version, 2, 3), Ok(vec![scale]), "{version}");
    }
    // "Unbounded" plus N would become N on 0.79.1 to 0.80.
    assert_eq!(start("0.80.0", 65_535, 3), Ok(vec![]));
    assert!(start("0.80.0", 65_530, 5).is_err());
    let scale = scale_order(&[], 65_536);
    assert_eq!(start("0.82.0", 65_535, 1), Ok(vec![scale]));
}

#[test]
fn what_hosts_would_silently_ignore_is_refused() {
    let mut groups = [group(&[], 2), group(&[("a", "1")], 2)];
    groups[1].image_ref = "r:2".into();
    let none = notes(&[]);
    for version in ["0.80.0", "0.81.0", "0.82.0"] {
        let traits = traits(version);
        assert!(start(&traits, &groups, &none, 1, REF).is_err(), "{version}");
        assert!(scale(&traits, &groups, &none, 5, REF).is_err(), "{version}");
        assert!(stop(&traits, &groups, &none, 1).is_err(), "{version}");
        // All that match is another order, and works.
        assert_eq!(
            stop(&traits, &groups, &none, 0),
            Ok(vec![stop_order(&[], None)])
        );
    }
}

#[test]
fn the_effect_of_an_order_is_what_the_inventory_will_show() {
    let groups = [group(&[], 2), group(&[("a", "1")], 3)];
    let effect = |version: &str, order: Order| effect(&traits(version), &groups, &order);
    let la = Order::Start {
        annotations: notes(&[]),
        count: 3,
    };
    assert_eq!(effect("0.78.0", la), [(notes(&[]), 5)]);
    assert_eq!(effect("0.80.0", scale_order(&[], 9)), [(notes(&[]), 9)]);
    // There, it is the number of all that match.
    assert_eq!(effect("0.78.0", scale_order(&[], 9)), [(notes(&[]), 6)]);
    let all = [(notes(&[]), 0), (notes(&[("a", "1")]), 0)];
    assert_eq!(effect("0.80.0", stop_order(&[], None)), all);
    assert_eq!(effect("0.78.0", stop_order(&[], Some(0))), all);
    assert_eq!(
        effect("0.78.0", stop_order(&[], Some(1))),
        [(notes(&[]), 1)]
    );
}

#[test]
fn scaling_down_over_groups_never_panics_a_host() {
    let groups = [group(&[("a", "1")], 2), group(&[("a", "2")], 2)];
    let scale = |version: &str, count| scale(&traits(version), &groups, &notes(&[]), count, REF);
    assert_eq!(scale("0.63.2", 1), Ok(vec![scale_order(&[], 1)]));
    assert_eq!(
        scale("0.78.0", 1),
        Ok(vec![
            stop_order(&[("a", "1")], Some(2)),
            stop_order(&[("a", "2")], Some(1)),
        ])
    );
    assert_eq!(scale("0.78.0", 7), Ok(vec![scale_order(&[], 7)]));
    for version in ["0.80.0", "0.82.0"] {
        assert_eq!(
            scale(version, 1),
            Ok(vec![
                scale_order(&[("a", "1")], 0),
                scale_order(&[("a", "2")], 1)
            ])
        );
        assert_eq!(scale(version, 7), Ok(vec![scale_order(&[], 3)]));
        assert_eq!(scale(version, 0), Ok(vec![stop_order(&[], None)]));
    }
}

#[test]
fn scaling_one_group_is_one_order() {
    let groups = [group(&[], 2)];
    for version in ["0.63.2", "0.78.0", "0.80.0", "0.81.0", "0.82.0"] {
        for count in [0, 1, 5] {
            let orders = scale(&traits(version), &groups, &notes(&[]), count, REF);
            assert_eq!(
                orders,
                Ok(vec![scale_order(&[], count.into())]),
                "{version}"
            );
        }
    }
    assert!(scale(&traits("0.80.0"), &[], &notes(&[]), 65_535, REF).is_err());
    assert!(scale(&traits("0.82.0"), &[], &notes(&[]), 65_535, REF).is_ok());
    let other = scale(&traits("0.80.0"), &groups, &notes(&[]), 3, "r:2");
    assert!(matches!(other, Err(Refusal::Cannot(why)) if why.contains("UpdateActor")));
}

#[test]
fn stopping_n_stops_n_on_every_generation() {
    let groups = [group(&[], 3), group(&[("a", "1")], 2)];
    let stop = |version: &str, wanted: &[(&str, &str)], count| {
        stop(&traits(version), &groups, &notes(wanted), count)
    };
    assert_eq!(stop("0.63.2", &[], 4), Ok(vec![stop_order(&[], Some(4))]));
    // Never all where N was asked, and never more than a group has (T3).
    assert_eq!(stop("0.63.2", &[], 9), Ok(vec![stop_order(&[], Some(9))]));
    assert_eq!(
        stop("0.63.2", &[("a", "1")], 1),
        Ok(vec![Order::StopFirst {
            annotations: notes(&[("a", "1")]),
            count: 1,
            matching: 2,
        }])
    );
    assert_eq!(
        stop("0.78.0", &[], 4),
        Ok(vec![
            stop_order(&[], Some(3)),
            stop_order(&[("a", "1")], Some(1))
        ])
    );
    assert_eq!(stop("0.78.0", &[], 99), Ok(vec![stop_order(&[], Some(0))]));
    assert_eq!(
        stop("0.78.0", &[("a", "1")], 99),
        Ok(vec![stop_order(&[("a", "1")], Some(2))])
    );
    for version in ["0.80.0", "0.81.0", "0.82.0"] {
        assert_eq!(
            stop(version, &[], 4),
            Ok(vec![scale_order(&[], 0), scale_order(&[("a", "1")], 1)])
        );
        assert_eq!(stop(version, &[], 5), Ok(vec![stop_order(&[], None)]));
    }
}

#[test]
fn stopping_all_respects_annotations() {
    let groups = [group(&[], 3), group(&[("a", "1"), ("b", "2")], 2)];
    let stop = |version: &str| stop(&traits(version), &groups, &notes(&[("a", "1")]), 0);
    assert_eq!(stop("0.63.2"), Ok(vec![stop_order(&[("a", "1")], Some(0))]));
    // 0.54 would stop others, too.
    assert!(matches!(stop(""), Err(Refusal::Cannot(_))));
    // 0.78 ignores annotations with count 0.
    assert_eq!(
        stop("0.78.0"),
        Ok(vec![stop_order(&[("a", "1"), ("b", "2")], Some(2))])
    );
    assert_eq!(stop("0.82.0"), Ok(vec![stop_order(&[("a", "1")], None)]));
}

#[test]
fn annotations_that_match_nothing_are_sent_to_nobody() {
    // 0.79.1 to 0.82 would lose the actor (T29).
    for version in ["", "0.63.2", "0.78.0", "0.80.0", "0.81.0", "0.82.0"] {
        for groups in [&[][..], &[group(&[], 3)]] {
            let wanted = notes(&[("zz", "1")]);
            let nothing = Err(Refusal::NothingRuns);
            assert_eq!(
                stop(&traits(version), groups, &wanted, 1),
                nothing,
                "{version}"
            );
            assert_eq!(
                update(&traits(version), groups, &wanted),
                nothing,
                "{version}"
            );
        }
    }
}

#[test]
fn what_runs_without_limit_is_not_counted_down() {
    let groups = [group(&[], 65_535)];
    let stop = |count| stop(&traits("0.80.0"), &groups, &notes(&[]), count);
    assert!(matches!(stop(3), Err(Refusal::Cannot(_))));
    assert_eq!(stop(0), Ok(vec![stop_order(&[], None)]));
}

#[test]
fn updating_reaches_every_group_that_matches_and_no_other() {
    let groups = [group(&[("a", "1")], 2), group(&[], 1)];
    let order = |pairs: &[(&str, &str)]| Order::Update {
        annotations: notes(pairs),
    };
    let update =
        |version: &str, wanted: &[(&str, &str)]| update(&traits(version), &groups, &notes(wanted));
    assert_eq!(update("0.63.2", &[]), Ok(vec![order(&[])]));
    assert!(matches!(
        update("0.63.2", &[("a", "1")]),
        Err(Refusal::Cannot(_))
    ));
    for version in ["0.78.0", "0.80.0", "0.82.0"] {
        assert_eq!(
            update(version, &[]),
            Ok(vec![order(&[]), order(&[("a", "1")])])
        );
        assert_eq!(
            update(version, &[("a", "1")]),
            Ok(vec![order(&[("a", "1")])])
        );
    }
}

#[test]
fn groups_are_read_from_every_inventory() {
    let read = |version: &str, json: &str| {
        let inventory: Inventory = serde_json::from_str(json).unwrap();
        groups(&traits(version), &inventory, |key, _| key == "M1")
    };
    let instances = r#"{"actors":[
        {"id":"M1","image_ref":"r:1","instances":[{"instance_id":"1","annotations":{}},{"instance_id":"2"}]},
        {"id":"M2","image_ref":"r:2","instances":[{"instance_id":"3"}]}]}"#;
    assert_eq!(read("", instances), [group(&[], 2)]);
    let maximum = r#"{"actors":[{"id":"M1","image_ref":"r:1","instances":[
        {"instance_id":"1","annotations":{"a":"1"},"image_ref":"r:1","max_concurrent":5},
        {"instance_id":"2","annotations":{},"image_ref":"r:1","max_instances":7}]}]}"#;
    assert_eq!(
        read("0.80.0", maximum),
        [group(&[("a", "1")], 5), group(&[], 7)]
    );
}
