//! Every operation of the contract, called by a linked actor through the
//! published client: what hosts of G1 and G2 receive, and what the actor gets.

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use support::fixtures;
use support::host::lattice::SimLattice;
use support::host::{Generation, SimHost};
use support::world::{World, ctx};
use wasmcloud_interface_lattice_control::*;

/// The image references of the fixtures.
const ACTOR_REF: &str = "wasmcloud.azurecr.io/kvcounter:0.3.0";
const NEW_ACTOR_REF: &str = "wasmcloud.azurecr.io/kvcounter:0.3.1";
const PROVIDER_REF: &str = "wasmcloud.azurecr.io/httpserver:0.14.10";
/// The keys of the fixtures.
const ACTOR: &str = "MBW3UGAIONCX3RIDDUGDCQIRGBQQOWS643CVICQ5EZ7SWNQPZLZTSQKU";
const PROVIDER: &str = "VAG3QITQQ2ODAOWB5TTQSDJ53XK3SHBEIFNK4AYJ5RKAX2UNSCAPHA5M";
const HOST: &str = "NAGASFIHF5SBGTNTZUOVWT3O63SJUMIFUL7BH52T3UAFKQW7PPP46KFU";

const BOTH: [Generation; 2] = [Generation::G1b, Generation::G2b];

/// A world with a lattice `default` of one host, and what that host can start.
struct Lattice {
    world: World,
    sim: Arc<SimLattice>,
    host: SimHost,
    generation: Generation,
}

impl Lattice {
    async fn of(generation: Generation) -> Self {
        let world = World::with_lattice().await;
        let sim = SimLattice::with_bucket(world.nats.client().await, "default").await;
        sim.publish_actor_as(ACTOR_REF, ACTOR, "kvcounter", 1).await;
        sim.publish_actor_as(NEW_ACTOR_REF, ACTOR, "kvcounter", 2)
            .await;
        let sim = Arc::new(sim);
        let host = SimHost::start(&sim, generation, &[]).await;
        Self {
            world,
            sim,
            host,
            generation,
        }
    }

    fn client(&self) -> LatticeControllerSender<support::actor::Actor> {
        self.world.actor.lattice()
    }

    /// What the host received there equals the fixture of its generation, but
    /// for the host id and what `change` says.
    fn received(&self, subject: &str, fixture: &str, change: impl FnOnce(&mut Value)) {
        let mut expected = match self.generation {
            Generation::G1b => fixtures::json(&format!("G1/{fixture}.request.json")),
            Generation::G2a => fixtures::json(&format!("G2-rust-0.78/{fixture}.request.json")),
            Generation::G2b => fixtures::json(&format!("G2/{fixture}.request.json")),
        };
        if expected["host_id"] == HOST {
            expected["host_id"] = self.host.id.clone().into();
        }
        change(&mut expected);
        assert_eq!(self.host.only(subject).json(), expected, "{subject}");
    }
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    pairs.collect()
}

fn managed() -> Option<HashMap<String, String>> {
    Some(map(&[("wasmcloud.dev/managed-by", "wadm")]))
}

#[track_caller]
fn accepted(ack: CtlOperationAck) {
    assert!(ack.accepted && ack.error.is_empty(), "{:?}", ack.error);
}

#[tokio::test]
async fn get_hosts_tells_every_host_in_the_contracts_shape() {
    let one = Lattice::of(Generation::G1b).await;
    let two = SimHost::start(&one.sim, Generation::G2b, &[("zone", "eu")]).await;
    let mut hosts = one.client().get_hosts(&ctx(), "default").await.unwrap();
    hosts.sort_by_key(|host| host.version.clone());
    assert_eq!(hosts.len(), 2);
    let (otp, rust) = (&hosts[0], &hosts[1]);
    assert_eq!(
        (otp.id.as_str(), rust.id.as_str()),
        (one.host.id.as_str(), two.id.as_str())
    );
    assert_eq!(otp.version.as_deref(), Some("0.63.2"));
    assert_eq!(otp.uptime_seconds, 3733);
    assert_eq!(
        otp.uptime_human.as_deref(),
        Some("1 hour, 2 minutes, 13 seconds")
    );
    assert_eq!(otp.ctl_host.as_deref(), Some("127.0.0.1"));
    assert_eq!(otp.prov_rpc_host.as_deref(), Some("127.0.0.1"));
    assert_eq!(rust.rpc_host.as_deref(), Some("nats://127.0.0.1:4222"));
    assert_eq!(rust.lattice_prefix.as_deref(), Some("default"));
    assert_eq!(rust.js_domain, None);
    assert!(rust.cluster_issuers.as_deref().unwrap().starts_with('C'));
    assert_eq!(rust.labels.as_ref().unwrap()["zone"], "eu");
    assert_eq!(one.host.only("ping.hosts").body, b"");
}

