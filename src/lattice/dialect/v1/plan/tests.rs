//! What hosts of 1.x are told, against a host that does as they do.

use proptest::prelude::*;

use super::*;
use crate::lattice::dialect::v1::behaviour::Behaviour;
use crate::lattice::dialect::v1::inventory::{Component, LINK_NAME, Provider, UNLIMITED};
use crate::lattice::dialect::version::Reported;
use crate::lattice::model::{HostNews, TextMap, contains};
use crate::name::{ComponentId, HostId, LinkName};

const HOST: &str = "NBQMBNW3L3IZL2S7N7QIERCFOQCKFBQ7L5RYLJOR4MDPHBK4B2DIZI7Z";
const KEY: &str = "MBCFOPM6JW2APJLXJD3Z5O4CN7CPYJ2B4FTKLJUR5YR5MITIU7HD3WD5";

fn id(text: &str) -> ComponentId {
    ComponentId::parse(text).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> TextMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn behaviour(version: &str) -> &'static Behaviour {
    Behaviour::of(Reported::parse(Some(version)))
}

/// Returns a component `shop` with so many, one annotation and a limit.
fn shop(maximum: u32) -> Component {
    Component {
        id: "shop".into(),
        image_ref: "reg/shop:0.3.0".into(),
        annotations: map(&[("a", "b")]),
        revision: 4,
        max_instances: maximum,
        name: None,
        limits: Some(map(&[("max_memory_limit", "7")])),
    }
}

fn of_wadm() -> Component {
    Component {
        annotations: map(&[("wasmcloud.dev/managed-by", "wadm"), ("a", "b")]),
        ..shop(3)
    }
}

/// Returns the scale of `shop` to so many: all but the count as it is.
fn to(count: u32) -> Scale {
    Scale {
        reference: "reg/shop:0.3.0".into(),
        count,
        annotations: map(&[("a", "b")]),
        limits: Some(map(&[("max_memory_limit", "7")])),
    }
}

fn other_reference() -> Refusal {
    Refusal::OtherReference("reg/shop:0.3.0".into())
}

#[test]
fn what_does_not_run_is_started_as_it_was_asked_for() {
    let annotations = map(&[("x", "y")]);
    let scale = |count| Scale {
        reference: "r:1".into(),
        count,
        annotations: annotations.clone(),
        limits: None,
    };
    let started = |count| start(None, "r:1", count, &annotations);
    assert_eq!(started(3), Ok(Decision::Start(scale(3))));
    assert_eq!(started(0), Ok(Decision::Start(scale(1))));
    let scaled = |count| super::scale(None, "r:1", count, &annotations);
    assert_eq!(scaled(3), Ok(Decision::Start(scale(3))));
    assert_eq!(scaled(0), Ok(Decision::Nothing));
    for id in [id("shop"), id(KEY)] {
        let stopped = stop(&id, None, 1, &annotations).unwrap_err();
        let updated = update(behaviour("1.9.2"), &id, None, "r:2", &annotations);
        assert_eq!(updated, Err(stopped.clone()));
        let expected = match id.as_str() {
            KEY => format!(
                "no component {KEY} on this host: hosts of wasmCloud 1.x know components by the \
                 id that they were started with"
            ),
            _ => "component shop is not running there".to_owned(),
        };
        assert_eq!(stopped.to_string(), expected);
    }
}

#[test]
fn a_start_adds_to_what_runs() {
    let running = shop(3);
    let same = running.annotations.clone();
    let started =
        |reference: &str, annotations: &TextMap| start(Some(&running), reference, 2, annotations);
    let more = Ok(Decision::Change(to(5)));
    assert_eq!(started("reg/shop:0.3.0", &same), more);
    assert_eq!(started("oci://REG/shop:0.3.0", &same), more);
    assert_eq!(started("reg/shop:0.4.0", &same), Err(other_reference()));
    for other in [map(&[]), map(&[("a", "b"), ("c", "d")]), map(&[("a", "c")])] {
        let refused = started("reg/shop:0.3.0", &other);
        assert_eq!(refused, Err(Refusal::OtherAnnotations));
    }
    let refused = start(Some(&of_wadm()), "reg/shop:0.3.0", 1, &same);
    assert_eq!(refused, Err(Refusal::ManagedByWadm));
    let start_at = |maximum| start(Some(&shop(maximum)), "reg/shop:0.3.0", 2, &same);
    assert_eq!(start_at(70_000), Ok(Decision::Change(to(70_002))));
    assert_eq!(start_at(UNLIMITED), Ok(Decision::Nothing));
    assert_eq!(
        start_at(UNLIMITED - 2),
        Err(Refusal::TooMany(4_294_967_295))
    );
    assert_eq!(
        start_at(UNLIMITED - 3),
        Ok(Decision::Change(to(UNLIMITED - 1)))
    );
}

