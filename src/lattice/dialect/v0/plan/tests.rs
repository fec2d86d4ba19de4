//! Plans by what hosts do: each case is a row of docs/hosts.md.

use super::*;
use crate::lattice::dialect::Dialect;
use std::collections::BTreeSet;

use crate::lattice::model::{Inventory, Protocol};

const REF: &str = "r:1";
const MAXIMUM: [&str; 3] = ["0.80.0", "0.81.0", "0.82.0"];

fn quirks(version: &str) -> Quirks {
    let dialect = Dialect::of_version(Protocol::V0, Some(version));
    *dialect.quirks().unwrap()
}

fn notes(pairs: &[(&str, &str)]) -> TextMap {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    pairs.collect()
}

fn group(pairs: &[(&str, &str)], count: u32) -> Group {
    Group {
        annotations: notes(pairs),
        count,
        image_ref: REF.into(),
    }
}

/// Groups whose instances were started one group after the other.
fn of(groups: &[Group]) -> Running {
    let numbered = groups.iter().enumerate();
    Running {
        groups: groups.to_vec(),
        sequence: numbered
            .flat_map(|(number, group)| vec![number; group.count.min(100) as usize])
            .collect(),
        ..Running::default()
    }
}

fn la(pairs: &[(&str, &str)], count: u16) -> Command {
    Command::Start {
        annotations: notes(pairs),
        count,
        image_ref: REF.into(),
    }
}

fn sa(pairs: &[(&str, &str)], count: Option<u16>) -> Command {
    Command::Stop {
        annotations: notes(pairs),
        count,
    }
}

fn to(pairs: &[(&str, &str)], count: u32) -> Command {
    Command::Scale {
        annotations: notes(pairs),
        count: Some(count),
        image_ref: REF.into(),
    }
}

fn commands(plan: Result<Plan, Objection>) -> Result<Vec<Command>, Objection> {
    plan.map(|plan| plan.commands)
}

fn is_refused<T: std::fmt::Debug>(plan: Result<T, Objection>, because: &str) {
    match plan {
        Err(Objection::Cannot(why)) if why.contains(because) => {}
        other => panic!("{because}: {other:?}"),
    }
}

#[test]
fn starting_adds_to_what_runs() {
    let start = |version: &str, running, count| {
        let running = of(&[group(&[], running), group(&[("a", "1")], 9)]);
        commands(start(&quirks(version), &running, &notes(&[]), count, REF))
    };
    for version in ["", "0.63.2", "0.78.0"] {
        assert_eq!(start(version, 2, 3), Ok(vec![la(&[], 3)]), "{version}");
    }
    for version in MAXIMUM {
        assert_eq!(start(version, 2, 3), Ok(vec![to(&[], 5)]), "{version}");
    }
    // "Unbounded" plus N would become N on 0.79.1 to 0.80.
    assert_eq!(start("0.80.0", 65_535, 3), Ok(vec![]));
    is_refused(start("0.80.0", 65_530, 5), "can count");
    assert_eq!(start("0.82.0", 65_535, 1), Ok(vec![to(&[], 65_536)]));
}

#[test]
fn starts_of_hosts_that_add_up_wait_for_nothing_and_others_for_their_own_group() {
    let running = of(&[group(&[], 2)]);
    let after = |version: &str| {
        let plan = start(&quirks(version), &running, &notes(&[]), 1, REF);
        plan.unwrap().after
    };
    for version in ["", "0.63.2", "0.78.0"] {
        assert_eq!(after(version), After::AllButStarts, "{version}");
    }
    for version in MAXIMUM {
        assert_eq!(after(version), After::Groups(vec![notes(&[])]));
    }
}