#[tokio::test]
async fn get_host_inventory_tells_what_runs_there() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        let http =
            lattice
                .sim
                .publish_provider(PROVIDER_REF, "HTTP Server", "wasmcloud:httpserver");
        let http = http.await;
        start_actor(&lattice, 2, managed()).await;
        start_provider(&lattice).await;
        let request = GetHostInventoryRequest {
            lattice_id: "default".into(),
            host_id: lattice.host.id.clone(),
        };
        let inventory = lattice.client().get_host_inventory(&ctx(), &request).await;
        let inventory = inventory.unwrap();
        assert_eq!(inventory.host_id, lattice.host.id);
        assert_eq!(inventory.labels["hostcore.os"], "linux");
        let actor = &inventory.actors[0];
        assert_eq!(actor.id, ACTOR);
        assert_eq!(actor.image_ref.as_deref(), Some(ACTOR_REF));
        assert_eq!(actor.name.as_deref(), Some("kvcounter"));
        // G2b lists one entry per set of annotations.
        let listed = if generation == Generation::G1b { 2 } else { 1 };
        assert_eq!(actor.instances.len(), listed);
        assert_eq!(actor.instances[0].revision, 1);
        assert_eq!(actor.instances[0].annotations, managed());
        assert!(!actor.instances[0].instance_id.is_empty());
        let provider = &inventory.providers[0];
        assert_eq!(
            (provider.id.as_str(), provider.link_name.as_str()),
            (http.as_str(), "default")
        );
        assert_eq!(provider.revision, 1_644_594_344);
        assert_eq!(provider.annotations, managed());
        assert_eq!(lattice.host.only(".inv").body, b"");
    }
}

#[tokio::test]
async fn auction_actor_returns_each_bidder_once() {
    let one = Lattice::of(Generation::G1b).await;
    let two = SimHost::start(&one.sim, Generation::G2b, &[]).await;
    let request = ActorAuctionRequest {
        lattice_id: "default".into(),
        actor_ref: ACTOR_REF.into(),
        constraints: map(&[("hostcore.os", "linux")]),
    };
    let bids = one.client().auction_actor(&ctx(), &request).await.unwrap();
    let mut hosts: Vec<_> = bids.iter().map(|bid| bid.host_id.clone()).collect();
    hosts.sort();
    let mut expected = vec![one.host.id.clone(), two.id.clone()];
    expected.sort();
    assert_eq!(hosts, expected);
    assert!(bids.iter().all(|bid| bid.actor_ref == ACTOR_REF));
    one.received("auction.actor", "AuctionActor", |_| {});
}

#[tokio::test]
async fn auction_provider_leaves_out_hosts_that_run_it() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        let sim = &lattice.sim;
        sim.publish_provider(PROVIDER_REF, "HTTP Server", "wasmcloud:httpserver")
            .await;
        let free = SimHost::start(sim, generation, &[]).await;
        start_provider(&lattice).await;
        let request = ProviderAuctionRequest {
            lattice_id: "default".into(),
            provider_ref: PROVIDER_REF.into(),
            link_name: "default".into(),
            constraints: map(&[("hostcore.os", "linux")]),
        };
        let bids = lattice
            .client()
            .auction_provider(&ctx(), &request)
            .await
            .unwrap();
        assert_eq!(bids.len(), 1);
        assert_eq!(bids[0].host_id, free.id);
        assert_eq!(bids[0].provider_ref, PROVIDER_REF);
        assert_eq!(bids[0].link_name, "default");
        lattice.received("auction.provider", "AuctionProvider", |_| {});
    }
}