#[test]
fn a_scale_keeps_all_but_the_maximum() {
    let running = shop(3);
    let scaled = |count, annotations: &[(&str, &str)]| {
        super::scale(Some(&running), "reg/shop:0.3.0", count, &map(annotations))
    };
    assert_eq!(scaled(5, &[]), Ok(Decision::Change(to(5))));
    assert_eq!(scaled(1, &[("a", "b")]), Ok(Decision::Change(to(1))));
    assert_eq!(scaled(3, &[]), Ok(Decision::Nothing));
    assert_eq!(scaled(0, &[]), Ok(Decision::Stop(to(0))));
    assert_eq!(scaled(5, &[("c", "d")]), Err(Refusal::OtherAnnotations));
    let other = super::scale(Some(&running), "reg/shop:0.4.0", 5, &map(&[]));
    assert_eq!(other, Err(other_reference()));
    let refused = super::scale(Some(&of_wadm()), "reg/shop:0.3.0", 0, &map(&[]));
    assert_eq!(refused, Err(Refusal::ManagedByWadm));
}

#[test]
fn a_stop_leaves_the_rest_or_nothing() {
    let running = shop(3);
    let stopped = |count, annotations: &[(&str, &str)]| {
        stop(&id("shop"), Some(&running), count, &map(annotations))
    };
    for all in [0, 3, 9, u16::MAX] {
        assert_eq!(stopped(all, &[]), Ok(Decision::Stop(to(0))), "{all}");
    }
    assert_eq!(stopped(1, &[("a", "b")]), Ok(Decision::Change(to(2))));
    assert_eq!(stopped(1, &[("a", "c")]), Err(Refusal::NothingMatches));
    let unlimited = shop(UNLIMITED);
    let stop_of = |running: &Component, count| stop(&id("shop"), Some(running), count, &map(&[]));
    assert_eq!(stop_of(&unlimited, 1), Err(Refusal::WithoutLimit));
    assert_eq!(stop_of(&unlimited, 0), Ok(Decision::Stop(to(0))));
    assert_eq!(stop_of(&of_wadm(), 0), Err(Refusal::ManagedByWadm));
}

#[test]
fn an_update_is_a_stop_and_a_start_where_the_old_code_would_go_on() {
    let running = shop(3);
    let updated = |version, reference, annotations: &[(&str, &str)]| {
        let annotations = map(annotations);
        update(
            behaviour(version),
            &id("shop"),
            Some(&running),
            reference,
            &annotations,
        )
    };
    for version in ["1.0.1", "1.5.0", "1.9.2", "0.27.1", ""] {
        for reference in ["reg/shop:0.4.0", "reg/shop:0.3.0"] {
            let decision = updated(version, reference, &[("a", "b")]);
            let Ok(Decision::Replace(replacement)) = decision else {
                panic!("{version}: {decision:?}");
            };
            let new = Scale {
                reference: reference.into(),
                ..to(3)
            };
            assert_eq!(replacement.stop(), to(0));
            assert_eq!((replacement.start(), replacement.back()), (new, to(3)));
        }
    }
    let update_of_1_0_0 = Decision::Update(Scale {
        reference: "reg/shop:0.4.0".into(),
        ..to(3)
    });
    assert_eq!(updated("1.0.0", "reg/shop:0.4.0", &[]), Ok(update_of_1_0_0));
    let refused = updated("1.9.2", "reg/shop:0.4.0", &[("c", "d")]);
    assert_eq!(refused, Err(Refusal::NothingMatches));
    let managed = update(
        behaviour("1.0.0"),
        &id("shop"),
        Some(&of_wadm()),
        "r",
        &map(&[]),
    );
    assert_eq!(managed, Err(Refusal::ManagedByWadm));
}

#[test]
fn what_goes_on_running_or_runs_again_would_lose_its_configuration() {
    let running = shop(3);
    let replace = update(
        behaviour("1.9.2"),
        &id("shop"),
        Some(&running),
        "r:2",
        &map(&[]),
    );
    let update = update(
        behaviour("1.0.0"),
        &id("shop"),
        Some(&running),
        "r:2",
        &map(&[]),
    );
    let taking = [Decision::Change(to(4)), replace.unwrap()];
    let keeping = [
        Decision::Nothing,
        Decision::Start(to(1)),
        Decision::Stop(to(0)),
        update.unwrap(),
    ];
    assert!(taking.iter().all(Decision::takes_configuration));
    assert!(!keeping.iter().any(Decision::takes_configuration));
}