#[test]
fn another_reference_of_what_runs_is_refused_where_code_would_start() {
    let mut groups = [group(&[], 2), group(&[("a", "1")], 2)];
    groups[1].image_ref = "r:2".into();
    let (running, none) = (of(&groups), notes(&[]));
    for version in ["0.63.2", "0.78.0", "0.80.0", "0.81.0", "0.82.0"] {
        let quirks = quirks(version);
        is_refused(start(&quirks, &running, &none, 1, REF), "UpdateActor");
        is_refused(scale(&quirks, &running, &none, 5, REF), "UpdateActor");
    }
    for version in MAXIMUM {
        // To stop some starts the others again.
        is_refused(stop(&quirks(version), &running, &none, 1), "UpdateActor");
        let all = stop(&quirks(version), &running, &none, 0);
        assert_eq!(commands(all), Ok(vec![sa(&[], None)]));
    }
}

#[test]
fn a_stop_of_some_groups_never_takes_the_whole_actor_from_a_host_that_keeps_a_maximum() {
    let mut groups = [
        group(&[], 3),
        group(&[("a", "1")], 2),
        group(&[("a", "1"), ("b", "2")], 4),
    ];
    // Each group is scaled with the reference that it has.
    groups[1].image_ref = "r:2".into();
    let running = of(&groups);
    let wanted = notes(&[("a", "1")]);
    let zero = |group: &Group| Command::Scale {
        annotations: group.annotations.clone(),
        count: Some(0),
        image_ref: group.image_ref.clone(),
    };
    for version in MAXIMUM {
        for plan in [
            stop(&quirks(version), &running, &wanted, 0),
            stop(&quirks(version), &running, &wanted, 9),
            scale(&quirks(version), &running, &wanted, 0, REF),
        ] {
            let plan = plan.unwrap();
            assert_eq!(
                plan.commands,
                [zero(&groups[1]), zero(&groups[2])],
                "{version}"
            );
            // The host acknowledges before it fetches the image.
            assert!(plan.until_shown, "{version}");
        }
        // Every group counts, also what is still in flight.
        for plan in [
            stop(&quirks(version), &running, &notes(&[]), 0),
            scale(&quirks(version), &running, &notes(&[]), 0, REF),
        ] {
            let plan = plan.unwrap();
            assert_eq!(plan.commands, [sa(&[], None)], "{version}");
            assert_eq!(plan.after, After::Everything);
            assert!(!plan.until_shown, "{version}");
        }
    }
}

#[test]
fn scaling_to_zero_what_does_not_run_is_done() {
    for version in ["", "0.59.0", "0.63.2", "0.78.0", "0.80.0", "0.82.0"] {
        let nothing = scale(&quirks(version), &of(&[]), &notes(&[]), 0, REF);
        assert_eq!(commands(nothing), Ok(vec![]), "{version}");
    }
    let others = of(&[group(&[], 3)]);
    for version in ["0.59.0", "0.63.2", "0.78.0", "0.80.0", "0.82.0"] {
        let nothing = scale(&quirks(version), &others, &notes(&[("a", "1")]), 0, REF);
        assert_eq!(commands(nothing), Ok(vec![]), "{version}");
    }
}

#[test]
fn scaling_counts_all_that_match_on_every_generation() {
    let groups = [group(&[("a", "1")], 2), group(&[("a", "2")], 2)];
    let scale = |version: &str, count| {
        commands(scale(
            &quirks(version),
            &of(&groups),
            &notes(&[]),
            count,
            REF,
        ))
    };
    // More: only what is missing, without annotations.
    assert_eq!(scale("0.59.0", 7), Ok(vec![la(&[], 3)]));
    assert_eq!(scale("0.63.2", 7), Ok(vec![la(&[], 3)]));
    assert_eq!(scale("0.78.0", 7), Ok(vec![to(&[], 7)]));
    // Fewer: on OTP the oldest, elsewhere group by group
    // (docs/hosts.md#too-large-stop-ends-control).
    assert_eq!(scale("0.63.2", 1), Ok(vec![sa(&[], Some(3))]));
    let by_group = vec![sa(&[("a", "1")], Some(2)), sa(&[("a", "2")], Some(1))];
    assert_eq!(scale("0.78.0", 1), Ok(by_group));
    for version in MAXIMUM {
        let fewer = vec![to(&[("a", "1")], 0), to(&[("a", "2")], 1)];
        assert_eq!(scale(version, 1), Ok(fewer));
        assert_eq!(scale(version, 7), Ok(vec![to(&[], 3)]));
    }
    for version in ["0.59.0", "0.63.2", "0.78.0", "0.80.0", "0.82.0"] {
        assert_eq!(scale(version, 4), Ok(vec![]), "{version}");
    }
}

