//! The contract on hosts of 1.x, one of every version that differs, and on a lattice of both
//! kinds: each of the seventeen operations is held to the same expectations as on hosts of
//! 0.x, where such a host can do that.

use std::collections::BTreeSet;

use crate::support;
use crate::support::eventually;
use crate::support::host::Generation::{self, G1b, G3b};
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::operator::*;
use wasmbus_rpc::error::RpcError;

use super::table_1x::ids;

/// A lattice to run the contract on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Hosts of 1.x, one of each version.
    Only1x,
    /// Two of them beside two hosts of 0.x.
    Mixed,
}

struct Lattice {
    /// The hosts of 0.x, and the provider.
    all: Operated,
    of_1x: Vec<SimHostV1>,
}

impl Kind {
    async fn build(self) -> Lattice {
        let (eu, us) = (&[("zone", "eu")][..], &[("zone", "us")][..]);
        let (of_0x, of_1x): (&[(Generation, _)], &[Version]) = match self {
            Self::Only1x => (&[], &Version::ALL),
            Self::Mixed => (&[(G1b, us), (G3b, us)], &[Version::V100, Version::V192]),
        };
        let all = Operated::configured(of_0x, ids()).await;
        let mut hosts = Vec::new();
        for version in of_1x {
            hosts.push(SimHostV1::start(&all.sim, *version, eu).await);
        }
        Lattice { all, of_1x: hosts }
    }
}

impl Lattice {
    fn ids(&self) -> Vec<String> {
        let of_0x = self.all.hosts.iter().map(|host| host.id.clone());
        sorted(of_0x.chain(self.ids_1x()))
    }

    fn ids_1x(&self) -> Vec<String> {
        sorted(self.of_1x.iter().map(|host| host.id.clone()))
    }
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort();
    ids
}

/// Annotations of the tests' own: what wadm manages is refused.
fn noted() -> Annotations {
    map(&[("team", "shop")])
}

/// Checks that so many run on a host of 1.x, and that the provider tells the same.
async fn run(lattice: &Lattice, host: &SimHostV1, count: usize) {
    host.catches_up().await;
    assert_eq!(host.instances(ACTOR), count, "{:?}", host.version());
    assert_eq!(lattice.all.listed(&host.id).await, count);
}

async fn get_hosts(kind: Kind) {
    let lattice = kind.build().await;
    let found = lattice.all.get_hosts().await.unwrap();
    assert_eq!(
        sorted(found.iter().map(|host| host.id.clone())),
        lattice.ids()
    );
    for host in &lattice.of_1x {
        let told = found.iter().find(|told| told.id == host.id).unwrap();
        assert_eq!(told.version.as_deref(), Some(host.version().number()));
        assert_eq!(told.labels.as_ref().unwrap()["zone"], "eu");
        assert_eq!(told.lattice_prefix.as_deref(), Some(LATTICE));
        assert!((3733..4000).contains(&told.uptime_seconds));
        assert!(told.uptime_human.is_some() && told.ctl_host.is_some() && told.rpc_host.is_some());
        assert_eq!((&told.cluster_issuers, &told.prov_rpc_host), (&None, &None));
    }
}

async fn get_host_inventory(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        accepted(lattice.all.start_actor(&host.id, 3, &noted()).await);
        accepted(lattice.all.start_provider(&host.id).await);
        run(&lattice, host, 3).await;
        let inventory = lattice.all.inventory(&host.id).await.unwrap();
        assert_eq!(inventory.host_id, host.id);
        assert_eq!(inventory.labels["zone"], "eu");
        let [actor] = inventory.actors.as_slice() else {
            panic!("{:?}", inventory.actors);
        };
        assert_eq!(
            (
                actor.id.as_str(),
                actor.image_ref.as_deref(),
                actor.name.as_deref()
            ),
            (ACTOR, Some(ACTOR_REF), Some("kvcounter"))
        );
        let ids: BTreeSet<_> = actor.instances.iter().map(|i| &i.instance_id).collect();
        assert_eq!(ids.len(), 3);
        for instance in &actor.instances {
            assert_eq!(
                (instance.revision, &instance.annotations),
                (1, &Some(noted()))
            );
        }
        let [provider] = inventory.providers.as_slice() else {
            panic!("{:?}", inventory.providers);
        };
        assert_eq!(
            (provider.id.as_str(), provider.link_name.as_str()),
            (PROVIDER, "default")
        );
        assert_eq!(provider.annotations, Some(managed()));
    }
}

