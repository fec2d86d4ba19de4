//! Auctions: a host bids when its labels have every constraint and the id does
//! not run there.

use std::collections::BTreeMap;

use serde_json::json;

use super::Shared;
use super::answers::{Answer, with};
use super::commands::{ComponentAuction, ProviderAuction, read};

impl Shared {
    /// Answers a component auction, if the host bids.
    pub fn bid_for_component(&self, body: &[u8]) -> Option<Answer> {
        let auction: ComponentAuction = match read(body, "component auction command") {
            Ok(auction) => auction,
            Err(words) => return Some(Err(words)),
        };
        // From 1.3.0 on, hosts take the reference for the id.
        let id = match self.version.mistakes_ref_for_id() {
            true => &auction.component_ref,
            false => &auction.component_id,
        };
        let runs = self.state.lock().unwrap().components.contains_key(id);
        (self.satisfies(&auction.constraints) && !runs).then(|| {
            with(json!({
                "component_ref": auction.component_ref, "component_id": id,
                "host_id": self.id, "constraints": auction.constraints,
            }))
        })
    }

    /// Answers a provider auction, if the host bids.
    pub fn bid_for_provider(&self, body: &[u8]) -> Option<Answer> {
        let auction: ProviderAuction = match read(body, "provider auction command") {
            Ok(auction) => auction,
            Err(words) => return Some(Err(words)),
        };
        let runs = {
            let state = self.state.lock().unwrap();
            state.providers.contains_key(&auction.provider_id)
        };
        (self.satisfies(&auction.constraints) && !runs).then(|| {
            with(json!({
                "host_id": self.id, "provider_ref": auction.provider_ref,
                "provider_id": auction.provider_id, "constraints": auction.constraints,
            }))
        })
    }

    fn satisfies(&self, constraints: &BTreeMap<String, String>) -> bool {
        let state = self.state.lock().unwrap();
        let mut constraints = constraints.iter();
        constraints.all(|(label, value)| state.labels.get(label) == Some(value))
    }
}
