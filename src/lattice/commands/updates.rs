//! Components that another client had a host of 1.x update (`component.update`).
//!
//! From 1.0.1 on, such a host goes on running the old code, beside whatever is started
//! under the id later, until it ends; even a stop leaves the old code there
//! (docs/hosts.md#update-keeps-old-code). No order about the component does what it says
//! any more. What shows this is a pair of events: that the component runs, and at once that
//! it stopped, from the same reference, while the inventory still has it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::model::HostNews;
use crate::lock::Lock;
use crate::name::{ComponentId, HostId, MAX_TEXT};

/// How close the two events of a start are.
const TWICE_WITHIN: Duration = Duration::from_millis(20);
/// How long after the first event of the pair the second one comes, at most.
const PAIR_WITHIN: Duration = Duration::from_millis(100);
/// Most components that are remembered.
pub const MAX_COMPONENTS: usize = 10_000;

/// What the events of a lattice say of updates.
#[derive(Default)]
pub struct Updates {
    seen: Lock<HashMap<(HostId, ComponentId), Seen>>,
}

/// The last events about a component.
struct Seen {
    image_ref: String,
    maximum: u32,
    /// When one said that it runs.
    runs: Instant,
    /// Whether two said so: then it was a start. A stop that such a start overtakes is one
    /// of nothing, and the component goes on running.
    started: bool,
    /// Whether one said right behind it that it stopped.
    stopped: bool,
    /// Whether it was updated, as an inventory proved.
    updated: bool,
}

impl Updates {
    /// Notes what a host says of what it runs.
    pub fn note(&self, host: &HostId, news: &HostNews) {
        let HostNews::ComponentScaled {
            id,
            image_ref,
            maximum,
            ..
        } = news
        else {
            return;
        };
        // No caller can name others.
        let Ok(id) = ComponentId::parse(id) else {
            return;
        };
        if image_ref.len() > MAX_TEXT {
            return;
        }
        let seen = &mut *self.seen.lock();
        let of = (host.clone(), id);
        match (maximum, seen.get_mut(&of)) {
            (0, Some(seen)) => {
                let is_same = seen.image_ref == *image_ref && !seen.started;
                seen.stopped = is_same && seen.runs.elapsed() < PAIR_WITHIN;
            }
            (0, None) => {}
            (_, Some(seen)) => {
                seen.started = seen.image_ref == *image_ref
                    && seen.maximum == *maximum
                    && seen.runs.elapsed() < TWICE_WITHIN;
                seen.maximum = *maximum;
                seen.image_ref.clone_from(image_ref);
                (seen.runs, seen.stopped) = (Instant::now(), false);
            }
            (_, None) => {
                if seen.len() >= MAX_COMPONENTS {
                    seen.retain(|_, seen| seen.updated);
                }
                if seen.len() < MAX_COMPONENTS {
                    let runs = Seen {
                        image_ref: image_ref.clone(),
                        maximum: *maximum,
                        runs: Instant::now(),
                        started: false,
                        stopped: false,
                        updated: false,
                    };
                    seen.insert(of, runs);
                }
            }
        }
    }

    /// Tells whether a component was updated, as an inventory proved before.
    pub fn is_updated(&self, host: &HostId, id: &ComponentId) -> bool {
        let seen = self.seen.lock();
        let seen = seen.get(&(host.clone(), id.clone()));
        seen.is_some_and(|seen| seen.updated)
    }

    /// Tells whether a component was updated, if it still runs from this reference.
    pub fn may_be_updated(&self, host: &HostId, id: &ComponentId, image_ref: &str) -> bool {
        let seen = self.seen.lock();
        let seen = seen.get(&(host.clone(), id.clone()));
        seen.is_some_and(|seen| seen.stopped && seen.image_ref == image_ref)
    }

    /// Notes that a component was updated, as an inventory proves.
    pub fn updated(&self, host: &HostId, id: &ComponentId) {
        let mut seen = self.seen.lock();
        if let Some(seen) = seen.get_mut(&(host.clone(), id.clone())) {
            seen.updated = true;
        }
    }

    /// Forgets a host that stopped or started again.
    pub fn forget(&self, host: &HostId) {
        self.seen.lock().retain(|(of, _), _| of != host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::TextMap;
    use nkeys::{KeyPair, KeyPairType};

    fn scaled(image_ref: &str, maximum: u32) -> HostNews {
        HostNews::ComponentScaled {
            id: "shop".into(),
            image_ref: image_ref.into(),
            maximum,
            annotations: TextMap::new(),
            public_key: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_stop_right_behind_a_start_of_one_reference_may_be_an_update() {
        let host = HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap();
        let id = ComponentId::parse("shop").unwrap();
        let updates = Updates::default();
        let may_be = || updates.may_be_updated(&host, &id, "r/shop:2");
        let news = |image_ref, maximum| updates.note(&host, &scaled(image_ref, maximum));
        news("r/shop:2", 0);
        assert!(!may_be(), "nothing ran");
        news("r/shop:1", 5);
        news("r/shop:2", 0);
        assert!(!may_be(), "another reference");
        news("r/shop:2", 5);
        tokio::time::advance(PAIR_WITHIN).await;
        news("r/shop:2", 0);
        assert!(!may_be(), "late");
        news("r/shop:2", 5);
        tokio::time::advance(Duration::from_millis(1)).await;
        news("r/shop:2", 5);
        news("r/shop:2", 0);
        assert!(!may_be(), "a start, and a stop that it overtook");
        tokio::time::advance(TWICE_WITHIN).await;
        news("r/shop:2", 5);
        news("r/shop:2", 0);
        assert!(may_be());
        assert!(!updates.may_be_updated(&host, &id, "r/shop:1"));
        assert!(!updates.is_updated(&host, &id), "no inventory proved it");
        news("r/shop:2", 3);
        assert!(!may_be(), "it was started again");
        news("r/shop:2", 0);
        updates.updated(&host, &id);
        news("r/shop:2", 3);
        assert!(updates.is_updated(&host, &id), "that lasts");
        updates.forget(&host);
        assert!(!updates.is_updated(&host, &id), "as long as the host");
    }
}
