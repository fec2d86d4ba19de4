//! A simulated host as random commands see it: everything that is read from one
//! is read here.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Client;
use nkeys::{KeyPair, KeyPairType};

use crate::orders::contract::Kind;
use crate::orders::run::Ground;
use crate::orders::seen::Running;
use crate::support::actor::Actor;
use crate::support::host::lattice::{Artifact, SimLattice};
use crate::support::host::{Generation, SimHost};
use crate::support::world::World;

/// The lattice of the simulated host.
const LATTICE: &str = "default";

/// Starts a simulated host, and a provider with credentials of its lattice.
pub struct Simulated {
    world: World,
    second: Actor,
    lattice: Arc<SimLattice>,
    host: SimHost,
    generation: Generation,
    control: Client,
}

impl Simulated {
    pub async fn start(generation: Generation) -> Self {
        let world = World::with_lattice().await;
        let control = world.nats.client().await;
        let lattice = SimLattice::with_bucket(control.clone(), LATTICE).await;
        let lattice = Arc::new(lattice);
        let host = SimHost::start(&lattice, generation, &[]).await;
        let second = Actor::connect(&world.nats.url(), &world.identity).await;
        Self {
            world,
            second,
            lattice,
            host,
            generation,
            control,
        }
    }
}

impl Simulated {
    /// Returns the harm that a command did to the host, once. The host fails a
    /// test that does not ask for it.
    pub fn harm(&self) -> Option<&'static str> {
        self.host.meant_harm()
    }
}

impl Ground for Simulated {
    fn kind(&self) -> Kind {
        Kind::of(self.generation.version())
    }

    fn lattice(&self) -> &str {
        LATTICE
    }

    fn host(&self) -> &str {
        &self.host.id
    }

    fn callers(&self) -> [&Actor; 2] {
        [&self.world.actor, &self.second]
    }

    fn control(&self) -> &Client {
        &self.control
    }

    fn new_actor(&mut self) -> String {
        KeyPair::new(KeyPairType::Module).public_key()
    }

    async fn reference(&self, key: &str, revision: u32) -> String {
        let reference = format!("registry.example/{}:{revision}", key.to_lowercase());
        // It is in the registry only: the lattice does not know what never ran.
        let artifact = Artifact {
            key: key.into(),
            name: "random".into(),
            revision: revision.into(),
            contract_id: String::new(),
            version: Some("0.1.0".into()),
            call_alias: None,
        };
        self.lattice.offer(&reference, Some(artifact));
        reference
    }

    // The tag tells the revision.
    fn tells_apart(&self) -> bool {
        true
    }

    // Simulated actors run no code; `running` tells which would receive a call.
    async fn answers(&self, _: &str) -> Option<BTreeMap<String, usize>> {
        None
    }

    fn running(&self, key: &str) -> Option<Vec<Running>> {
        let running = self.host.runs(key).into_iter().map(|running| Running {
            annotations: running.annotations,
            count: running.count,
            revision: running.revision,
            heard: running.heard,
            listed: running.listed,
        });
        Some(running.collect())
    }
}