#[test]
fn an_order_is_done_when_the_inventory_shows_it_and_failed_when_the_host_says_so() {
    let mut shown = shop(3);
    assert!(to(3).is_shown(Some(&shown)) && !to(3).is_shown(None));
    assert!(!to(2).is_shown(Some(&shown)) && !to(0).is_shown(Some(&shown)));
    assert!(to(0).is_shown(None));
    shown.image_ref = "reg/shop:0.4.0".into();
    assert!(!to(3).is_shown(Some(&shown)));
    let failed = |id: &str, image_ref: &str, maximum| HostNews::ComponentFailed {
        id: id.into(),
        image_ref: image_ref.into(),
        maximum,
        annotations: map(&[]),
        reason: "no such image".into(),
    };
    let reason = |news: &HostNews| to(3).failure(&id("shop"), news).map(str::to_owned);
    let ours = failed("shop", "reg/shop:0.3.0", 3);
    assert_eq!(reason(&ours).as_deref(), Some("no such image"));
    for other in [
        failed("shop2", "reg/shop:0.3.0", 3),
        failed("shop", "reg/shop:0.4.0", 3),
        failed("shop", "reg/shop:0.3.0", 2),
        HostNews::Other,
    ] {
        assert_eq!(reason(&other), None);
    }
}

fn kv(annotations: &[(&str, &str)]) -> Provider {
    Provider {
        id: "kv".into(),
        image_ref: Some("/srv/kv.par".into()),
        annotations: map(annotations),
        revision: 0,
        name: None,
    }
}

fn start_kv(
    version: &str,
    running: Option<&Provider>,
    link_name: &str,
    configuration: Option<&str>,
) -> Result<ProviderStart, Refusal> {
    start_provider(
        behaviour(version),
        &HostId::parse(HOST).unwrap(),
        &id("kv"),
        running,
        &LinkName::parse(link_name).unwrap(),
        configuration,
        &map(&[("x", "y"), (LINK_NAME, "forged")]),
    )
}

#[test]
fn a_provider_is_started_with_its_configuration_and_its_link_name() {
    let plain = start_kv("1.9.2", None, "default", None).unwrap();
    assert_eq!(
        (plain.config, plain.annotations),
        (None, map(&[("x", "y")]))
    );
    let named = start_kv("1.9.2", None, "a.b", Some(r#"{"url":"u"}"#)).unwrap();
    assert_eq!(named.annotations, map(&[("x", "y"), (LINK_NAME, "a.b")]));
    let (name, _) = named.config.unwrap();
    assert_eq!(name.as_str(), format!("kv-{HOST}"));
    let refused = start_kv("1.9.2", None, "default", Some("redis://")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "hosts of wasmCloud 1.x take configuration as a JSON object of texts"
    );
}

#[test]
fn a_provider_that_runs_keeps_its_config_and_is_not_started() {
    let running = kv(&[]);
    let refusal = |version| start_kv(version, Some(&running), "default", Some("{}")).unwrap_err();
    assert_eq!(refusal("1.9.2"), Refusal::ProviderRuns(id("kv")));
    assert_eq!(refusal("1.5.1"), Refusal::ProviderListed(id("kv")));
}

#[test]
fn a_config_that_hosts_take_for_a_secret_is_not_put() {
    let started = start_provider(
        behaviour("1.9.2"),
        &HostId::parse(HOST).unwrap(),
        &id("SECRET_kv"),
        None,
        &LinkName::parse("default").unwrap(),
        Some("{}"),
        &map(&[]),
    );
    assert!(matches!(started, Err(Refusal::NameOfSecret(_))));
}

#[test]
fn a_provider_is_stopped_where_link_name_and_annotations_fit() {
    let stopped = |running: Option<&Provider>, link_name, annotations: &[(&str, &str)]| {
        let (host, link_name) = (HostId::parse(HOST), LinkName::parse(link_name));
        let (host, annotations) = (host.unwrap(), map(annotations));
        stop_provider(&host, &id("kv"), running, &link_name.unwrap(), &annotations)
    };
    let plain = kv(&[("x", "y")]);
    let linked = kv(&[("x", "y"), (LINK_NAME, "a.b")]);
    let config = format!("kv-{HOST}");
    assert_eq!(
        stopped(Some(&plain), "default", &[]).unwrap().as_str(),
        config
    );
    assert_eq!(
        stopped(Some(&linked), "a.b", &[("x", "y")])
            .unwrap()
            .as_str(),
        config
    );
    let nothing = Err(Refusal::NoProvider(id("kv")));
    assert_eq!(stopped(None, "default", &[]), nothing);
    assert_eq!(stopped(Some(&plain), "a.b", &[]), nothing);
    assert_eq!(stopped(Some(&linked), "default", &[]), nothing);
    assert_eq!(stopped(Some(&plain), "default", &[("x", "z")]), nothing);
}

/// An operation on an actor.
#[derive(Clone, Debug)]
enum Operation {
    Start(u16),
    Scale(u16),
    Stop(u16),
    Update,
}

fn operation() -> impl Strategy<Value = Operation> {
    let count = prop_oneof![0_u16..5, Just(u16::MAX)];
    prop_oneof![
        count.clone().prop_map(Operation::Start),
        count.clone().prop_map(Operation::Scale),
        count.prop_map(Operation::Stop),
        Just(Operation::Update),
    ]
}

fn annotations() -> impl Strategy<Value = TextMap> {
    proptest::collection::hash_map("[ab]", "[xy]", 0..3)
}

fn maximum() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..9, (UNLIMITED - 5)..=UNLIMITED]
}

