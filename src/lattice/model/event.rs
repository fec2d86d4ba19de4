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
    /// The host started an actor from a reference.
    ActorStarted {
        /// Public key of the actor.
        key: String,
        /// Image reference.
        image_ref: String,
        /// Its annotations, where the host says them.
        annotations: Option<TextMap>,
    },
    /// The host did not start an actor.
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
        /// Public key of the provider.
        key: String,
        /// Link name.
        link_name: String,
    },
    /// The host did not start a provider.
    ProviderFailed,
    /// A provider started or stopped, and the event does not say which.
    ProvidersChanged,
    /// Anything else: the host is there.
    Other,
}

/// A provider, as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSeen {
    /// Public key.
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