#[test]
fn hosts_that_tell_no_annotations_are_scaled_by_number_only() {
    let running = of(&[group(&[], 2)]);
    let scale = |wanted: &[(&str, &str)], count| {
        commands(scale(&quirks(""), &running, &notes(wanted), count, REF))
    };
    assert_eq!(scale(&[], 5), Ok(vec![to(&[], 5)]));
    assert_eq!(scale(&[], 0), Ok(vec![to(&[], 0)]));
    is_refused(scale(&[("a", "1")], 5), "annotations");
    is_refused(scale(&[("a", "1")], 0), "annotations");
}

#[test]
fn a_number_that_means_without_limit_is_refused_where_it_does() {
    let scale = |version: &str, running: &[Group], count| {
        commands(scale(
            &quirks(version),
            &of(running),
            &notes(&[]),
            count,
            REF,
        ))
    };
    is_refused(scale("0.80.0", &[], 65_535), "without limit");
    assert!(scale("0.82.0", &[], 65_535).is_ok());
    let unlimited = [group(&[], 65_535), group(&[("a", "1")], 1)];
    is_refused(scale("0.80.0", &unlimited, 5), "without limit");
    let stop = |count| stop(&quirks("0.80.0"), &of(&unlimited[..1]), &notes(&[]), count);
    is_refused(stop(3), "without limit");
    assert_eq!(commands(stop(0)), Ok(vec![sa(&[], None)]));
}

#[test]
fn stopping_n_stops_n_on_every_generation() {
    let groups = [group(&[], 3), group(&[("a", "1")], 2)];
    let stop = |version: &str, wanted: &[(&str, &str)], count| {
        commands(stop(&quirks(version), &of(&groups), &notes(wanted), count))
    };
    for version in ["0.55.0", "0.59.0", "0.63.2"] {
        assert_eq!(
            stop(version, &[], 4),
            Ok(vec![sa(&[], Some(4))]),
            "{version}"
        );
        // Never "all" where a number was asked for.
        assert_eq!(
            stop(version, &[], 9),
            Ok(vec![sa(&[], Some(9))]),
            "{version}"
        );
    }
    let by_group = vec![sa(&[], Some(3)), sa(&[("a", "1")], Some(1))];
    assert_eq!(stop("0.78.0", &[], 4), Ok(by_group));
    assert_eq!(stop("0.78.0", &[], 99), Ok(vec![sa(&[], Some(0))]));
    // Never more than a group has (docs/hosts.md#too-large-stop-ends-control),
    // and with count 0 annotations are ignored.
    for count in [0, 2, 99] {
        let some = stop("0.78.0", &[("a", "1")], count);
        assert_eq!(some, Ok(vec![sa(&[("a", "1")], Some(2))]));
    }
    for version in MAXIMUM {
        assert_eq!(
            stop(version, &[], 4),
            Ok(vec![to(&[], 0), to(&[("a", "1")], 1)])
        );
        assert_eq!(stop(version, &[], 5), Ok(vec![sa(&[], None)]));
    }
}