async fn auction_actor(kind: Kind) {
    let lattice = kind.build().await;
    assert_eq!(lattice.all.auction_actor(&[]).await.unwrap(), lattice.ids());
    let europe = lattice.all.auction_actor(&[("zone", "eu")]).await;
    assert_eq!(europe.unwrap(), lattice.ids_1x());
    let nowhere = lattice.all.auction_actor(&[("zone", "nope")]).await;
    assert!(nowhere.unwrap().is_empty());
}

async fn auction_provider(kind: Kind) {
    let lattice = kind.build().await;
    assert_eq!(
        lattice.all.auction_provider(&[]).await.unwrap(),
        lattice.ids()
    );
    let nowhere = lattice.all.auction_provider(&[("zone", "nope")]).await;
    assert!(nowhere.unwrap().is_empty());
    let mut free = lattice.ids();
    for busy in lattice.ids_1x() {
        accepted(lattice.all.start_provider(&busy).await);
        free.retain(|id| *id != busy);
        assert_eq!(lattice.all.auction_provider(&[]).await.unwrap(), free);
    }
}

async fn start_actor(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        for (count, expected) in [(0, 1), (2, 3), (1, 4)] {
            accepted(lattice.all.start_actor(&host.id, count, &none()).await);
            run(&lattice, host, expected).await;
        }
        let other = lattice.all.start_actor(&host.id, 2, &noted()).await;
        refused(other, "keep one set");
        let (reference, none) = (NEW_ACTOR_REF, none());
        let other = lattice.all.start_from(&host.id, reference, 1, &none);
        refused(other.await, "use UpdateActor");
        run(&lattice, host, 4).await;
    }
}

async fn scale_actor(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        for count in [5, 2, 7, 0, 0, 1] {
            accepted(lattice.all.scale_actor(&host.id, count, &none()).await);
            run(&lattice, host, count.into()).await;
        }
        let other = lattice.all.scale_actor(&host.id, 2, &noted()).await;
        refused(other, "keep one set");
        accepted(lattice.all.scale_actor(&host.id, 0, &none()).await);
        accepted(lattice.all.scale_actor(&host.id, 2, &noted()).await);
        // Annotations that all have select them, and they keep theirs.
        accepted(lattice.all.scale_actor(&host.id, 3, &none()).await);
        run(&lattice, host, 3).await;
        let groups: Vec<_> = host.groups(ACTOR).into_keys().collect();
        assert_eq!(groups, [noted().into_iter().collect()]);
    }
}

async fn stop_actor(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        let id = &host.id;
        refused(
            lattice.all.stop_actor(id, 0, &none()).await,
            "nothing was sent",
        );
        accepted(lattice.all.start_actor(id, 4, &noted()).await);
        accepted(lattice.all.stop_actor(id, 3, &none()).await);
        run(&lattice, host, 1).await;
        let other = map(&[("a", "b")]);
        refused(
            lattice.all.stop_actor(id, 1, &other).await,
            "nothing matches",
        );
        run(&lattice, host, 1).await;
        accepted(lattice.all.stop_actor(id, 50, &noted()).await);
        run(&lattice, host, 0).await;
    }
}

async fn update_actor(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        let id = &host.id;
        refused(
            lattice.all.update_actor(id, &none()).await,
            "nothing was sent",
        );
        accepted(lattice.all.start_actor(id, 2, &noted()).await);
        let other = map(&[("a", "b")]);
        refused(
            lattice.all.update_actor(id, &other).await,
            "nothing matches",
        );
        assert_eq!(host.runs(ACTOR), [1]);
        accepted(lattice.all.update_actor(id, &none()).await);
        run(&lattice, host, 2).await;
        assert_eq!(host.runs(ACTOR), [2], "{:?}", host.version());
    }
}

async fn start_provider(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        accepted(lattice.all.start_provider(&host.id).await);
        host.catches_up().await;
        assert!(host.runs_provider(PROVIDER));
        let again = lattice.all.start_provider(&host.id).await;
        refused(again, "nothing was sent");
    }
}

async fn stop_provider(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        let stop = |annotations| {
            let all = &lattice.all;
            async move { all.stop_provider(&host.id, &annotations).await }
        };
        refused(stop(none()).await, "does not run");
        accepted(lattice.all.start_provider(&host.id).await);
        refused(stop(map(&[("zz", "1")])).await, "does not run");
        assert!(host.runs_provider(PROVIDER));
        accepted(stop(none()).await);
        assert!(!host.runs_provider(PROVIDER));
    }
}

async fn stop_host(kind: Kind) {
    let lattice = kind.build().await;
    for host in &lattice.of_1x {
        accepted(lattice.all.stop_host(&host.id, Some(30)).await);
        assert!(host.stopped());
        let order = &host.received_on("host.stop")[0];
        assert_eq!(order.json()["timeout"], 30_000);
    }
    let left = lattice.all.get_hosts().await.unwrap();
    assert_eq!(left.len(), lattice.all.hosts.len());
}

