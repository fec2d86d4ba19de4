//! Why a host of 1.x is not sent an order.

use crate::error::quoted;
use crate::lattice::dialect::v1::configs::{ConfigName, NoObjectOfTexts};
use crate::name::{ActorId, ComponentId};

/// Why there is no order: the host would do something else than was asked, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing runs under the id.
    #[error("component {0} is not running there")]
    NotRunning(ComponentId),
    /// Nothing runs under the id, and it is a public key.
    #[error(
        "no component {0} on this host: hosts of wasmCloud 1.x know components by the id that they \
         were started with"
    )]
    NoSuchKey(ComponentId),
    /// The annotations select nothing.
    #[error("nothing matches: it runs with other annotations")]
    NothingMatches,
    /// It runs with other annotations.
    #[error("it runs with other annotations, and hosts of wasmCloud 1.x keep one set")]
    OtherAnnotations,
    /// It runs from another reference.
    #[error("it runs from {}: use UpdateActor", quoted(.0))]
    OtherReference(String),
    /// Another controller has it in its hands.
    #[error("it is managed by wadm: change its manifest")]
    ManagedByWadm,
    /// Somebody updated it by `component.update`
    /// (docs/hosts.md#update-keeps-old-code).
    #[error(
        "another client updated component {0} there, after which the host runs its old code until \
         the host ends, beside what is started: run it on another host, or restart this one"
    )]
    Updated(ComponentId),
    /// A scale would take its configuration.
    #[error(
        "hosts of wasmCloud 1.x take the configuration from a component that is scaled, and this \
         one may have config {}, which no link and no provider that was started from here uses; \
         set configured_components to \"scaled\" to do it all the same",
        quoted(.0)
    )]
    MayLoseConfiguration(String),
    /// There would be more than can be counted.
    #[error("{0} instances are more than it can count")]
    TooMany(u64),
    /// Some of what runs without limit cannot be stopped.
    #[error("it runs without limit there; scale it instead")]
    WithoutLimit,
    /// A provider runs under the id.
    #[error("provider {0} is already running there")]
    ProviderRuns(ComponentId),
    /// The same, on hosts that may list a provider that ended.
    #[error(
        "provider {0} is listed there as running; where it ended by itself, it must be stopped \
         before it can be started again"
    )]
    ProviderListed(ComponentId),
    /// No provider runs under the id, or not so.
    #[error("provider {0} with these annotations does not run there under this link name")]
    NoProvider(ComponentId),
    /// The configuration of a provider is none.
    #[error(transparent)]
    Configuration(#[from] NoObjectOfTexts),
    /// Hosts would look for a secret.
    #[error(
        "hosts of wasmCloud 1.x take the config {0} for the name of a secret: set another id in \
         component_ids"
    )]
    NameOfSecret(ConfigName),
}

impl Refusal {
    /// Makes the refusal for an id under which nothing runs.
    pub(super) fn not_running(id: &ComponentId) -> Self {
        match ActorId::parse(id.as_str()) {
            Ok(_) => Self::NoSuchKey(id.clone()),
            Err(_) => Self::NotRunning(id.clone()),
        }
    }
}