#[test]
fn an_otp_host_is_never_told_to_stop_the_last_that_it_looks_at_while_others_run() {
    let wanted = notes(&[("a", "1")]);
    let old = [group(&[("a", "1")], 2), group(&[], 3)];
    let stop = |version: &str, groups: &[Group], count| {
        commands(stop(&quirks(version), &of(groups), &wanted, count))
    };
    // Up to 0.59, the number is of those that match.
    let some = vec![sa(&[("a", "1")], Some(1))];
    assert_eq!(stop("0.59.0", &old, 1), Ok(some.clone()));
    assert_eq!(stop("0.55.1", &old, 1), Ok(some));
    for count in [0, 2, 9] {
        is_refused(stop("0.59.0", &old, count), "get no calls");
    }
    // From 0.60 on, it is of all instances.
    let first = |count| Command::StopAmongFirst {
        annotations: wanted.clone(),
        count,
        matching: 2,
    };
    assert_eq!(stop("0.63.2", &old, 1), Ok(vec![first(1)]));
    assert_eq!(stop("0.63.2", &old, 0), Ok(vec![first(2)]));
    let new = [group(&[], 3), group(&[("a", "1")], 2)];
    assert_eq!(stop("0.63.2", &new, 1), Ok(vec![first(1)]));
    for count in [0, 2, 9] {
        is_refused(stop("0.60.0", &new, count), "get no calls");
    }
    // The same holds for ScaleActor.
    let scale = scale(&quirks("0.63.2"), &of(&new), &wanted, 0, REF);
    is_refused(scale, "get no calls");
    // Before 0.55.1, hosts ignore annotations.
    is_refused(stop("0.55.0", &old, 1), "annotations");
    is_refused(stop("", &old, 1), "annotations");
    // Where nothing else runs, they can be stopped.
    let alone = [group(&[("a", "1"), ("b", "2")], 2)];
    for version in ["0.55.1", "0.59.0", "0.63.2"] {
        let all = vec![sa(&[("a", "1")], Some(0))];
        assert_eq!(stop(version, &alone, 0), Ok(all), "{version}");
    }
}

#[test]
fn annotations_that_match_nothing_are_sent_to_nobody() {
    for version in [
        "", "0.59.0", "0.63.2", "0.78.0", "0.80.0", "0.81.0", "0.82.0",
    ] {
        for groups in [&[][..], &[group(&[], 3)]] {
            let (running, wanted) = (of(groups), notes(&[("zz", "1")]));
            let stopped = stop(&quirks(version), &running, &wanted, 1);
            assert_eq!(stopped, Err(Objection::NothingRuns), "{version}");
            let updated = update(&quirks(version), &running, &wanted, "r:2");
            assert_eq!(updated, Err(Objection::NothingRuns), "{version}");
        }
    }
}

#[test]
fn an_update_is_of_the_whole_actor() {
    let groups = [group(&[("a", "1")], 2), group(&[], 1)];
    let update = |version: &str, wanted: &[(&str, &str)]| {
        commands(update(
            &quirks(version),
            &of(&groups),
            &notes(wanted),
            "r:2",
        ))
    };
    let upd = |pairs: &[(&str, &str)]| Command::Update {
        annotations: notes(pairs),
        image_ref: "r:2".into(),
    };
    for version in ["", "0.63.2", "0.78.0", "0.80.0", "0.82.0"] {
        assert_eq!(update(version, &[]), Ok(vec![upd(&[])]), "{version}");
        is_refused(update(version, &[("a", "1")]), "one revision");
    }
}

#[test]
fn what_is_replaced_is_stopped_in_one_order_and_started_as_it_was() {
    let mut groups = [group(&[], 3), group(&[("a", "1")], 65_535)];
    let new = |order: Command| match order {
        Command::Scale {
            annotations, count, ..
        } => Command::Scale {
            annotations,
            count,
            image_ref: "r:2".into(),
        },
        Command::Start {
            annotations, count, ..
        } => Command::Start {
            annotations,
            count,
            image_ref: "r:2".into(),
        },
        other => other,
    };
    let unlimited = Command::Scale {
        annotations: notes(&[("a", "1")]),
        count: None,
        image_ref: "r:2".into(),
    };
    for version in ["0.79.1", "0.80.0", "0.81.0"] {
        let replaced = replace(&quirks(version), &groups, "r:2");
        let starts = vec![new(to(&[], 3)), unlimited.clone()];
        assert_eq!(replaced, (sa(&[], None), starts), "{version}");
    }
    let starts = vec![new(to(&[], 3)), new(to(&[("a", "1")], 65_535))];
    let replaced = replace(&quirks("0.82.0"), &groups, "r:2");
    assert_eq!(replaced, (sa(&[], None), starts));
    groups[1].count = 2;
    let starts = vec![new(la(&[], 3)), new(la(&[("a", "1")], 2))];
    for version in ["0.78.0", "0.79.0"] {
        let replaced = replace(&quirks(version), &groups, "r:2");
        assert_eq!(replaced, (sa(&[], Some(0)), starts.clone()), "{version}");
    }
}

