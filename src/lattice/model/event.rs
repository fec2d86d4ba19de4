//! What hosts publish about themselves, without being asked.

use crate::lattice::model::text_map::TextMap;

/// News of a host.
#[derive(Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// Public key of the host, as the event says.
    pub host: String,
    /// What is new.
    pub news: HostNews,
}

/// What is new of a host.
#[derive(Debug, PartialEq, Eq)]
pub enum HostNews {
    /// A heartbeat.
    Beats {
        /// Version of the host software. OTP up to 0.54 says none.
        version: Option<String>,
        /// The providers that run on the host, where it says any list of them.
        providers: Option<Vec<ProviderSeen>>,
    },
    /// The host started. Not every version says which host it is.
    Started,
    /// The host stopped.
    Stopped,
    /// A 0.x host started an actor from a reference.
    ActorStarted {
        /// Public key of the actor.
        key: String,
        /// Image reference.
        image_ref: String,
        /// Its annotations, where the host says them.
        annotations: Option<TextMap>,
    },
    /// A 0.x host did not start an actor.
    ActorFailed {
        /// Image reference.
        image_ref: String,
        /// The annotations of the command, where the host says them.
        annotations: Option<TextMap>,
        /// The reason that the host gives.
        reason: String,
    },
    /// The host started a provider.
    ProviderStarted(ProviderSeen),
    /// A provider on the host stopped.
    ProviderStopped {
        /// Public key of the provider, or its id on hosts of 1.x.
        key: String,
        /// Link name.
        link_name: String,
    },
    /// The host did not start a provider.
    ProviderFailed {
        /// Public key of the provider, or its id on hosts of 1.x, where the host says it.
        key: Option<String>,
        /// Image reference, where the host says it.
        image_ref: Option<String>,
        /// The reason that the host gives.
        reason: String,
    },
    /// A provider started or stopped, and the event does not say which.
    ProvidersChanged,
    /// A host of 1.x started or stopped a component, or changed how many may run; only the
    /// inventory proves it (docs/hosts.md#success-promises-nothing).
    ComponentScaled {
        /// Id of the component.
        id: String,
        /// Image reference.
        image_ref: String,
        /// How many may run. An update that another client ordered ends with a 0, too, and
        /// the component goes on running.
        maximum: u32,
        /// Its annotations: those from before a change.
        annotations: TextMap,
        /// The public key of the image that the order named, where it is signed. It is that
        /// of the component where the inventory has this reference.
        public_key: Option<String>,
    },
    /// A host of 1.x did not do what it was told about a component.
    ComponentFailed {
        /// Id of the component.
        id: String,
        /// Image reference that it was told.
        image_ref: String,
        /// How many were to run.
        maximum: u32,
        /// Annotations that it was told.
        annotations: TextMap,
        /// The reason that the host gives.
        reason: String,
    },
    /// Anything else: the host is there.
    Other,
}

/// A provider, as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSeen {
    /// Public key, or the id on hosts of 1.x.
    pub key: String,
    /// Link name.
    pub link_name: String,
    /// Image reference. Heartbeats before 0.82 do not say it.
    pub image_ref: Option<String>,
}

impl ProviderSeen {
    /// Tells whether it is the one of this key and link name.
    pub fn is(&self, key: &str, link_name: &str) -> bool {
        self.key == key && self.link_name == link_name
    }
}
