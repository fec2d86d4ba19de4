//! What hosts of 1.x were told about components and providers, and do not show yet.
//!
//! Such a host takes an order before it does anything, and only its inventory and its
//! events tell what came of it. Until then, the next order about the same id would be
//! decided by an inventory that does not count the one before.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lattice::dialect::v1::plan::{Noun, Told};
use crate::lattice::model::HostNews;
use crate::lock::Lock;
use crate::name::{ActorId, ComponentId, HostId, MAX_TEXT};

/// How long after the event of it an order is shown, unless another one came behind it.
const SHOWN_AFTER_EVENT: Duration = Duration::from_millis(500);
/// Most orders that are remembered. The oldest of more count as done.
const MAX_ORDERS: usize = 1000;
/// Most components of which the key is remembered.
const MAX_KEYS: usize = 10_000;

/// The orders of a lattice that hosts of 1.x do not show yet.
#[derive(Default)]
pub struct Scales {
    state: Lock<State>,
    /// Notified when a host says that an order failed.
    news: Notify,
}

#[derive(Default)]
struct State {
    orders: HashMap<(HostId, Noun, ComponentId), Order>,
    /// The public key of each component that a host started, as its events say, and the
    /// image reference that it was started from.
    keys: HashMap<(HostId, ComponentId), (ActorId, String)>,
}

struct Order {
    told: Told,
    since: Instant,
    shown_within: Duration,
    failed: Option<String>,
    /// When an event said that the host did it. That is no proof, but what another client
    /// ordered behind it may be all that the host ever shows.
    said: Option<Instant>,
}

/// A component whose public key an event told.
#[derive(Clone)]
pub struct Keyed {
    /// Its id.
    pub id: ComponentId,
    /// The image reference that it was started from.
    pub image_ref: String,
}

/// An order that a host does not show yet.
pub struct Unshown {
    /// What it was told.
    pub told: Told,
    /// How long ago it was told.
    pub waited: Duration,
    /// After which time it counts as failed.
    pub shown_within: Duration,
}

impl Scales {
    /// Notes an order that is about to be sent, and counts as failed after this time.
    pub fn begin(&self, host: &HostId, id: &ComponentId, told: &Told, shown_within: Duration) {
        let state = &mut *self.state.lock();
        if state.orders.len() >= MAX_ORDERS {
            state.orders.retain(|_, order| order.counts());
        }
        if state.orders.len() >= MAX_ORDERS {
            let oldest = state.orders.iter().min_by_key(|(_, order)| order.since);
            if let Some(oldest) = oldest.map(|(of, _)| of.clone()) {
                state.orders.remove(&oldest);
            }
        }
        let order = Order {
            told: told.clone(),
            since: Instant::now(),
            shown_within,
            failed: None,
            said: None,
        };
        state
            .orders
            .insert((host.clone(), told.noun(), id.clone()), order);
    }

    /// Notes that an order is shown, or was not carried out.
    pub fn end(&self, host: &HostId, noun: Noun, id: &ComponentId) {
        let of = (host.clone(), noun, id.clone());
        self.state.lock().orders.remove(&of);
    }

    /// Returns the order about a component or a provider that its host does not show yet.
    pub fn unshown(&self, host: &HostId, noun: Noun, id: &ComponentId) -> Option<Unshown> {
        let state = self.state.lock();
        let order = state.orders.get(&(host.clone(), noun, id.clone()))?;
        order.counts().then(|| Unshown {
            told: order.told.clone(),
            waited: order.since.elapsed(),
            shown_within: order.shown_within,
        })
    }

    /// Returns everything that hosts were told, about what, and do not show yet.
    pub fn all_unshown(&self) -> Vec<(HostId, ComponentId, Told)> {
        let state = self.state.lock();
        let unshown = state.orders.iter().filter(|(_, order)| order.counts());
        unshown
            .map(|((host, _, id), order)| (host.clone(), id.clone(), order.told.clone()))
            .collect()
    }

    /// Returns why the order about a component or a provider failed, as its host said.
    pub fn failure(&self, host: &HostId, noun: Noun, id: &ComponentId) -> Option<String> {
        let state = self.state.lock();
        let order = state.orders.get(&(host.clone(), noun, id.clone()))?;
        order.failed.clone()
    }

    /// Waits until a host says that an order failed.
    pub async fn any_failure(&self) {
        self.news.notified().await;
    }

