//! The example `examples/autoscaler` with the real provider and simulated
//! hosts, and the files that lie beside it.

use crate::support;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::world::{World, ctx};
use autoscaler::{Desired, Error, MANAGED_BY, Reason, Report, Request, carry_out, look, plan};
use lattice_controller::internals::contract::Operation;
use lattice_controller::internals::settings::{LinkSettings, Policy, ProviderSettings};
use serde_json::{Value, json};

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b};

const EU: &[(&str, &str)] = &[("zone", "eu")];
const US: &[(&str, &str)] = &[("zone", "us")];

/// Returns a request for so many instances of the fixtures' actor in each zone.
fn wanted(zones: &[(&str, u16)]) -> Desired {
    Desired::new(LATTICE, ACTOR, ACTOR_REF, zones).unwrap()
}

async fn run(lattice: &Operated, zones: &[(&str, u16)]) -> Report {
    let report = autoscaler::run(&lattice.client(), &ctx(), &wanted(zones)).await;
    report.unwrap()
}

/// Runs it, where everything that it finds to do is done, and waits until the hosts have
/// done what they acknowledged: the next run believes their inventories.
async fn done(lattice: &Operated, zones: &[(&str, u16)]) {
    let report = run(lattice, zones).await;
    let failed = report.refused.len() + report.unknown.len() + report.unseen.len();
    assert_eq!(failed + report.lacking.len(), 0, "{report}");
    let caught_up = || async { lattice.hosts.iter().all(SimHost::caught_up).then_some(()) };
    eventually("all that was acknowledged", caught_up).await;
}

/// Returns how many instances run on each host.
fn running(lattice: &Operated) -> Vec<usize> {
    let hosts = lattice.hosts.iter();
    hosts.map(|host| host.instances(ACTOR)).collect()
}

/// Returns how many instances run on each host, in order of size.
fn sorted(hosts: &[SimHost]) -> Vec<usize> {
    let mut running: Vec<_> = hosts.iter().map(|host| host.instances(ACTOR)).collect();
    running.sort();
    running
}

/// Returns the commands that hosts have received.
fn orders(lattice: &Operated) -> usize {
    let ends = [".la", ".scale", ".sa", ".upd"];
    let hosts = lattice.hosts.iter();
    hosts
        .flat_map(|host| ends.map(|end| host.received_on(end).len()))
        .sum()
}

// --- what it promises on every generation of host, and on a mix of three ---

/// Starts two hosts in Europe and one in America.
async fn three(kind: [Generation; 3]) -> Operated {
    Operated::with(&[(kind[0], EU), (kind[1], EU), (kind[2], US)]).await
}

async fn spreads_as_asked(kind: [Generation; 3]) {
    let lattice = three(kind).await;
    done(&lattice, &[("eu", 5), ("us", 2)]).await;
    assert_eq!(sorted(&lattice.hosts[..2]), [2, 3]);
    assert_eq!(lattice.hosts[2].instances(ACTOR), 2);
}

async fn a_second_run_does_nothing(kind: [Generation; 3]) {
    let lattice = three(kind).await;
    for zones in [[("eu", 3), ("us", 1)], [("eu", 1), ("us", 1)]] {
        done(&lattice, &zones).await;
        let (before, told) = (running(&lattice), orders(&lattice));
        let report = run(&lattice, &zones).await;
        assert!(report.found_as_desired(), "{report}");
        assert_eq!((running(&lattice), orders(&lattice)), (before, told));
    }
}

async fn scales_down(kind: [Generation; 3]) {
    let lattice = three(kind).await;
    done(&lattice, &[("eu", 6), ("us", 2)]).await;
    done(&lattice, &[("eu", 3), ("us", 1)]).await;
    assert_eq!(sorted(&lattice.hosts[..2]), [1, 2]);
    assert_eq!(lattice.hosts[2].instances(ACTOR), 1);
    done(&lattice, &[("eu", 0), ("us", 0)]).await;
    assert_eq!(running(&lattice), [0, 0, 0]);
    let report = run(&lattice, &[("eu", 0), ("us", 0)]).await;
    assert!(report.found_as_desired(), "{report}");
}

