//! What hosts of 1.x were told about components, and do not show yet.
//!
//! Such a host takes an order before it does anything, and only its inventory and its
//! events tell what came of it. Until then, the next order about the same component would
//! be decided by an inventory that does not count the one before.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lattice::dialect::v1::ids::is_same_reference;
use crate::lattice::dialect::v1::plan::Scale;
use crate::lattice::model::{HostNews, TextMap};
use crate::lock::Lock;
use crate::name::{ActorId, ComponentId, HostId, MAX_TEXT};

/// Most orders that are remembered. The oldest of more count as done.
const MAX_ORDERS: usize = 1000;
/// Most components of which the key is remembered.
const MAX_KEYS: usize = 10_000;

/// The orders of a lattice that hosts of 1.x do not show yet.
#[derive(Default)]
pub struct Scales {
    state: Lock<State>,
    /// Notified when a host says that an order failed, of a component or a provider.
    news: Notify,
}

#[derive(Default)]
struct State {
    orders: HashMap<(HostId, String), Order>,
    /// The starts of providers.
    providers: HashMap<(HostId, String), ProviderStart>,
    /// The public key of each component that a host started, as its events say, and the
    /// image reference that it was started from.
    keys: HashMap<(HostId, ComponentId), (ActorId, String)>,
}

struct Order {
    scale: Scale,
    since: Instant,
    shown_within: Duration,
    failed: Option<String>,
}

/// A provider that a host was told to start, and does not show yet.
struct ProviderStart {
    reference: String,
    since: Instant,
    shown_within: Duration,
    failed: Option<String>,
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
    pub scale: Scale,
    /// For how long it does not show it.
    pub waits: Waits,
}

/// A component, or a provider, that a host was told about.
pub struct Told {
    /// The host.
    pub host: HostId,
    /// The id.
    pub id: String,
    /// What it was told of a component; `None` of a provider, which it was told to start.
    pub scale: Option<Scale>,
}

/// For how long a host does not show what it was told.
#[derive(Clone, Copy)]
pub struct Waits {
    /// How long ago it was told.
    pub waited: Duration,
    /// After which time it counts as failed.
    pub shown_within: Duration,
}

impl Scales {
    /// Notes an order that is about to be sent, and counts as failed after this time.
    pub fn begin(&self, host: &HostId, id: &ComponentId, scale: &Scale, shown_within: Duration) {
        let state = &mut *self.state.lock();
        if state.orders.len() >= MAX_ORDERS {
            state.orders.retain(|_, order| order.counts());
        }
        let oldest = state.orders.iter().min_by_key(|(_, order)| order.since);
        if state.orders.len() >= MAX_ORDERS
            && let Some(oldest) = oldest.map(|(of, _)| of.clone())
        {
            state.orders.remove(&oldest);
        }
        // Only what tells its outcome: annotations and limits are the host's, and may be long.
        let scale = Scale {
            reference: scale.reference.clone(),
            count: scale.count,
            annotations: TextMap::new(),
            limits: None,
        };
        let order = Order {
            scale,
            since: Instant::now(),
            shown_within,
            failed: None,
        };
        state.orders.insert((host.clone(), id.to_string()), order);
    }

    /// Notes that an order is shown, or was not carried out.
    pub fn end(&self, host: &HostId, id: &ComponentId) {
        let of = (host.clone(), id.to_string());
        self.state.lock().orders.remove(&of);
    }

    /// Returns the order about a component that its host does not show yet.
    pub fn unshown(&self, host: &HostId, id: &ComponentId) -> Option<Unshown> {
        let state = self.state.lock();
        let order = state.orders.get(&(host.clone(), id.to_string()))?;
        order.counts().then(|| Unshown {
            scale: order.scale.clone(),
            waits: Waits {
                waited: order.since.elapsed(),
                shown_within: order.shown_within,
            },
        })
    }

    /// Returns the components and providers that hosts were told about, and do not show yet.
    pub fn all_unshown(&self) -> Vec<Told> {
        let state = self.state.lock();
        let orders = state.orders.iter().filter(|(_, order)| order.counts());
        let orders = orders.map(|((host, id), order)| Told {
            host: host.clone(),
            id: id.clone(),
            scale: Some(order.scale.clone()),
        });
        let starts = state.providers.iter().filter(|(_, start)| start.counts());
        let starts = starts.map(|((host, id), _)| Told {
            host: host.clone(),
            id: id.clone(),
            scale: None,
        });
        orders.chain(starts).collect()
    }

    /// Returns why the order about a component failed, as its host said.
    pub fn failure(&self, host: &HostId, id: &ComponentId) -> Option<String> {
        let state = self.state.lock();
        let order = state.orders.get(&(host.clone(), id.to_string()))?;
        order.failed.clone()
    }

    /// Waits until a host says that an order failed.
    pub async fn any_failure(&self) {
        self.news.notified().await;
    }