async fn start_actor(lattice: &Lattice, count: u16, annotations: Option<HashMap<String, String>>) {
    let command = StartActorCommand {
        lattice_id: "default".into(),
        host_id: lattice.host.id.clone(),
        actor_ref: ACTOR_REF.into(),
        annotations,
        count,
    };
    accepted(
        lattice
            .client()
            .start_actor(&ctx(), &command)
            .await
            .unwrap(),
    );
}

async fn start_provider(lattice: &Lattice) {
    let command = StartProviderCommand {
        lattice_id: "default".into(),
        host_id: lattice.host.id.clone(),
        provider_ref: PROVIDER_REF.into(),
        link_name: "default".into(),
        annotations: managed(),
        configuration: Some("eyJmb28iOiJiYXIifQ==".into()),
    };
    accepted(
        lattice
            .client()
            .start_provider(&ctx(), &command)
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn start_actor_starts_the_instances_asked_for() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        start_actor(&lattice, 3, managed()).await;
        assert_eq!(lattice.host.instances(ACTOR), 3);
        lattice.received(".la", "StartActor", |_| {});
    }
}

#[tokio::test]
async fn start_actor_with_count_0_starts_one() {
    for generation in [Generation::G1b, Generation::G2a, Generation::G2b] {
        let lattice = Lattice::of(generation).await;
        start_actor(&lattice, 0, None).await;
        assert_eq!(lattice.host.instances(ACTOR), 1, "{generation:?}");
        let sent = lattice.host.only(".la").json();
        assert!(sent.get("annotations").is_none(), "{sent}");
    }
}

#[tokio::test]
async fn scale_actor_sets_the_number_of_instances() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        let mut command = ScaleActorCommand {
            lattice_id: "default".into(),
            host_id: lattice.host.id.clone(),
            actor_id: ACTOR.into(),
            actor_ref: ACTOR_REF.into(),
            annotations: managed(),
            count: 5,
        };
        accepted(
            lattice
                .client()
                .scale_actor(&ctx(), &command)
                .await
                .unwrap(),
        );
        assert_eq!(lattice.host.instances(ACTOR), 5);
        lattice.received(".scale", "ScaleActor", |expected| {
            // Only OTP hosts read it; all get it.
            expected["actor_id"] = ACTOR.into();
        });
        command.count = 0;
        accepted(
            lattice
                .client()
                .scale_actor(&ctx(), &command)
                .await
                .unwrap(),
        );
        assert_eq!(lattice.host.instances(ACTOR), 0);
        assert_eq!(lattice.host.received_on(".scale")[1].json()["count"], 0);
    }
}

#[tokio::test]
async fn stop_actor_stops_by_public_key() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        start_actor(&lattice, 2, managed()).await;
        let command = StopActorCommand {
            lattice_id: "default".into(),
            host_id: lattice.host.id.clone(),
            actor_id: ACTOR.into(),
            annotations: managed(),
            count: 2,
        };
        accepted(lattice.client().stop_actor(&ctx(), &command).await.unwrap());
        assert_eq!(lattice.host.instances(ACTOR), 0);
        lattice.received(".sa", "StopActor", |expected| expected["count"] = 2.into());
    }
}

#[tokio::test]
async fn update_actor_replaces_the_revision() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        start_actor(&lattice, 1, managed()).await;
        let command = UpdateActorCommand {
            lattice_id: "default".into(),
            host_id: lattice.host.id.clone(),
            actor_id: ACTOR.into(),
            new_actor_ref: NEW_ACTOR_REF.into(),
            annotations: managed(),
        };
        accepted(
            lattice
                .client()
                .update_actor(&ctx(), &command)
                .await
                .unwrap(),
        );
        lattice.received(".upd", "UpdateActor", |_| {});
    }
}