    /// Notes what a host says of what it runs.
    pub fn note(&self, host: &HostId, news: &HostNews) {
        let (noun, id) = match news {
            HostNews::ComponentScaled { id, .. } | HostNews::ComponentFailed { id, .. } => {
                (Noun::Component, id)
            }
            HostNews::ProviderFailed { key: Some(id), .. } => (Noun::Provider, id),
            _ => return,
        };
        // No caller can name others.
        let Ok(id) = ComponentId::parse(id) else {
            return;
        };
        let state = &mut *self.state.lock();
        let of = (host.clone(), noun, id);
        let id = &of.2;
        if let Some(order) = state.orders.get_mut(&of) {
            if order.told.is_said(id, news) {
                order.said = Some(Instant::now());
            }
            if let Some(reason) = order.told.failure(id, news) {
                order.failed = Some(reason.to_owned());
                self.news.notify_waiters();
            }
        }
        // The key is that of the image that the order named, also where nothing runs.
        if let HostNews::ComponentScaled {
            image_ref,
            maximum: 1..,
            public_key: Some(key),
            ..
        } = news
            && let Ok(key) = ActorId::parse(key)
            && image_ref.len() <= MAX_TEXT
        {
            if state.keys.len() >= MAX_KEYS {
                state.keys.clear();
            }
            let (host, _, id) = of;
            state.keys.insert((host, id), (key, image_ref.clone()));
        }
    }

    /// Returns the components that a host started with this public key, as its events say.
    pub fn of_key(&self, host: &HostId, key: &ActorId) -> Vec<Keyed> {
        let state = self.state.lock();
        let of_host = state.keys.iter().filter(|((of, _), _)| of == host);
        let with_key = of_host.filter(|(_, (its, _))| its == key);
        let keyed = with_key.map(|((_, id), (_, image_ref))| Keyed {
            id: id.clone(),
            image_ref: image_ref.clone(),
        });
        keyed.collect()
    }

    /// Forgets a host that stopped or started again.
    pub fn forget(&self, host: &HostId) {
        let state = &mut *self.state.lock();
        state.orders.retain(|(of, ..), _| of != host);
        state.keys.retain(|(of, _), _| of != host);
    }
}

impl Order {
    fn counts(&self) -> bool {
        let is_over = self
            .said
            .is_some_and(|at| at.elapsed() >= SHOWN_AFTER_EVENT);
        self.failed.is_none() && !is_over && self.since.elapsed() < self.shown_within
    }
}

#[cfg(test)]
mod tests {
    use nkeys::{KeyPair, KeyPairType};

    use super::*;
    use crate::lattice::dialect::v1::plan::Scale;
    use crate::lattice::model::TextMap;

    fn host() -> HostId {
        HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
    }

    #[tokio::test]
    async fn a_failure_that_fits_counts_whatever_comes_behind_it() {
        let (host, id, scales) = (
            host(),
            ComponentId::parse("shop").unwrap(),
            Scales::default(),
        );
        let scale = Scale {
            reference: "r/shop:1".into(),
            count: 3,
            annotations: TextMap::new(),
            limits: None,
        };
        let failed = |maximum| HostNews::ComponentFailed {
            id: "shop".into(),
            image_ref: "r/shop:1".into(),
            maximum,
            annotations: TextMap::new(),
            reason: format!("no {maximum}"),
        };
        scales.begin(&host, &id, &Told::scale(&scale), Duration::from_secs(1));
        scales.note(&host, &failed(2));
        assert_eq!(scales.failure(&host, Noun::Component, &id), None);
        scales.note(&host, &failed(3));
        scales.note(&host, &failed(2));
        assert_eq!(
            scales.failure(&host, Noun::Component, &id).as_deref(),
            Some("no 3")
        );
    }

    #[tokio::test]
    async fn the_start_of_a_provider_fails_by_an_event_that_names_its_reference() {
        let (host, id, scales) = (host(), ComponentId::parse("kv").unwrap(), Scales::default());
        let failed = |reference: &str| HostNews::ProviderFailed {
            key: Some("kv".into()),
            image_ref: Some(reference.into()),
            reason: "no".into(),
        };
        let told = Told::StartProvider("file:///srv/kv".into());
        scales.begin(&host, &id, &told, Duration::from_secs(1));
        scales.note(&host, &failed("r/kv:2"));
        assert_eq!(scales.failure(&host, Noun::Provider, &id), None);
        scales.note(&host, &failed("/srv/kv"));
        assert_eq!(
            scales.failure(&host, Noun::Provider, &id).as_deref(),
            Some("no")
        );
    }
}
