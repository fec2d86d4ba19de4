//! The contract on every generation of host, and on a lattice that mixes three
//! of them: each of the seventeen operations is held to the same expectations.
//! What a generation cannot do is refused with a reason.

mod operations_1x;
mod table;
mod table_1x;

use crate::support;
use std::collections::BTreeSet;

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::operator::*;

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b};

/// A lattice to run the contract on: two hosts of one generation, or one host
/// of each of three.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Of(Generation),
    Mixed,
}

impl Kind {
    async fn build(self) -> Operated {
        let (eu, us) = (&[("zone", "eu")], &[("zone", "us")]);
        match self {
            Self::Of(generation) => Operated::with(&[(generation, eu), (generation, us)]).await,
            Self::Mixed => Operated::with(&[(G1b, eu), (G2a, us), (G3b, eu)]).await,
        }
    }

    /// Returns the generation of each host.
    fn generations(self) -> Vec<Generation> {
        match self {
            Self::Of(generation) => vec![generation, generation],
            Self::Mixed => vec![G1b, G2a, G3b],
        }
    }
}

/// Returns each host with its generation.
fn hosts(kind: Kind, lattice: &Operated) -> impl Iterator<Item = (Generation, &SimHost)> {
    kind.generations().into_iter().zip(&lattice.hosts)
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort();
    ids
}

async fn get_hosts(kind: Kind) {
    let lattice = kind.build().await;
    let found = lattice.get_hosts().await.unwrap();
    let ids = sorted(found.iter().map(|host| host.id.clone()));
    assert_eq!(
        ids,
        sorted(lattice.hosts.iter().map(|host| host.id.clone()))
    );
    for (generation, host) in hosts(kind, &lattice) {
        let told = found.iter().find(|told| told.id == host.id).unwrap();
        assert!((3733..4000).contains(&told.uptime_seconds));
        if generation == G1a {
            // Its ping tells nothing more.
            assert_eq!((&told.version, &told.labels), (&None, &None));
            continue;
        }
        assert_eq!(told.version.as_deref(), Some(generation.version()));
        assert_eq!(told.labels.as_ref().unwrap()["hostcore.os"], "linux");
        assert_eq!(told.lattice_prefix.as_deref(), Some("default"));
        assert_eq!(told.js_domain, None);
        assert!(told.uptime_human.is_some() && told.ctl_host.is_some() && told.rpc_host.is_some());
        assert!(told.cluster_issuers.as_deref().unwrap().starts_with('C'));
        assert_eq!(told.prov_rpc_host.is_some(), !generation.is_g3());
    }
}

async fn get_host_inventory(kind: Kind) {
    let lattice = kind.build().await;
    for (generation, host) in hosts(kind, &lattice) {
        accepted(lattice.start_actor(&host.id, 3, &managed()).await);
        accepted(lattice.start_provider(&host.id).await);
        support::eventually("what was started", || async {
            (lattice.listed(&host.id).await == 3).then_some(())
        })
        .await;
        let inventory = lattice.inventory(&host.id).await.unwrap();
        assert_eq!(inventory.host_id, host.id);
        assert_eq!(inventory.labels["hostcore.os"], "linux");
        assert_eq!(inventory.actors.len(), 1);
        let actor = &inventory.actors[0];
        assert_eq!(
            (actor.id.as_str(), actor.image_ref.as_deref()),
            (ACTOR, Some(ACTOR_REF))
        );
        assert_eq!(actor.name.as_deref(), Some("kvcounter"));
        assert_eq!(actor.instances.len(), 3);
        let ids: BTreeSet<_> = actor.instances.iter().map(|i| &i.instance_id).collect();
        assert_eq!(ids.len(), 3);
        let shown = if generation == G1a { none() } else { managed() };
        for instance in &actor.instances {
            assert_eq!(
                (instance.revision, &instance.annotations),
                (1, &Some(shown.clone()))
            );
        }
        assert_eq!(inventory.providers.len(), 1);
        let provider = &inventory.providers[0];
        assert_eq!(
            (provider.id.as_str(), provider.link_name.as_str()),
            (PROVIDER, "default")
        );
        assert_eq!(provider.image_ref.as_deref(), Some(PROVIDER_REF));
        assert_eq!(provider.revision, 1_644_594_344);
    }
}

