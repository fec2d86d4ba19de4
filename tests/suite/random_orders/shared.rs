//! What the simulated hosts of one lattice share: a provider with credentials of
//! it, the actors that call, and the one that is commanded.

use std::sync::Arc;

use async_nats::Client;
use nkeys::{KeyPair, KeyPairType};

use crate::support::actor::Actor;
use crate::support::host::lattice::{Artifact, SimLattice};
use crate::support::world::World;

/// A lattice, before hosts are in it.
pub struct Shared {
    world: World,
    second: Actor,
    pub lattice: Arc<SimLattice>,
    pub control: Client,
    /// The key of the actor that is commanded on all hosts.
    pub key: String,
}

impl Shared {
    pub async fn start() -> Arc<Self> {
        let world = World::with_lattice().await;
        let control = world.nats.client().await;
        let lattice = SimLattice::with_bucket(control.clone(), "default").await;
        Arc::new(Self {
            second: Actor::connect(&world.nats.url(), &world.identity).await,
            world,
            lattice: Arc::new(lattice),
            control,
            key: KeyPair::new(KeyPairType::Module).public_key(),
        })
    }

    pub fn callers(&self) -> [&Actor; 2] {
        [&self.world.actor, &self.second]
    }

    /// Returns the id that the provider derives for the actor on hosts of 1.x.
    pub fn component_id(&self) -> String {
        format!("registry_example_{}", self.key.to_lowercase())
    }

    /// Puts a revision of the actor into the registry.
    pub fn reference(&self, revision: u32) -> String {
        let reference = format!("registry.example/{}:{revision}", self.key.to_lowercase());
        // It is in the registry only: the lattice does not know what never ran.
        let artifact = Artifact {
            key: self.key.clone(),
            name: "random".into(),
            revision: revision.into(),
            contract_id: String::new(),
            version: Some("0.1.0".into()),
            call_alias: None,
        };
        self.lattice.offer(&reference, Some(artifact));
        reference
    }
}
