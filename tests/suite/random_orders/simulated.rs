//! A simulated host as random commands see it: everything that is read from one
//! is read here.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Client;

use crate::orders::contract::Kind;
use crate::orders::run::Ground;
use crate::orders::seen::Running;
use crate::support::actor::Actor;
use crate::support::host::{Generation, SimHost};

use super::shared::Shared;

/// Starts a simulated host in a lattice.
pub struct Simulated {
    shared: Arc<Shared>,
    host: SimHost,
    generation: Generation,
}

impl Simulated {
    pub async fn start(shared: &Arc<Shared>, generation: Generation) -> Self {
        Self {
            host: SimHost::start(&shared.lattice, generation, &[]).await,
            shared: shared.clone(),
            generation,
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
        &self.shared.lattice.id
    }

    fn host(&self) -> &str {
        &self.host.id
    }

    fn callers(&self) -> [&Actor; 2] {
        self.shared.callers()
    }

    fn control(&self) -> &Client {
        &self.shared.control
    }

    fn new_actor(&mut self) -> String {
        self.shared.key.clone()
    }

    async fn reference(&self, _: &str, revision: u32) -> String {
        self.shared.reference(revision)
    }

    // The tag tells the revision.
    fn tells_apart(&self) -> bool {
        true
    }

    fn says_failures(&self) -> bool {
        false
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
