//! Operations on providers, for a host of 1.x.

use crate::lattice::dialect::v1::behaviour::Behaviour;
use crate::lattice::dialect::v1::configs::{ConfigName, ConfigValues};
use crate::lattice::dialect::v1::ids::DEFAULT_LINK_NAME;
use crate::lattice::dialect::v1::inventory::{self, LINK_NAME, Provider};
use crate::lattice::dialect::v1::plan::refusal::Refusal;
use crate::lattice::model::{TextMap, contains};
use crate::name::{ComponentId, HostId, LinkName};

/// How a provider is started.
#[derive(Debug, PartialEq, Eq)]
pub struct ProviderStart {
    /// The config to put first, and to name.
    pub config: Option<(ConfigName, ConfigValues)>,
    /// The annotations to start it with.
    pub annotations: TextMap,
}

/// Decides StartProvider. The inventory is looked at before a config is put: one of a
/// provider that runs would change under it.
///
/// # Errors
/// `ProviderRuns`, `ProviderListed`, `Configuration`, `NameOfSecret`.
pub fn start_provider(
    behaviour: &Behaviour,
    host: &HostId,
    id: &ComponentId,
    running: Option<&Provider>,
    link_name: &LinkName,
    configuration: Option<&str>,
    annotations: &TextMap,
) -> Result<ProviderStart, Refusal> {
    if running.is_some() {
        return Err(match behaviour.lists_ended_providers {
            true => Refusal::ProviderListed(id.clone()),
            false => Refusal::ProviderRuns(id.clone()),
        });
    }
    let config = match configuration {
        None => None,
        Some(configuration) => {
            let values = ConfigValues::parse(configuration)?;
            let name = ConfigName::of_provider(id, host);
            if name.is_of_secret() {
                return Err(Refusal::NameOfSecret(name));
            }
            Some((name, values))
        }
    };
    let mut annotations = inventory::without_link_name(annotations.clone());
    if link_name.as_str() != DEFAULT_LINK_NAME {
        annotations.insert(LINK_NAME.to_owned(), link_name.to_string());
    }
    Ok(ProviderStart {
        config,
        annotations,
    })
}

/// Decides StopProvider, and returns the config to remove afterwards, where one was put.
///
/// # Errors
/// `NoProvider`.
pub fn stop_provider(
    host: &HostId,
    id: &ComponentId,
    running: Option<&Provider>,
    link_name: &LinkName,
    annotations: &TextMap,
) -> Result<ConfigName, Refusal> {
    let matches = |provider: &&Provider| {
        inventory::link_name(&provider.annotations) == link_name.as_str()
            && contains(&provider.annotations, annotations)
    };
    match running.filter(matches) {
        Some(_) => Ok(ConfigName::of_provider(id, host)),
        None => Err(Refusal::NoProvider(id.clone())),
    }
}