    /// Notes the start of a provider from a reference that is about to be ordered, and counts
    /// as failed after this time.
    pub fn begin_provider(
        &self,
        host: &HostId,
        id: &ComponentId,
        reference: &str,
        shown_within: Duration,
    ) {
        let state = &mut *self.state.lock();
        if state.providers.len() >= MAX_ORDERS {
            state.providers.retain(|_, start| start.counts());
        }
        let oldest = state.providers.iter().min_by_key(|(_, start)| start.since);
        if state.providers.len() >= MAX_ORDERS
            && let Some(oldest) = oldest.map(|(of, _)| of.clone())
        {
            state.providers.remove(&oldest);
        }
        let start = ProviderStart {
            reference: reference.to_owned(),
            since: Instant::now(),
            shown_within,
            failed: None,
        };
        state
            .providers
            .insert((host.clone(), id.to_string()), start);
    }

    /// Returns for how long a host does not show a provider that it was told to start.
    pub fn unshown_provider(&self, host: &HostId, id: &ComponentId) -> Option<Waits> {
        let state = self.state.lock();
        let start = state.providers.get(&(host.clone(), id.to_string()))?;
        start.counts().then(|| Waits {
            waited: start.since.elapsed(),
            shown_within: start.shown_within,
        })
    }

    /// Returns why a provider did not start, as its host said.
    pub fn provider_failure(&self, host: &HostId, id: &ComponentId) -> Option<String> {
        let state = self.state.lock();
        let start = state.providers.get(&(host.clone(), id.to_string()))?;
        start.failed.clone()
    }

    /// Notes that the start of a provider is shown, or was not carried out.
    pub fn end_provider(&self, host: &HostId, id: &ComponentId) {
        let of = (host.clone(), id.to_string());
        self.state.lock().providers.remove(&of);
    }

    /// Notes what a host says of what it runs.
    pub fn note(&self, host: &HostId, news: &HostNews) {
        let state = &mut *self.state.lock();
        match news {
            HostNews::ComponentFailed { id, .. } => {
                let order = state.orders.get_mut(&(host.clone(), id.clone()));
                if let (Some(order), Ok(id)) = (order, ComponentId::parse(id))
                    && let Some(reason) = order.scale.failure(&id, news)
                {
                    order.failed = Some(reason.to_owned());
                    self.news.notify_waiters();
                }
            }
            HostNews::ProviderFailed {
                key: Some(id),
                image_ref: Some(reference),
                reason,
            } => {
                if let Some(start) = state.providers.get_mut(&(host.clone(), id.clone()))
                    && is_same_reference(&start.reference, reference)
                {
                    start.failed = Some(reason.clone());
                    self.news.notify_waiters();
                }
            }
            // The key is that of the image that the order named, also where nothing runs.
            HostNews::ComponentScaled {
                id,
                image_ref,
                maximum: 1..,
                public_key: Some(key),
                ..
            } => {
                // No caller can name others.
                if let (Ok(id), Ok(key)) = (ComponentId::parse(id), ActorId::parse(key))
                    && image_ref.len() <= MAX_TEXT
                {
                    if state.keys.len() >= MAX_KEYS {
                        state.keys.clear();
                    }
                    let keyed = (key, image_ref.clone());
                    state.keys.insert((host.clone(), id), keyed);
                }
            }
            _ => {}
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
        state.orders.retain(|(of, _), _| of != host);
        state.providers.retain(|(of, _), _| of != host);
        state.keys.retain(|(of, _), _| of != host);
    }
}

impl ProviderStart {
    fn counts(&self) -> bool {
        self.failed.is_none() && self.since.elapsed() < self.shown_within
    }
}

impl Order {
    fn counts(&self) -> bool {
        self.failed.is_none() && self.since.elapsed() < self.shown_within
    }
}

#[cfg(test)]
mod tests {
    use nkeys::{KeyPair, KeyPairType};

    use super::*;

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
        scales.begin(&host, &id, &scale, Duration::from_secs(1));
        scales.note(&host, &failed(2));
        assert_eq!(scales.failure(&host, &id), None);
        scales.note(&host, &failed(3));
        scales.note(&host, &failed(2));
        assert_eq!(scales.failure(&host, &id).as_deref(), Some("no 3"));
    }

    #[tokio::test]
    async fn the_start_of_a_provider_fails_by_an_event_that_names_its_reference() {
        let (host, id, scales) = (host(), ComponentId::parse("kv").unwrap(), Scales::default());
        let failed = |reference: &str| HostNews::ProviderFailed {
            key: Some("kv".into()),
            image_ref: Some(reference.into()),
            reason: "no".into(),
        };
        scales.begin_provider(&host, &id, "file:///srv/kv", Duration::from_secs(1));
        scales.note(&host, &failed("r/kv:2"));
        assert_eq!(scales.provider_failure(&host, &id), None);
        scales.note(&host, &failed("/srv/kv"));
        assert_eq!(scales.provider_failure(&host, &id).as_deref(), Some("no"));
    }
}
