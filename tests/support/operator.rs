//! An actor that runs a lattice of simulated hosts: every operation of the
//! contract with its arguments filled in.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use wasmbus_rpc::core::LinkDefinition;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use super::actor::Actor;
use super::host::lattice::SimLattice;
use super::host::{Generation, SimHost};
use super::nats::NatsServer;
use super::world::{World, ctx};

/// Names in the fixtures, which simulated lattices have, too.
pub const LATTICE: &str = "default";
pub const ACTOR_REF: &str = "wasmcloud.azurecr.io/kvcounter:0.3.0";
pub const NEW_ACTOR_REF: &str = "wasmcloud.azurecr.io/kvcounter:0.3.1";
pub const PROVIDER_REF: &str = "wasmcloud.azurecr.io/httpserver:0.14.10";
pub const ACTOR: &str = "MBW3UGAIONCX3RIDDUGDCQIRGBQQOWS643CVICQ5EZ7SWNQPZLZTSQKU";
pub const PROVIDER: &str = "VAG3QITQQ2ODAOWB5TTQSDJ53XK3SHBEIFNK4AYJ5RKAX2UNSCAPHA5M";
pub const CONTRACT: &str = "wasmcloud:httpserver";

pub type Annotations = HashMap<String, String>;

/// Makes a map of texts.
pub fn map(pairs: &[(&str, &str)]) -> Annotations {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    pairs.collect()
}

/// Returns the empty annotations.
pub fn none() -> Annotations {
    Annotations::new()
}

/// Returns the annotations of the fixtures.
pub fn managed() -> Annotations {
    map(&[("wasmcloud.dev/managed-by", "wadm")])
}

/// Returns `None` for empty annotations: the member is absent on the wire.
fn some(annotations: &Annotations) -> Option<Annotations> {
    (!annotations.is_empty()).then(|| annotations.clone())
}

/// Asserts that a command was accepted.
#[track_caller]
pub fn accepted(ack: RpcResult<CtlOperationAck>) {
    match ack {
        Ok(ack) => assert!(
            ack.accepted && ack.error.is_empty(),
            "not accepted: {}",
            ack.error
        ),
        Err(error) => panic!("{error}"),
    }
}

/// Asserts that a command was not accepted, with a reason that contains this.
#[track_caller]
pub fn refused(ack: RpcResult<CtlOperationAck>, reason: &str) {
    match ack {
        Ok(ack) => assert!(
            !ack.accepted && ack.error.contains(reason),
            "{:?}",
            ack.error
        ),
        Err(error) => panic!("{error}"),
    }
}

/// A provider that has credentials of lattice `default`, and hosts in that
/// lattice.
pub struct Operated {
    pub hosts: Vec<SimHost>,
    pub sim: Arc<SimLattice>,
    pub world: World,
}

impl Operated {
    /// Starts a provider and these hosts in a lattice with artifacts to start,
    /// and with a bucket where its hosts make one.
    pub async fn with(hosts: &[(Generation, &[(&str, &str)])]) -> Self {
        let bucket = hosts
            .iter()
            .any(|(generation, _)| generation.keeps_bucket());
        Self::built(World::with_lattice().await, hosts, bucket).await
    }

    /// Starts them with a bucket and under a provider with these settings.
    pub async fn configured(hosts: &[(Generation, &[(&str, &str)])], settings: Value) -> Self {
        let world = World::start_on(NatsServer::start(), |host_data| {
            host_data["config_json"] = settings.to_string().into();
        })
        .await;
        world.set_lattice(LATTICE, &world.nats.url()).await;
        Self::built(world, hosts, true).await
    }

    /// Starts them with a bucket, on a server with this configuration; the
    /// lattice's credentials are its user `lattice` with the password `pw`.
    pub async fn with_user(config: &str, hosts: &[(Generation, &[(&str, &str)])]) -> Self {
        let nats = NatsServer::with_config(config);
        let url = format!("nats://lattice:pw@{}", nats.address());
        let world = World::start_on(nats, |_| {}).await;
        world.set_lattice(LATTICE, &url).await;
        Self::in_world(world, hosts).await
    }

    /// Starts hosts and a bucket for a provider that runs already and has the
    /// lattice's credentials.
    pub async fn in_world(world: World, hosts: &[(Generation, &[(&str, &str)])]) -> Self {
        Self::built(world, hosts, true).await
    }

    /// Starts hosts without a bucket for a provider that runs already and has
    /// the lattice's credentials.
    pub async fn in_world_without_bucket(
        world: World,
        hosts: &[(Generation, &[(&str, &str)])],
    ) -> Self {
        Self::built(world, hosts, false).await
    }