#[test]
fn after_an_update_an_otp_host_starts_nothing_and_can_be_told_everything_else() {
    let mut running = of(&[group(&[], 2)]);
    running.groups[0].image_ref = "r:2".into();
    running.listed = Some(REF.into());
    let (quirks, wanted) = (quirks("0.63.2"), notes(&[]));
    is_refused(
        start(&quirks, &running, &wanted, 1, "r:2"),
        "since its update",
    );
    is_refused(start(&quirks, &running, &wanted, 1, REF), "UpdateActor");
    is_refused(
        scale(&quirks, &running, &wanted, 3, "r:2"),
        "since its update",
    );
    let fewer = scale(&quirks, &running, &wanted, 1, "r:2");
    assert_eq!(commands(fewer), Ok(vec![sa(&[], Some(1))]));
    assert!(update(&quirks, &running, &wanted, "r:3").is_ok());
}

#[test]
fn the_effect_of_an_order_is_what_the_inventory_will_show() {
    let running = of(&[group(&[], 2), group(&[("a", "1")], 3)]);
    let effect = |version: &str, order: Command| effect(&quirks(version), &running, &order);
    assert_eq!(effect("0.78.0", la(&[], 3)), [(notes(&[]), 5)]);
    assert_eq!(effect("0.80.0", to(&[], 9)), [(notes(&[]), 9)]);
    // There, it is the number of all that match.
    assert_eq!(effect("0.78.0", to(&[], 9)), [(notes(&[]), 6)]);
    let all = [(notes(&[]), 0), (notes(&[("a", "1")]), 0)];
    assert_eq!(effect("0.80.0", sa(&[], None)), all);
    assert_eq!(effect("0.78.0", sa(&[], Some(0))), all);
    let of_one = effect("0.78.0", sa(&[("a", "1")], Some(1)));
    assert_eq!(of_one, [(notes(&[("a", "1")]), 2)]);
    assert_eq!(effect("0.63.2", sa(&[], Some(1))), []);
}

#[test]
fn what_runs_is_read_from_every_inventory() {
    let read = |version: &str, json: &str| {
        let inventory: Inventory = serde_json::from_str(json).unwrap();
        running(&quirks(version), &inventory, "M1")
    };
    let instances = r#"{"actors":[
        {"id":"M1","image_ref":"r:1","instances":[
            {"instance_id":"1","annotations":{},"revision":1},
            {"instance_id":"2","annotations":{"a":"1"},"revision":2},{"instance_id":"3"}]},
        {"id":"M2","image_ref":"r:2","instances":[{"instance_id":"3"}]}]}"#;
    let shown = read("0.63.2", instances);
    assert_eq!(shown.groups, [group(&[], 2), group(&[("a", "1")], 1)]);
    assert_eq!(shown.sequence, [0, 1, 0]);
    assert_eq!(shown.revisions, BTreeSet::from([0, 1, 2]));
    let maximum = r#"{"actors":[{"id":"M1","image_ref":"r:1","instances":[
        {"instance_id":"1","annotations":{"a":"1"},"image_ref":"r:1","max_concurrent":5},
        {"instance_id":"2","annotations":{},"image_ref":"r:1","max_instances":7}]}]}"#;
    let shown = read("0.80.0", maximum);
    assert_eq!(shown.groups, [group(&[("a", "1")], 5), group(&[], 7)]);
}