/// Why links are refused where hosts of 1.x are alone.
const NO_LINKS: &str = "does not control their links";

async fn advertise_link(kind: Kind) {
    let lattice = kind.build().await;
    let advertised = lattice.all.advertise_link().await;
    match kind {
        Kind::Only1x => refused(advertised, NO_LINKS),
        Kind::Mixed => accepted(advertised),
    }
    for host in &lattice.all.hosts {
        eventually("every host of 0.x to know", || async {
            (host.links().len() == 1).then_some(())
        })
        .await;
    }
    for host in &lattice.of_1x {
        assert!(host.received_on("link.").is_empty());
    }
}

async fn remove_link(kind: Kind) {
    let lattice = kind.build().await;
    if kind == Kind::Only1x {
        refused(lattice.all.remove_link().await, NO_LINKS);
        return;
    }
    accepted(lattice.all.advertise_link().await);
    accepted(lattice.all.remove_link().await);
    assert!(lattice.all.links().await.unwrap().is_empty());
}

async fn get_links(kind: Kind) {
    let lattice = kind.build().await;
    if kind == Kind::Only1x {
        let error = lattice.all.links().await.unwrap_err().to_string();
        assert!(error.contains(NO_LINKS), "{error}");
        return;
    }
    accepted(lattice.all.advertise_link().await);
    assert_eq!(lattice.all.links().await.unwrap(), [link()]);
}

async fn get_claims(kind: Kind) {
    let lattice = kind.build().await;
    let host = &lattice.of_1x[0];
    accepted(lattice.all.start_actor(&host.id, 1, &none()).await);
    accepted(lattice.all.start_provider(&host.id).await);
    host.catches_up().await;
    let claims = lattice.all.claims().await.unwrap();
    for (key, name) in [(ACTOR, "kvcounter"), (PROVIDER, "HTTP Server")] {
        let of: Vec<_> = claims
            .iter()
            .filter(|claims| claims["sub"] == key)
            .collect();
        let [of] = of.as_slice() else {
            panic!("{claims:?}");
        };
        assert_eq!(of["name"], name);
        assert!(of["iss"].starts_with('A'));
    }
}

async fn set_lattice_credentials(kind: Kind) {
    let lattice = kind.build().await;
    let all = lattice.ids().len();
    assert_eq!(lattice.all.get_hosts().await.unwrap().len(), all);
    let elsewhere = support::nats::NatsServer::start();
    lattice
        .all
        .world
        .set_lattice(LATTICE, &elsewhere.url())
        .await;
    assert!(lattice.all.get_hosts().await.unwrap().is_empty());
    // What was known of the hosts is gone with the old credentials.
    let host = &lattice.of_1x[0].id;
    refused(lattice.all.stop_host(host, None).await, "nobody listens");
    let url = lattice.all.world.nats.url();
    lattice.all.world.set_lattice(LATTICE, &url).await;
    assert_eq!(lattice.all.get_hosts().await.unwrap().len(), all);
}

async fn set_registry_credentials(kind: Kind) {
    let lattice = kind.build().await;
    for registry in ["ghcr.io", "https://other.example/org/x"] {
        lattice.all.set_registry(registry, "oci").await.unwrap();
    }
    for host in &lattice.of_1x {
        assert!(host.logs_in("ghcr.io") && host.logs_in("other.example"));
    }
    let bindle = lattice
        .all
        .set_registry("b@https://bindle.example", "bindle");
    match (kind, bindle.await) {
        (Kind::Mixed, taken) => taken.unwrap(),
        (Kind::Only1x, Err(RpcError::Rpc(error))) => {
            assert!(error.contains("OCI registries only"), "{error}");
        }
        (_, other) => panic!("{other:?}"),
    }
}

macro_rules! on_hosts_of_1x {
    ($($operation:ident)+) => {
        mod only_1x {
            use super::*;
            $(
                #[tokio::test]
                async fn $operation() {
                    super::$operation(Kind::Only1x).await;
                }
            )+
        }
        mod mixed_with_1x {
            use super::*;
            $(
                #[tokio::test]
                async fn $operation() {
                    super::$operation(Kind::Mixed).await;
                }
            )+
        }
        pub const COVERED: &[&str] = &[$(stringify!($operation)),+];
    };
}

on_hosts_of_1x! {
    auction_provider auction_actor get_hosts get_host_inventory get_claims scale_actor
    start_actor advertise_link remove_link get_links update_actor start_provider
    stop_provider stop_actor stop_host set_lattice_credentials set_registry_credentials
}