    /// Starts a provider and one host.
    pub async fn one(generation: Generation) -> Self {
        Self::with(&[(generation, &[])]).await
    }

    /// Starts a provider and these hosts without a bucket.
    pub async fn without_bucket(hosts: &[(Generation, &[(&str, &str)])]) -> Self {
        Self::built(World::with_lattice().await, hosts, false).await
    }

    async fn built(world: World, hosts: &[(Generation, &[(&str, &str)])], bucket: bool) -> Self {
        let client = world.nats.client().await;
        let mut sim = match bucket {
            true => SimLattice::with_bucket(client, LATTICE).await,
            false => SimLattice::without_bucket(client, LATTICE),
        };
        if hosts.iter().any(|(generation, _)| generation.is_g3()) {
            sim = sim.with_new_claims();
        }
        sim.publish_actor_as(ACTOR_REF, ACTOR, "kvcounter", 1).await;
        sim.publish_actor_as(NEW_ACTOR_REF, ACTOR, "kvcounter", 2)
            .await;
        sim.publish_provider_as(PROVIDER_REF, PROVIDER, "HTTP Server", CONTRACT)
            .await;
        let sim = Arc::new(sim);
        let mut started = Vec::new();
        for (generation, labels) in hosts {
            started.push(SimHost::start(&sim, *generation, labels).await);
        }
        Self {
            hosts: started,
            sim,
            world,
        }
    }

    pub fn client(&self) -> LatticeControllerSender<Actor> {
        self.world.actor.lattice()
    }

    pub async fn get_hosts(&self) -> RpcResult<Vec<Host>> {
        self.client().get_hosts(&ctx(), LATTICE).await
    }

    pub async fn inventory(&self, host: &str) -> RpcResult<HostInventory> {
        let request = GetHostInventoryRequest {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
        };
        self.client().get_host_inventory(&ctx(), &request).await
    }

    /// Returns how many instances of the actor the host's inventory lists.
    pub async fn listed(&self, host: &str) -> usize {
        let inventory = self.inventory(host).await.unwrap();
        let actors = inventory.actors.iter().filter(|actor| actor.id == ACTOR);
        actors.map(|actor| actor.instances.len()).sum()
    }

    pub async fn auction_actor(&self, constraints: &[(&str, &str)]) -> RpcResult<Vec<String>> {
        let request = ActorAuctionRequest {
            lattice_id: LATTICE.into(),
            actor_ref: ACTOR_REF.into(),
            constraints: map(constraints),
        };
        let bids = self.client().auction_actor(&ctx(), &request).await?;
        assert!(bids.iter().all(|bid| bid.actor_ref == ACTOR_REF));
        let mut hosts: Vec<_> = bids.into_iter().map(|bid| bid.host_id).collect();
        hosts.sort();
        Ok(hosts)
    }

    pub async fn auction_provider(&self, constraints: &[(&str, &str)]) -> RpcResult<Vec<String>> {
        let request = ProviderAuctionRequest {
            lattice_id: LATTICE.into(),
            provider_ref: PROVIDER_REF.into(),
            link_name: "default".into(),
            constraints: map(constraints),
        };
        let bids = self.client().auction_provider(&ctx(), &request).await?;
        let echo = |bid: &ProviderAuctionAck| {
            bid.provider_ref == PROVIDER_REF && bid.link_name == "default"
        };
        assert!(bids.iter().all(echo));
        let mut hosts: Vec<_> = bids.into_iter().map(|bid| bid.host_id).collect();
        hosts.sort();
        Ok(hosts)
    }

    pub async fn start_actor(
        &self,
        host: &str,
        count: u16,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        self.start_from(host, ACTOR_REF, count, annotations).await
    }