/// Does what a host does with a scale.
fn scaled(running: Option<Component>, scale: &Scale) -> Option<Component> {
    let before = running.unwrap_or_else(|| Component {
        max_instances: 0,
        ..shop(0)
    });
    (scale.count > 0).then(|| Component {
        image_ref: scale.reference.clone(),
        annotations: scale.annotations.clone(),
        max_instances: scale.count,
        limits: scale.limits.clone(),
        ..before
    })
}

proptest! {
    #[test]
    fn orders_do_what_operations_mean_and_keep_what_they_do_not_name(
        maximum in proptest::option::of(maximum()), has in annotations(),
        wanted in annotations(), reference in "reg/shop:0.[34].0", operation in operation(),
        version in "1.[0-9].[0-2]",
    ) {
        let before = maximum.map(|maximum| Component { annotations: has, ..shop(maximum) });
        let running = before.as_ref();
        let decision = match operation {
            Operation::Start(count) => start(running, &reference, count, &wanted),
            Operation::Scale(count) => super::scale(running, &reference, count, &wanted),
            Operation::Stop(count) => stop(&id("shop"), running, count, &wanted),
            Operation::Update => {
                update(behaviour(&version), &id("shop"), running, &reference, &wanted)
            }
        };
        let Ok(decision) = decision else {
            prop_assert!(running.is_some() || !matches!(operation, Operation::Start(_)));
            return Ok(());
        };
        let orders = match decision {
            Decision::Nothing => vec![],
            Decision::Start(scale) | Decision::Change(scale) | Decision::Stop(scale) => vec![scale],
            Decision::Replace(replacement) => {
                let back = replacement.back();
                prop_assert_eq!(scaled(None, &back).map(|back| Component {
                    revision: 4, ..back
                }), before.clone());
                vec![replacement.stop(), replacement.start()]
            }
            Decision::Update(order) => {
                prop_assert_eq!(version.as_str(), "1.0.0");
                let before = before.clone().map(|before| Component {
                    image_ref: order.reference.clone(), ..before
                });
                prop_assert!(order.is_shown(before.as_ref()));
                vec![order]
            }
        };
        let mut after = before.clone();
        for order in &orders {
            after = scaled(after, order);
            prop_assert!(order.is_shown(after.as_ref()));
        }
        let (had, has) = (
            before.as_ref().map_or(0, |shop| shop.max_instances),
            after.as_ref().map_or(0, |shop| shop.max_instances),
        );
        let expected = match operation {
            Operation::Start(_) if had == UNLIMITED => had,
            Operation::Start(count) => had + u32::from(count.max(1)),
            Operation::Scale(count) => count.into(),
            Operation::Stop(0) => 0,
            Operation::Stop(count) => had.saturating_sub(count.into()),
            Operation::Update => had,
        };
        prop_assert_eq!(has, expected);
        if let (Some(before), Some(after)) = (&before, &after) {
            prop_assert_eq!(&before.annotations, &after.annotations);
            prop_assert_eq!(&before.limits, &after.limits);
            let updated = matches!(operation, Operation::Update);
            prop_assert_eq!(&after.image_ref, if updated { &reference } else { &before.image_ref });
            prop_assert!(contains(&before.annotations, &wanted));
        }
    }
}