#[tokio::test]
async fn start_and_stop_provider_reach_the_host() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        let key = lattice
            .sim
            .publish_provider(PROVIDER_REF, "HTTP Server", "wasmcloud:httpserver")
            .await;
        start_provider(&lattice).await;
        assert!(lattice.host.runs_provider(&key, "default"));
        lattice.received(".lp", "StartProvider", |_| {});
        let command = StopProviderCommand {
            lattice_id: "default".into(),
            host_id: lattice.host.id.clone(),
            provider_id: key.clone(),
            link_name: "default".into(),
            contract_id: "wasmcloud:httpserver".into(),
            annotations: managed(),
        };
        accepted(
            lattice
                .client()
                .stop_provider(&ctx(), &command)
                .await
                .unwrap(),
        );
        assert!(!lattice.host.runs_provider(&key, "default"));
        lattice.received(".sp", "StopProvider", |expected| {
            expected["provider_ref"] = key.clone().into();
        });
    }
}

#[tokio::test]
async fn stop_host_takes_seconds_and_sends_milliseconds() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        let command = StopHostCommand {
            lattice_id: "default".into(),
            host_id: lattice.host.id.clone(),
            timeout: Some(30),
        };
        accepted(lattice.client().stop_host(&ctx(), &command).await.unwrap());
        // OTP hosts read the member and do nothing with it.
        lattice.received(".stop", "StopHost", |expected| {
            expected["timeout"] = 30_000.into()
        });
    }
}

#[tokio::test]
async fn stop_host_without_timeout_leaves_it_to_the_host() {
    let lattice = Lattice::of(Generation::G1b).await;
    let command = StopHostCommand {
        lattice_id: "default".into(),
        host_id: lattice.host.id.clone(),
        timeout: None,
    };
    accepted(lattice.client().stop_host(&ctx(), &command).await.unwrap());
    lattice.received(".stop", "StopHost.no-timeout", |_| {});
}

fn link() -> wasmbus_rpc::core::LinkDefinition {
    let mut link = wasmbus_rpc::core::LinkDefinition::default();
    link.actor_id = ACTOR.into();
    link.provider_id = PROVIDER.into();
    link.link_name = "default".into();
    link.contract_id = "wasmcloud:httpserver".into();
    link.values = map(&[("address", "0.0.0.0:8080")]);
    link
}