async fn auction_actor(kind: Kind) {
    let lattice = kind.build().await;
    let all = sorted(lattice.hosts.iter().map(|host| host.id.clone()));
    assert_eq!(lattice.auction_actor(&[]).await.unwrap(), all);
    assert_eq!(
        lattice
            .auction_actor(&[("hostcore.os", "linux")])
            .await
            .unwrap(),
        all
    );
    let europe = [("zone", "eu"), ("hostcore.os", "linux")];
    let expected = match kind {
        Kind::Of(_) => vec![lattice.hosts[0].id.clone()],
        Kind::Mixed => sorted([lattice.hosts[0].id.clone(), lattice.hosts[2].id.clone()]),
    };
    assert_eq!(lattice.auction_actor(&europe).await.unwrap(), expected);
    assert!(
        lattice
            .auction_actor(&[("zone", "nope")])
            .await
            .unwrap()
            .is_empty()
    );
}

async fn auction_provider(kind: Kind) {
    let lattice = kind.build().await;
    let all = sorted(lattice.hosts.iter().map(|host| host.id.clone()));
    assert_eq!(lattice.auction_provider(&[]).await.unwrap(), all);
    assert!(
        lattice
            .auction_provider(&[("zone", "nope")])
            .await
            .unwrap()
            .is_empty()
    );
    for busy in 0..lattice.hosts.len() {
        accepted(lattice.start_provider(&lattice.hosts[busy].id).await);
        let free = lattice
            .hosts
            .iter()
            .skip(busy + 1)
            .map(|host| host.id.clone());
        assert_eq!(lattice.auction_provider(&[]).await.unwrap(), sorted(free));
    }
}

async fn start_actor(kind: Kind) {
    let lattice = kind.build().await;
    for (_, host) in hosts(kind, &lattice) {
        for (count, expected) in [(0, 1), (2, 3), (1, 4)] {
            accepted(lattice.start_actor(&host.id, count, &none()).await);
            assert_eq!(host.instances(ACTOR), expected);
            assert_eq!(lattice.listed(&host.id).await, expected);
        }
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        assert_eq!(host.instances(ACTOR), 6);
        assert_eq!(host.groups(ACTOR).len(), 2);
    }
}

async fn scale_actor(kind: Kind) {
    let lattice = kind.build().await;
    for (generation, host) in hosts(kind, &lattice) {
        for count in [5, 2, 7] {
            accepted(lattice.scale_actor(&host.id, count, &none()).await);
            assert_eq!(host.instances(ACTOR), usize::from(count));
            assert_eq!(lattice.listed(&host.id).await, usize::from(count));
        }
        // Several annotation sets are scaled as one
        // (docs/hosts.md#too-large-stop-ends-control).
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        accepted(lattice.start_actor(&host.id, 2, &map(&[("a", "b")])).await);
        accepted(lattice.scale_actor(&host.id, 3, &none()).await);
        assert_eq!(host.instances(ACTOR), 3, "{generation:?}");
        accepted(lattice.scale_actor(&host.id, 0, &none()).await);
        assert_eq!(host.instances(ACTOR), 0);
        assert_eq!(lattice.listed(&host.id).await, 0);
        let managed = lattice.scale_actor(&host.id, 2, &managed()).await;
        if generation == G1a {
            // It shows no annotations, and nobody can count by them
            // (docs/hosts.md#annotations-are-not-shown).
            refused(managed, "nothing was sent");
            continue;
        }
        accepted(managed);
        assert_eq!(host.instances(ACTOR), 2);
        let groups = host.groups(ACTOR).into_keys();
        assert!(groups.into_iter().all(|notes| !notes.is_empty()));
    }
}

async fn stop_actor(kind: Kind) {
    let lattice = kind.build().await;
    for (generation, host) in hosts(kind, &lattice) {
        let id = &host.id;
        refused(lattice.stop_actor(id, 0, &none()).await, "nothing was sent");
        accepted(lattice.start_actor(id, 4, &none()).await);
        accepted(lattice.stop_actor(id, 3, &none()).await);
        assert_eq!(host.instances(ACTOR), 1);
        // A stop of more than run stops all that run
        // (docs/hosts.md#too-large-stop-ends-control).
        accepted(lattice.stop_actor(id, 50, &none()).await);
        assert_eq!(host.instances(ACTOR), 0);

        accepted(lattice.start_actor(id, 3, &none()).await);
        accepted(lattice.start_actor(id, 3, &managed()).await);
        accepted(lattice.start_actor(id, 1, &map(&[("a", "b")])).await);
        if generation == G1a {
            // It shows no annotations, so no instance matches.
            refused(
                lattice.stop_actor(id, 1, &managed()).await,
                "nothing was sent",
            );
            assert_eq!(host.instances(ACTOR), 7);
        } else {
            accepted(lattice.stop_actor(id, 2, &managed()).await);
            let left = |notes: &Annotations| {
                let notes = notes.clone().into_iter().collect();
                host.groups(ACTOR).get(&notes).copied().unwrap_or(0)
            };
            assert_eq!((left(&managed()), left(&none())), (1, 3), "{generation:?}");
            accepted(lattice.stop_actor(id, 0, &managed()).await);
            assert_eq!((left(&managed()), left(&none())), (0, 3), "{generation:?}");
            // A stop that matches nothing is not sent
            // (docs/hosts.md#unmatched-stop-loses-actor).
            refused(
                lattice.stop_actor(id, 0, &managed()).await,
                "nothing was sent",
            );
            assert_eq!(host.instances(ACTOR), 4);
        }
        accepted(lattice.stop_actor(id, 0, &none()).await);
        assert_eq!(host.instances(ACTOR), 0);
    }
}