    pub async fn start_from(
        &self,
        host: &str,
        image_ref: &str,
        count: u16,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = StartActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_ref: image_ref.into(),
            annotations: some(annotations),
            count,
        };
        self.client().start_actor(&ctx(), &command).await
    }

    pub async fn scale_actor(
        &self,
        host: &str,
        count: u16,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        self.scale_from(host, ACTOR, ACTOR_REF, count, annotations)
            .await
    }

    pub async fn scale_from(
        &self,
        host: &str,
        actor: &str,
        image_ref: &str,
        count: u16,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = ScaleActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_id: actor.into(),
            actor_ref: image_ref.into(),
            annotations: some(annotations),
            count,
        };
        self.client().scale_actor(&ctx(), &command).await
    }

    pub async fn stop_actor(
        &self,
        host: &str,
        count: u16,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = StopActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_id: ACTOR.into(),
            annotations: some(annotations),
            count,
        };
        self.client().stop_actor(&ctx(), &command).await
    }

    pub async fn update_actor(
        &self,
        host: &str,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        self.update_to(host, NEW_ACTOR_REF, annotations).await
    }

    pub async fn update_to(
        &self,
        host: &str,
        image_ref: &str,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            actor_id: ACTOR.into(),
            new_actor_ref: image_ref.into(),
            annotations: some(annotations),
        };
        self.client().update_actor(&ctx(), &command).await
    }

    /// Has another client command the first host, which must accept that.
    pub async fn another_tells(&self, verb: &str, body: Value) {
        let nats = self.world.nats.client().await;
        let subject = format!("wasmbus.ctl.{LATTICE}.cmd.{}.{verb}", self.hosts[0].id);
        let ack = nats.request(subject, body.to_string().into()).await;
        let ack: Value = serde_json::from_slice(&ack.unwrap().payload).unwrap();
        assert_eq!(ack["accepted"], true, "{ack}");
    }

    /// Waits until so many instances of the actor run on a host.
    pub async fn comes_to_run(host: &SimHost, count: usize) {
        super::eventually("the instances", || async {
            (host.instances(ACTOR) == count).then_some(())
        })
        .await;
    }

    /// Waits until a host has done all that it acknowledged: then so many
    /// instances of the actor run there.
    pub async fn ends_up_running(host: &SimHost, count: usize) {
        let caught_up = || async { host.caught_up().then_some(()) };
        super::eventually("the host to catch up", caught_up).await;
        assert_eq!(host.instances(ACTOR), count);
    }

    /// Returns the revisions of the actor that run on a host.
    pub fn revisions(host: &SimHost) -> BTreeSet<i64> {
        BTreeSet::from_iter(host.revisions(ACTOR))
    }

    pub async fn start_provider(&self, host: &str) -> RpcResult<CtlOperationAck> {
        self.start_provider_with(host, r#"{"foo":"bar"}"#).await
    }

    pub async fn start_provider_with(
        &self,
        host: &str,
        configuration: &str,
    ) -> RpcResult<CtlOperationAck> {
        let command = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            provider_ref: PROVIDER_REF.into(),
            link_name: "default".into(),
            annotations: some(&managed()),
            configuration: Some(configuration.into()),
        };
        self.client().start_provider(&ctx(), &command).await
    }

    pub async fn stop_provider(
        &self,
        host: &str,
        annotations: &Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = StopProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            provider_id: PROVIDER.into(),
            link_name: "default".into(),
            contract_id: CONTRACT.into(),
            annotations: some(annotations),
        };
        self.client().stop_provider(&ctx(), &command).await
    }

    pub async fn stop_host(&self, host: &str, timeout: Option<u64>) -> RpcResult<CtlOperationAck> {
        let command = StopHostCommand {
            lattice_id: LATTICE.into(),
            host_id: host.into(),
            timeout,
        };
        self.client().stop_host(&ctx(), &command).await
    }

    pub async fn advertise_link(&self) -> RpcResult<CtlOperationAck> {
        let request = AdvertiseLinkRequest {
            lattice_id: LATTICE.into(),
            link: link(),
        };
        self.client().advertise_link(&ctx(), &request).await
    }

    pub async fn remove_link(&self) -> RpcResult<CtlOperationAck> {
        let request = RemoveLinkDefinitionRequest {
            lattice_id: LATTICE.into(),
            actor_id: ACTOR.into(),
            contract_id: CONTRACT.into(),
            link_name: "default".into(),
        };
        self.client().remove_link(&ctx(), &request).await
    }

    pub async fn links(&self) -> RpcResult<Vec<LinkDefinition>> {
        Ok(self.client().get_links(&ctx(), LATTICE).await?.links)
    }

    pub async fn claims(&self) -> RpcResult<Vec<HashMap<String, String>>> {
        Ok(self.client().get_claims(&ctx(), LATTICE).await?.claims)
    }

    pub async fn set_registry(&self, registry: &str, kind: &str) -> RpcResult<()> {
        let credential = RegistryCredential {
            username: Some("alice".into()),
            password: Some(super::secrets::plant("s3cret-registry-password")),
            token: None,
            registry_type: kind.into(),
        };
        let request = SetRegistryCredentialsRequest {
            lattice_id: LATTICE.into(),
            credentials: Some(HashMap::from([(registry.to_owned(), credential)])),
        };
        self.client()
            .set_registry_credentials(&ctx(), &request)
            .await
    }
}

/// Returns the link of the fixtures.
pub fn link() -> LinkDefinition {
    let mut link = LinkDefinition::default();
    link.actor_id = ACTOR.into();
    link.provider_id = PROVIDER.into();
    link.link_name = "default".into();
    link.contract_id = CONTRACT.into();
    link.values = map(&[("address", "0.0.0.0:8080")]);
    link
}
