//! How components and providers of 1.x hosts are named and kept.

use std::collections::HashMap;

use crate::name::ComponentId;

/// What an operator says of components and providers on hosts of 1.x.
#[derive(Clone, Debug, Default)]
pub struct ComponentSettings {
    /// `component_ids`: the id that is given to what is started, by the repository of its
    /// image reference.
    pub ids: HashMap<String, ComponentId>,
    /// `configured_components`: whether orders are sent that may take the configuration of
    /// a component away.
    pub may_lose_configuration: bool,
}