async fn update_actor(kind: Kind) {
    let lattice = kind.build().await;
    for (generation, host) in hosts(kind, &lattice) {
        let id = &host.id;
        refused(lattice.update_actor(id, &none()).await, "nothing was sent");
        accepted(lattice.start_actor(id, 1, &none()).await);
        accepted(lattice.start_actor(id, 1, &managed()).await);
        // A host runs one revision of an actor.
        refused(
            lattice.update_actor(id, &managed()).await,
            "nothing was sent",
        );
        assert_eq!(host.revisions(ACTOR), [1, 1]);
        accepted(lattice.update_actor(id, &none()).await);
        assert_eq!(host.revisions(ACTOR), [2, 2], "{generation:?}");
    }
}

async fn start_provider(kind: Kind) {
    let lattice = kind.build().await;
    for (_, host) in hosts(kind, &lattice) {
        accepted(lattice.start_provider(&host.id).await);
        assert!(host.runs_provider(PROVIDER, "default"));
        refused(lattice.start_provider(&host.id).await, "already");
    }
}

async fn stop_provider(kind: Kind) {
    let lattice = kind.build().await;
    for (_, host) in hosts(kind, &lattice) {
        refused(
            lattice.stop_provider(&host.id, &none()).await,
            "does not run",
        );
        accepted(lattice.start_provider(&host.id).await);
        let other = map(&[("zz", "1")]);
        refused(
            lattice.stop_provider(&host.id, &other).await,
            "does not run",
        );
        assert!(host.runs_provider(PROVIDER, "default"));
        accepted(lattice.stop_provider(&host.id, &none()).await);
        assert!(!host.runs_provider(PROVIDER, "default"));
    }
}

async fn stop_host(kind: Kind) {
    let lattice = kind.build().await;
    for (_, host) in hosts(kind, &lattice) {
        accepted(lattice.stop_host(&host.id, Some(30)).await);
        assert!(host.stopped());
        // Hosts count in milliseconds
        // (docs/hosts.md#stop-timeout-in-milliseconds).
        assert_eq!(host.only(".stop").json()["timeout"], 30_000);
    }
}

async fn knows_links(lattice: &Operated, count: usize) {
    for host in &lattice.hosts {
        eventually("every host to know", || async {
            (host.links().len() == count).then_some(())
        })
        .await;
    }
}

async fn advertise_link(kind: Kind) {
    let lattice = kind.build().await;
    for _ in 0..2 {
        accepted(lattice.advertise_link().await);
        knows_links(&lattice, 1).await;
    }
    for host in &lattice.hosts {
        let links = host.links();
        assert_eq!(links[0]["values"]["address"], "0.0.0.0:8080");
        // OTP hosts could not remove a link with an id from elsewhere.
        assert_eq!(links[0].get("id"), None);
    }
}

async fn remove_link(kind: Kind) {
    let lattice = kind.build().await;
    accepted(lattice.advertise_link().await);
    knows_links(&lattice, 1).await;
    for _ in 0..2 {
        accepted(lattice.remove_link().await);
        knows_links(&lattice, 0).await;
        assert!(lattice.links().await.unwrap().is_empty());
    }
}

async fn get_links(kind: Kind) {
    let lattice = kind.build().await;
    assert!(lattice.links().await.unwrap().is_empty());
    accepted(lattice.advertise_link().await);
    assert_eq!(lattice.links().await.unwrap(), [link()]);
}