macro_rules! on_every_generation {
    ($($promise:ident)+) => {
        on_every_generation!(@ g1a, [G1a; 3], $($promise)+);
        on_every_generation!(@ g1b, [G1b; 3], $($promise)+);
        on_every_generation!(@ g2a, [G2a; 3], $($promise)+);
        on_every_generation!(@ g2b, [G2b; 3], $($promise)+);
        on_every_generation!(@ g3_0_81, [G3a; 3], $($promise)+);
        on_every_generation!(@ g3_0_82, [G3b; 3], $($promise)+);
        on_every_generation!(@ mixed, [G1b, G3b, G2a], $($promise)+);
        on_every_generation!(@ mixed_without_labels, [G1a, G2b, G1a], $($promise)+);
    };
    (@ $name:ident, $kind:expr, $($promise:ident)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise($kind).await;
                }
            )+
        }
    };
}

on_every_generation! {
    spreads_as_asked a_second_run_does_nothing scales_down
}

// --- what is not there, not ours, or not known ---

#[tokio::test]
async fn a_zone_without_hosts_is_reported_and_the_others_are_served() {
    let lattice = Operated::with(&[(G2b, EU), (G3b, &[])]).await;
    let report = run(&lattice, &[("eu", 2), ("us", 3)]).await;
    assert_eq!(running(&lattice), [2, 0]);
    let lack = &report.lacking[..];
    assert_eq!((lack.len(), lack[0].missing), (1, 3), "{report}");
    assert_eq!((&*lack[0].zone, &lack[0].reason), ("us", &Reason::NoHost));
    // A host in another zone is not asked what it runs.
    assert!(lattice.hosts[1].received_on(".inv").is_empty());
}

#[tokio::test]
async fn a_lattice_without_hosts_is_reported_and_is_no_error() {
    let lattice = Operated::with(&[]).await;
    let report = run(&lattice, &[("eu", 2)]).await;
    assert_eq!(report.lacking[0].reason, Reason::NoHost);
}

#[tokio::test]
async fn an_unknown_lattice_is_an_error_until_it_is_made_known() {
    let lattice = Operated::one(G2b).await;
    let (client, world) = (lattice.client(), &lattice.world);
    let desired = Desired::new("other", ACTOR, ACTOR_REF, &[("eu", 1)]).unwrap();
    let error = autoscaler::run(&client, &ctx(), &desired)
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Hosts { lattice, .. } if lattice == "other"));
    assert!(error.to_string().contains("is unknown"), "{error}");

    let url = world.nats.url();
    let request = [
        ("lattice", "other"),
        ("actor", ACTOR),
        ("image", ACTOR_REF),
        ("zones", "eu=1"),
        ("nats_url", &url),
    ];
    let request = Request::parse(&map(&request)).ok().unwrap();
    let report = autoscaler::serve(&client, &ctx(), &request).await.unwrap();
    assert_eq!(report.lacking[0].reason, Reason::NoHost);

    let refused = autoscaler::introduce(&client, &ctx(), "other", "http://x").await;
    assert!(matches!(refused, Err(Error::Credentials { .. })));
}

#[tokio::test]
async fn instances_of_others_are_left_alone() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::with(&[(generation, EU)]).await;
        let (host, ours) = (&lattice.hosts[0], map(&[MANAGED_BY]));
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        accepted(lattice.start_actor(&host.id, 1, &map(&[])).await);
        for (count, all) in [(3, 6), (1, 4), (0, 3)] {
            done(&lattice, &[("eu", count)]).await;
            assert_eq!(host.instances(ACTOR), all, "{generation:?}");
            let ours = ours.clone().into_iter().collect();
            let found = host.groups(ACTOR).get(&ours).copied();
            assert_eq!(found.unwrap_or_default(), u64::from(count));
        }
    }
}

#[tokio::test]
async fn a_host_that_is_silent_is_reported_as_unknown_and_the_rest_goes_on() {
    let lattice = Operated::with(&[(G2b, EU), (G3b, EU), (G1b, US)]).await;
    done(&lattice, &[("eu", 4), ("us", 1)]).await;
    let (silent, other) = (&lattice.hosts[0], &lattice.hosts[1]);
    silent.fall_silent_on(".inv");
    let report = run(&lattice, &[("eu", 5), ("us", 2)]).await;
    assert_eq!(report.unseen.len(), 1, "{report}");
    assert_eq!(report.unseen[0].host, silent.id);
    assert!(report.unseen[0].why.contains("did not answer in time"));
    // What it runs does not count, and it gets no command.
    assert_eq!(running(&lattice), [2, 5, 2]);
    silent.speak_again();
    done(&lattice, &[("eu", 5), ("us", 2)]).await;
    assert_eq!(silent.instances(ACTOR) + other.instances(ACTOR), 5);
}

