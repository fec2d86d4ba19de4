//! A simulated host of 1.x as random commands see it, alone in its lattice or beside one
//! of 0.x.

use std::collections::BTreeMap;

use async_nats::Client;
use nkeys::{KeyPair, KeyPairType};

use crate::orders::contract::Kind;
use crate::orders::run::Ground;
use crate::orders::seen::Running;
use crate::support::actor::Actor;
use crate::support::host::Generation;
use crate::support::host::lattice::Artifact;
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::operator::{LATTICE, Operated};

/// Starts a simulated host of 1.x, and a provider with credentials of its lattice.
pub struct Simulated1x {
    lattice: Operated,
    second: Actor,
    host: SimHostV1,
    control: Client,
}

impl Simulated1x {
    /// `others` are hosts of 0.x in the same lattice.
    pub async fn start(version: Version, others: &[Generation]) -> Self {
        let others: Vec<(Generation, &[(&str, &str)])> =
            others.iter().map(|one| (*one, &[][..])).collect();
        let lattice = Operated::with(&others).await;
        let host = SimHostV1::start(&lattice.sim, version, &[]).await;
        let second = Actor::connect(&lattice.world.nats.url(), &lattice.world.identity).await;
        Self {
            control: lattice.world.nats.client().await,
            lattice,
            second,
            host,
        }
    }

    /// Returns the harm that a command did to the host, once, or that one reached
    /// another host.
    pub fn harm(&self) -> Option<&'static str> {
        let mut others = self.lattice.hosts.iter();
        let reached = others.any(|other| !other.received_on(".cmd.").is_empty());
        let harm = self.host.meant_harm();
        harm.or(reached.then_some("a command reached another host"))
    }
}

impl Ground for Simulated1x {
    fn kind(&self) -> Kind {
        Kind::V1
    }

    fn lattice(&self) -> &str {
        LATTICE
    }

    fn host(&self) -> &str {
        &self.host.id
    }

    fn callers(&self) -> [&Actor; 2] {
        [&self.lattice.world.actor, &self.second]
    }

    fn control(&self) -> &Client {
        &self.control
    }

    // The id that is derived of the reference.
    fn new_actor(&mut self) -> String {
        let key = KeyPair::new(KeyPairType::Module).public_key();
        format!("registry_example_{}", key.to_lowercase())
    }

    async fn reference(&self, id: &str, revision: u32) -> String {
        let name = id.strip_prefix("registry_example_").unwrap();
        let reference = format!("registry.example/{name}:{revision}");
        let artifact = Artifact {
            key: name.to_uppercase(),
            name: "random".into(),
            revision: revision.into(),
            contract_id: String::new(),
            version: Some("0.1.0".into()),
            call_alias: None,
        };
        self.lattice.sim.offer(&reference, Some(artifact));
        reference
    }

    fn tells_apart(&self) -> bool {
        true
    }

    async fn answers(&self, _: &str) -> Option<BTreeMap<String, usize>> {
        None
    }

    fn running(&self, id: &str) -> Option<Vec<Running>> {
        let revisions = self.host.runs(id);
        let mut running = Vec::new();
        for (annotations, count) in self.host.groups(id) {
            for revision in &revisions {
                running.push(Running {
                    annotations: annotations.clone(),
                    count,
                    revision: *revision,
                    heard: true,
                    listed: true,
                });
            }
        }
        Some(running)
    }
}
