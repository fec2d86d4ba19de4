//! A simulated host of 1.x as random commands see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;

use crate::orders::contract::Kind;
use crate::orders::random::Random;
use crate::orders::run::Ground;
use crate::orders::seen::Running;
use crate::support::actor::Actor;
use crate::support::host_v1::{SimHostV1, Version};

use super::shared::Shared;

/// How much later than its answer a host carries out what it was told, in
/// milliseconds: an update that fails takes three times so long, for each of two
/// callers at once, and has less than two seconds.
const LAGS: [u64; 6] = [0, 0, 1, 5, 30, 120];

/// Starts a simulated host of 1.x in a lattice.
pub struct Simulated1x {
    shared: Arc<Shared>,
    host: SimHostV1,
    version: Version,
}

impl Simulated1x {
    pub async fn start(shared: &Arc<Shared>, version: Version) -> Self {
        Self {
            host: SimHostV1::start(&shared.lattice, version, &[]).await,
            shared: shared.clone(),
            version,
        }
    }

    /// Returns the harm that a command did to the host, once. The host fails a
    /// test that does not ask for it.
    pub fn harm(&self) -> Option<&'static str> {
        self.host.meant_harm()
    }
}

impl Ground for Simulated1x {
    fn kind(&self) -> Kind {
        Kind::V1
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
        self.shared.component_id()
    }

    async fn reference(&self, _: &str, revision: u32) -> String {
        self.shared.reference(revision)
    }

    fn tells_apart(&self) -> bool {
        true
    }

    fn says_failures(&self) -> bool {
        self.version.says_every_failure()
    }

    fn unsettle(&self, random: &mut Random) {
        self.host.lag_by(Duration::from_millis(*random.one(&LAGS)));
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