#[tokio::test]
async fn an_order_without_an_answer_is_unknown_and_the_next_run_sees_what_came_of_it() {
    let lattice = Operated::with(&[(G2b, EU), (G2b, US)]).await;
    lattice.hosts[0].fall_silent_on(".scale");
    let zones = [("eu", 2), ("us", 1)];
    let report = run(&lattice, &zones).await;
    assert_eq!(
        (report.unknown.len(), report.done.len()),
        (1, 1),
        "{report}"
    );
    let unknown = &report.unknown[0];
    assert_eq!(unknown.order.host, lattice.hosts[0].id);
    assert!(unknown.why.contains("unknown whether"), "{}", unknown.why);
    // The host had carried it out.
    let report = run(&lattice, &zones).await;
    assert!(report.found_as_desired(), "{report}");
}

#[tokio::test]
async fn runs_while_hosts_still_download_change_nothing() {
    let lattice = Operated::with(&[(G2b, EU), (G3b, EU), (G1b, US)]).await;
    let zones = [("eu", 3), ("us", 2)];
    for host in &lattice.hosts {
        host.lag_by(Duration::from_millis(700));
    }
    for _ in 0..3 {
        done(&lattice, &zones).await;
    }
    eventually("the hosts to have caught up", || async {
        let behind = lattice.hosts.iter().any(|host| !host.caught_up());
        (!behind).then_some(())
    })
    .await;
    assert_eq!(sorted(&lattice.hosts[..2]), [1, 2]);
    assert_eq!(lattice.hosts[2].instances(ACTOR), 2);
    let report = run(&lattice, &zones).await;
    assert!(report.found_as_desired(), "{report}");
}

#[tokio::test]
async fn hosts_that_vanish_are_refused_by_the_provider_and_made_up_for_by_the_next_run() {
    let mut lattice = Operated::with(&[(G2b, EU), (G3b, EU)]).await;
    let (client, desired) = (lattice.client(), wanted(&[("eu", 4)]));
    let state = look(&client, &ctx(), &desired).await.unwrap();
    let steps = plan(&state, &desired);
    assert_eq!(steps.len(), 2);
    let gone = lattice.hosts.remove(0).id.clone();
    support::fence(&lattice.sim.client).await;
    let report = carry_out(&client, &ctx(), &desired, Vec::new(), steps).await;
    assert_eq!(
        (report.refused.len(), report.done.len()),
        (1, 1),
        "{report}"
    );
    assert_eq!(report.refused[0].order.host, gone);
    done(&lattice, &[("eu", 4)]).await;
    assert_eq!(running(&lattice), [4]);
}

// --- what the link allows ---

/// Starts two hosts, and an actor whose link allows these operations and the
/// one that sets the lattice's credentials.
async fn allowed(operations: &str) -> Operated {
    let operations = format!("SetLatticeCredentials{operations}");
    let world = World::start_on(NatsServer::start(), |host_data| {
        host_data["link_definitions"][0]["values"] = json!({ "operations": operations });
    })
    .await;
    world.set_lattice(LATTICE, &world.nats.url()).await;
    Operated::in_world(world, &[(G2b, EU), (G1b, US)]).await
}

#[tokio::test]
async fn an_actor_whose_link_does_not_allow_the_operations_is_told_so() {
    let zones = [("eu", 1), ("us", 1)];
    let lattice = allowed("").await;
    let none = autoscaler::run(&lattice.client(), &ctx(), &wanted(&zones)).await;
    let problem = none.unwrap_err().to_string();
    assert!(problem.contains("does not allow GetHosts"), "{problem}");

    let lattice = allowed(",GetHosts").await;
    let report = run(&lattice, &zones).await;
    assert_eq!(
        (report.unseen.len(), report.lacking.len()),
        (2, 2),
        "{report}"
    );
    let why = |why: &str, operation: &str| why.contains(&format!("does not allow {operation}"));
    let all = report.unseen.iter().map(|unseen| &unseen.why);
    assert!(all.into_iter().all(|found| why(found, "GetHostInventory")));

    let lattice = allowed(",GetHosts,GetHostInventory").await;
    let report = run(&lattice, &zones).await;
    assert_eq!(report.lacking.len(), 2, "{report}");
    for lack in &report.lacking {
        let Reason::NoAuction(found) = &lack.reason else {
            panic!("{report}");
        };
        assert!(why(found, "AuctionActor"), "{found}");
    }

    let lattice = allowed(",GetHosts,GetHostInventory,AuctionActor").await;
    let report = run(&lattice, &zones).await;
    assert_eq!(
        (report.refused.len(), report.done.len()),
        (2, 0),
        "{report}"
    );
    assert!(report.refused.iter().all(|f| why(&f.why, "ScaleActor")));
    assert_eq!(orders(&lattice), 0);
}