async fn get_claims(kind: Kind) {
    let lattice = kind.build().await;
    let claims = lattice.claims().await.unwrap();
    assert_eq!(claims.len(), 2);
    let of = |key: &str| claims.iter().find(|claims| claims["sub"] == key).unwrap();
    for (key, name) in [(ACTOR, "kvcounter"), (PROVIDER, "HTTP Server")] {
        let claims = of(key);
        assert_eq!(claims["name"], name);
        assert_eq!(claims["version"], "0.1.0");
        assert!(claims["iss"].starts_with('A') && !claims["rev"].is_empty());
    }
    assert_eq!(of(ACTOR)["caps"], "wasmcloud:httpserver");
    // OTP hosts tell it from 0.60 on.
    let tells = kind != Kind::Of(G1a);
    let contract = of(PROVIDER).get("contract_id").map(String::as_str);
    assert_eq!(contract, tells.then_some(CONTRACT));
}

async fn set_lattice_credentials(kind: Kind) {
    let lattice = kind.build().await;
    assert_eq!(
        lattice.get_hosts().await.unwrap().len(),
        lattice.hosts.len()
    );
    let elsewhere = support::nats::NatsServer::start();
    lattice.world.set_lattice(LATTICE, &elsewhere.url()).await;
    assert!(lattice.get_hosts().await.unwrap().is_empty());
    // What was known of the hosts is gone with the old credentials.
    let host = &lattice.hosts[0].id;
    refused(lattice.stop_host(host, None).await, "nobody listens");
    lattice
        .world
        .set_lattice(LATTICE, &lattice.world.nats.url())
        .await;
    assert_eq!(
        lattice.get_hosts().await.unwrap().len(),
        lattice.hosts.len()
    );
}

async fn set_registry_credentials(kind: Kind) {
    let lattice = kind.build().await;
    if matches!(kind, Kind::Of(G1a)) {
        // It confirms nothing, and uses what it gets nowhere
        // (docs/hosts.md#registries-not-confirmed).
        let silence = lattice.set_registry("ghcr.io", "oci").await.unwrap_err();
        assert!(silence.to_string().contains("up to 0.54.4"), "{silence}");
        return;
    }
    for (registry, kind) in [("ghcr.io", "oci"), ("https://ghcr.io/org/x", "oci")] {
        lattice.set_registry(registry, kind).await.unwrap();
        for host in &lattice.hosts {
            let old = host.registries().is_empty();
            assert!(old || host.registries() == ["ghcr.io"]);
        }
    }
    let bindle = lattice.set_registry("b@https://bindle.example", "bindle");
    match (bindle.await, kind) {
        // No host there knows such a server (docs/hosts.md#bindle-unknown).
        (Err(error), Kind::Of(G3a | G3b)) => {
            assert!(error.to_string().contains("OCI registries only"), "{error}");
        }
        (taken, _) => taken.unwrap(),
    }
    for wrong in ["", "OCI", "docker"] {
        let error = lattice.set_registry("ghcr.io", wrong).await.unwrap_err();
        assert!(
            error.to_string().contains("must be \"oci\" or \"bindle\""),
            "{error}"
        );
    }
    assert!(lattice.hosts.iter().all(|host| host.harm().is_none()));
}

macro_rules! on_every_generation {
    ($($operation:ident)+) => {
        on_every_generation!(@ g1a, Kind::Of(G1a), $($operation)+);
        on_every_generation!(@ g1b, Kind::Of(G1b), $($operation)+);
        on_every_generation!(@ g2a, Kind::Of(G2a), $($operation)+);
        on_every_generation!(@ g2b, Kind::Of(G2b), $($operation)+);
        on_every_generation!(@ g3_0_81, Kind::Of(G3a), $($operation)+);
        on_every_generation!(@ g3_0_82, Kind::Of(G3b), $($operation)+);
        on_every_generation!(@ mixed, Kind::Mixed, $($operation)+);
        const COVERED: &[&str] = &[$(stringify!($operation)),+];
    };
    (@ $name:ident, $kind:expr, $($operation:ident)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $operation() {
                    super::$operation($kind).await;
                }
            )+
        }
    };
}

on_every_generation! {
    auction_provider auction_actor get_hosts get_host_inventory get_claims scale_actor
    start_actor advertise_link remove_link get_links update_actor start_provider
    stop_provider stop_actor stop_host set_lattice_credentials set_registry_credentials
}

#[test]
fn every_operation_is_tested_here() {
    for operation in lattice_controller::internals::contract::Operation::NAMES {
        let snake: String = operation
            .chars()
            .enumerate()
            .flat_map(|(at, c)| {
                let under = (c.is_uppercase() && at > 0).then_some('_');
                under.into_iter().chain(c.to_lowercase())
            })
            .collect();
        for covered in [COVERED, operations_1x::COVERED] {
            assert!(covered.contains(&snake.as_str()), "{snake} is not tested");
        }
    }
}