async fn advertise(lattice: &Lattice) {
    let request = AdvertiseLinkRequest {
        lattice_id: "default".into(),
        link: link(),
    };
    accepted(
        lattice
            .client()
            .advertise_link(&ctx(), &request)
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn an_advertised_link_is_listed_and_a_removed_one_is_gone() {
    for generation in BOTH {
        let lattice = Lattice::of(generation).await;
        advertise(&lattice).await;
        lattice.received("linkdefs.put", "AdvertiseLink", |_| {});
        let links = lattice
            .client()
            .get_links(&ctx(), "default")
            .await
            .unwrap()
            .links;
        assert_eq!(links, [link()]);
        let request = RemoveLinkDefinitionRequest {
            lattice_id: "default".into(),
            actor_id: ACTOR.into(),
            contract_id: "wasmcloud:httpserver".into(),
            link_name: "default".into(),
        };
        for _ in 0..2 {
            accepted(
                lattice
                    .client()
                    .remove_link(&ctx(), &request)
                    .await
                    .unwrap(),
            );
        }
        let expected = fixtures::json("G1/RemoveLink.request.json");
        assert_eq!(lattice.host.received_on("linkdefs.del")[0].json(), expected);
        let links = lattice
            .client()
            .get_links(&ctx(), "default")
            .await
            .unwrap()
            .links;
        assert!(links.is_empty(), "{links:?}");
        assert!(lattice.sim.links().is_empty());
        // The bucket answers; hosts were not asked.
        assert!(lattice.host.received_on("get.links").is_empty());
    }
}

#[tokio::test]
async fn links_and_claims_come_from_hosts_where_there_is_no_bucket() {
    for generation in BOTH {
        let world = World::with_lattice().await;
        let sim = SimLattice::without_bucket(world.nats.client().await, "default");
        sim.publish_actor_as(ACTOR_REF, ACTOR, "kvcounter", 1).await;
        let sim = Arc::new(sim);
        let host = SimHost::start(&sim, generation, &[]).await;
        let lattice = Lattice {
            world,
            sim,
            host,
            generation,
        };
        advertise(&lattice).await;
        let links = lattice
            .client()
            .get_links(&ctx(), "default")
            .await
            .unwrap()
            .links;
        assert_eq!(links, [link()]);
        let claims = lattice
            .client()
            .get_claims(&ctx(), "default")
            .await
            .unwrap()
            .claims;
        assert_eq!(claims[0]["sub"], ACTOR);
        assert_eq!(lattice.host.only("get.links").body, b"");
        assert_eq!(lattice.host.only("get.claims").body, b"");
    }
}

#[tokio::test]
async fn the_bucket_gives_links_and_claims_of_hosts_that_are_gone() {
    let world = World::with_lattice().await;
    let sim = SimLattice::with_bucket(world.nats.client().await, "default").await;
    for generation in ["G1", "G2"] {
        let folder = format!(
            "{}/tests/fixtures/{generation}/kv",
            env!("CARGO_MANIFEST_DIR")
        );
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let key = name.split('.').next().unwrap();
            if name != "stream-config.json" {
                let value = fixtures::text(&format!("{generation}/kv/{name}"));
                sim.write(key, value.as_bytes()).await;
            }
        }
    }
    sim.write("CLAIMS_BAD", b"not json").await;
    let client = world.actor.lattice();
    let links = client.get_links(&ctx(), "default").await.unwrap().links;
    assert_eq!(links, [link()]);
    let claims = client.get_claims(&ctx(), "default").await.unwrap().claims;
    let mut keys: Vec<_> = claims.iter().map(|claims| claims["sub"].as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, [ACTOR, PROVIDER]);
}

#[tokio::test]
async fn a_claim_without_version_does_not_cost_the_list() {
    let world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let reply = fixtures::text("G1/GetClaims.reply-null-version.json");
    let _responder = respond(&nats, "wasmbus.ctl.default.get.claims", vec![reply.into()]).await;
    let claims = world
        .actor
        .lattice()
        .get_claims(&ctx(), "default")
        .await
        .unwrap()
        .claims;
    assert!(!claims.is_empty());
}

#[tokio::test]
async fn set_registry_credentials_reaches_every_host_and_harms_none() {
    let one = Lattice::of(Generation::G1b).await;
    let two = SimHost::start(&one.sim, Generation::G2b, &[]).await;
    let mut credential = RegistryCredential {
        username: Some("alice".into()),
        password: Some(support::secrets::plant("s3cret-registry-password")),
        token: None,
        registry_type: "oci".into(),
    };
    let request = |credential: &RegistryCredential| SetRegistryCredentialsRequest {
        lattice_id: "default".into(),
        credentials: Some(HashMap::from([(
            "wasmcloud.azurecr.io".to_owned(),
            credential.clone(),
        )])),
    };
    let client = one.client();
    client
        .set_registry_credentials(&ctx(), &request(&credential))
        .await
        .unwrap();
    one.received("registries.put", "SetRegistryCredentials", |expected| {
        expected["wasmcloud.azurecr.io"]["password"] = json!("s3cret-registry-password");
    });
    assert_eq!(two.received_on("registries.put").len(), 1);
    for wrong in ["", "OCI", "docker"] {
        credential.registry_type = wrong.into();
        let error = client
            .set_registry_credentials(&ctx(), &request(&credential))
            .await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("must be \"oci\" or \"bindle\""), "{error}");
    }
    assert_eq!(one.host.received_on("registries.put").len(), 1);
    assert!(one.host.alive() && two.alive());
}

/// Answers every request on `subject` with these replies.
async fn respond(
    nats: &async_nats::Client,
    subject: &str,
    replies: Vec<Vec<u8>>,
) -> tokio::task::JoinHandle<()> {
    use futures::StreamExt as _;
    let mut requests = nats.subscribe(subject.to_owned()).await.unwrap();
    nats.flush().await.unwrap();
    let nats = nats.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            for reply in &replies {
                let to = request.reply.clone().unwrap();
                nats.publish(to, reply.clone().into()).await.unwrap();
            }
            nats.flush().await.unwrap();
        }
    })
}