#[tokio::test]
async fn the_operations_of_the_manifests_link_are_all_it_needs() {
    let operations = &manifest("values")["operations"];
    assert!(operations.contains("SetLatticeCredentials"));
    let lattice = allowed(&format!(",{operations}")).await;
    for count in [3, 1, 0] {
        done(&lattice, &[("eu", count), ("us", count)]).await;
    }
}

// --- the files beside it ---

fn example(path: &str) -> String {
    let path = format!("{}/examples/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the scalars of the only map under this key in the wadm manifest,
/// with their quotes.
fn manifest_as_written(key: &str) -> BTreeMap<String, String> {
    let text = example("autoscaler/wadm.yaml");
    let depth = |line: &str| line.len() - line.trim_start().len();
    let heading = format!("{key}:");
    assert_eq!(text.lines().filter(|l| l.trim() == heading).count(), 1);
    let mut lines = text.lines().skip_while(|line| line.trim() != heading);
    let above = depth(lines.next().unwrap());
    lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .take_while(|line| depth(line) > above)
        .map(|line| {
            let (key, value) = line.trim().split_once(": ").unwrap();
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// Returns these scalars without their quotes.
fn manifest(key: &str) -> HashMap<String, String> {
    let written = manifest_as_written(key).into_iter();
    let bare = written.map(|(key, value)| (key, value.trim_matches('"').to_owned()));
    bare.collect()
}

#[test]
fn the_values_of_the_manifests_link_are_accepted() {
    let values = manifest("values");
    for key in ["lattices", "operations", "call_budget_ms"] {
        assert!(values.contains_key(key), "{key}");
    }
    let link = LinkSettings::parse(&values).unwrap();
    let provider = Policy::default();
    let allowed = provider.with_link(&link.policy);
    assert!(allowed.lattice("production").is_ok() && allowed.lattice("test-1").is_ok());
    assert!(allowed.lattice("other").is_err());
    assert!(
        allowed.operation(Operation::ScaleActor).is_ok()
            && allowed.operation(Operation::StopHost).is_err()
    );
    // wadm takes texts only.
    let written = manifest_as_written("values");
    assert!(written.values().all(|value| value.starts_with('"')));
}

#[test]
fn the_manifests_config_is_accepted() {
    let config: serde_json::Map<String, Value> = manifest_as_written("config")
        .into_iter()
        .map(|(key, value)| (key, serde_json::from_str(&value).unwrap()))
        .collect();
    assert!(config.len() > 2);
    let config = Value::Object(config).to_string();
    let settings = ProviderSettings::parse(Some(&config)).unwrap();
    let link = LinkSettings::parse(&manifest("values")).unwrap();
    assert!(link.limits.call_budget < settings.limits.call_budget);
}

#[test]
fn the_readmes_link_is_the_manifests_and_its_request_can_be_read() {
    let readme = example("autoscaler/README.md");
    for (key, value) in manifest("values") {
        assert!(readme.contains(&format!("{key}={value}")), "{key}={value}");
    }
    let (_, rest) = readme.split_once("Autoscaler.Run \\\n    '").unwrap();
    let (request, _) = rest.split_once("}'\n").unwrap();
    let request = request.replace(r#"'"$SHOP"'"#, ACTOR) + "}";
    let members: HashMap<String, String> = serde_json::from_str(&request).unwrap();
    assert!(Request::parse(&members).is_ok());
    for key in Request::KEYS {
        assert!(readme.contains(&format!("\n| `{key}` |")), "{key}");
        assert!(members.contains_key(key), "{key}");
    }
}
