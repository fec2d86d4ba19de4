//! What a host was told, of which its inventory shows later whether it did it.

use std::fmt;

use crate::lattice::dialect::v1::ids::is_same_reference;
use crate::lattice::dialect::v1::inventory::Inventory;
use crate::lattice::dialect::v1::plan::scale::Scale;
use crate::lattice::model::{HostNews, TextMap};
use crate::name::ComponentId;

/// What an id is one of: a component and a provider may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noun {
    /// A component.
    Component,
    /// A provider.
    Provider,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Component => "component",
            Self::Provider => "provider",
        })
    }
}

/// An order, as far as its outcome can be told by it.
#[derive(Clone, Debug)]
pub enum Told {
    /// To scale a component. It has neither annotations nor limits here: these are the host's
    /// own, and may be long.
    Scale(Scale),
    /// To start a provider from this reference.
    StartProvider(String),
}

impl Told {
    /// Returns what a scale is known by.
    pub fn scale(scale: &Scale) -> Self {
        Self::Scale(Scale {
            reference: scale.reference.clone(),
            count: scale.count,
            annotations: TextMap::new(),
            limits: None,
        })
    }

    /// Returns what it is about.
    pub fn noun(&self) -> Noun {
        match self {
            Self::Scale(_) => Noun::Component,
            Self::StartProvider(_) => Noun::Provider,
        }
    }

    /// Tells whether an inventory shows that it was carried out. That it does not yet proves
    /// nothing.
    pub fn is_shown(&self, id: &ComponentId, inventory: &Inventory) -> bool {
        match self {
            Self::Scale(scale) => scale.is_shown(inventory.component(id.as_str())),
            Self::StartProvider(_) => inventory.provider(id.as_str()).is_some(),
        }
    }

    /// Returns the reason that the host gives, where it says that this order failed. The
    /// event has what the order named.
    pub fn failure<'a>(&self, id: &ComponentId, news: &'a HostNews) -> Option<&'a str> {
        match (self, news) {
            (Self::Scale(scale), _) => scale.failure(id, news),
            (
                Self::StartProvider(reference),
                HostNews::ProviderFailed {
                    key: Some(failed),
                    image_ref: Some(image_ref),
                    reason,
                },
            ) if failed == id.as_str() && is_same_reference(reference, image_ref) => Some(reason),
            _ => None,
        }
    }

    /// Tells whether a host says that it did it. That is no proof.
    pub fn is_said(&self, id: &ComponentId, news: &HostNews) -> bool {
        match (self, news) {
            (
                Self::Scale(scale),
                HostNews::ComponentScaled {
                    id: scaled,
                    maximum,
                    ..
                },
            ) => scaled == id.as_str() && *maximum == scale.count,
            _ => false,
        }
    }
}