#[tokio::test]
async fn one_bad_reply_costs_that_reply_only() {
    let lattice = Lattice::of(Generation::G2b).await;
    let nats = lattice.world.nats.client().await;
    let bad = vec![
        b"".to_vec(),
        b"garbage".to_vec(),
        br#"{"accepted":false,"error":"failed to deserialize actor auction command"}"#.to_vec(),
        br#"{"host_id":"","id":""}"#.to_vec(),
    ];
    let _ping = respond(&nats, "wasmbus.ctl.default.ping.hosts", bad.clone()).await;
    let _auction = respond(&nats, "wasmbus.ctl.default.auction.>", bad).await;
    let more = SimHost::start(&lattice.sim, Generation::G1b, &[]).await;
    more.answer_after(std::time::Duration::from_millis(50));
    let hosts = lattice.client().get_hosts(&ctx(), "default").await.unwrap();
    assert_eq!(hosts.len(), 2);
    let request = ActorAuctionRequest {
        lattice_id: "default".into(),
        actor_ref: ACTOR_REF.into(),
        constraints: HashMap::new(),
    };
    let bids = lattice
        .client()
        .auction_actor(&ctx(), &request)
        .await
        .unwrap();
    assert_eq!(bids.len(), 2);
}

#[tokio::test]
async fn a_hosts_refusal_is_not_accepted_in_the_hosts_words() {
    let lattice = Lattice::of(Generation::G2b).await;
    let command = StopActorCommand {
        lattice_id: "default".into(),
        host_id: lattice.host.id.clone(),
        actor_id: ACTOR.into(),
        annotations: None,
        count: 0,
    };
    let ack = lattice.client().stop_actor(&ctx(), &command).await.unwrap();
    assert!(!ack.accepted);
    assert!(
        ack.error.contains("actor is not running on this host"),
        "{}",
        ack.error
    );
    assert!(ack.error.contains(&lattice.host.id), "{}", ack.error);
}

#[tokio::test]
async fn a_refusal_that_is_not_json_keeps_the_hosts_words() {
    let world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let words = fixtures::text("G2/errors.not-json.txt");
    let subject = format!("wasmbus.ctl.default.cmd.{HOST}.la");
    let _host = respond(&nats, &subject, vec![words.trim().into()]).await;
    let command = StartActorCommand {
        lattice_id: "default".into(),
        host_id: HOST.into(),
        actor_ref: ACTOR_REF.into(),
        count: 1,
        annotations: None,
    };
    let ack = world
        .actor
        .lattice()
        .start_actor(&ctx(), &command)
        .await
        .unwrap();
    assert!(!ack.accepted);
    assert!(ack.error.contains("Some(\"denied\")"), "{}", ack.error);
}

#[tokio::test]
async fn nobody_there_is_no_hosts_and_no_such_host() {
    let world = World::with_lattice().await;
    let client = world.actor.lattice();
    assert!(
        client
            .get_hosts(&ctx(), "default")
            .await
            .unwrap()
            .is_empty()
    );
    let command = StopHostCommand {
        lattice_id: "default".into(),
        host_id: HOST.into(),
        timeout: None,
    };
    let ack = client.stop_host(&ctx(), &command).await.unwrap();
    assert!(
        !ack.accepted && ack.error.contains("nobody listens"),
        "{}",
        ack.error
    );
    let request = GetHostInventoryRequest {
        lattice_id: "default".into(),
        host_id: HOST.into(),
    };
    let error = client
        .get_host_inventory(&ctx(), &request)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nobody listens"), "{error}");
    let request = SetRegistryCredentialsRequest {
        lattice_id: "default".into(),
        credentials: Some(HashMap::from([(
            "ghcr.io".to_owned(),
            RegistryCredential {
                registry_type: "oci".into(),
                ..Default::default()
            },
        )])),
    };
    let error = client
        .set_registry_credentials(&ctx(), &request)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nobody listens"), "{error}");
}

#[tokio::test]
async fn a_silent_host_is_named_before_the_actor_gives_up() {
    let lattice = Lattice::of(Generation::G2b).await;
    lattice.host.fall_silent();
    let command = StopHostCommand {
        lattice_id: "default".into(),
        host_id: lattice.host.id.clone(),
        timeout: None,
    };
    let error = lattice
        .client()
        .stop_host(&ctx(), &command)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&lattice.host.id) && error.contains("unknown whether"),
        "{error}"
    );
}
