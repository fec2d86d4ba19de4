//! The order that starts a component, changes how many of it may run, and stops it.

use crate::lattice::dialect::v1::inventory::Component;
use crate::lattice::model::{HostNews, TextMap};
use crate::name::ComponentId;

/// What a host is told of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Reference to name. What runs takes it over, whatever code it has. Also a stop has one:
    /// some hosts fetch the image first (docs/hosts.md#stop-needs-the-image).
    pub reference: String,
    /// How many may run at once; 0 stops it.
    pub count: u32,
    /// The annotations. What runs takes them over.
    pub annotations: TextMap,
    /// The limits of memory and time that it has, where the host says any: a scale without
    /// them takes them away (docs/hosts.md#scale-takes-limits).
    pub limits: Option<TextMap>,
}

impl Scale {
    /// Has so many of what runs, and leaves all else as it is.
    pub(super) fn of(running: &Component, count: u32) -> Self {
        Self {
            reference: running.image_ref.clone(),
            count,
            annotations: running.annotations.clone(),
            limits: running.limits.clone(),
        }
    }

    /// Tells whether what an inventory has under the id is what this order makes of it.
    /// That it is not yet there proves nothing.
    pub fn is_shown(&self, running: Option<&Component>) -> bool {
        match running {
            None => self.count == 0,
            Some(running) => {
                self.count > 0
                    && running.max_instances == self.count
                    && running.image_ref == self.reference
            }
        }
    }

    /// Returns the reason that the host gives, where it says that this order failed. The
    /// event has what the order named.
    pub fn failure<'a>(&self, id: &ComponentId, news: &'a HostNews) -> Option<&'a str> {
        match news {
            HostNews::ComponentFailed {
                id: failed,
                image_ref,
                maximum,
                reason,
                ..
            } if failed == id.as_str()
                && *image_ref == self.reference
                && *maximum == self.count =>
            {
                Some(reason)
            }
            _ => None,
        }
    }
}
