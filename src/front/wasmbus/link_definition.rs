//! Link definitions as hosts send them: MessagePack, or JSON in host data and in test mode.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};

use crate::serve::links::LinkDefinition;

/// A link definition as hosts send it, in which every member may be missing or null. OTP
/// hosts add an `id`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WireLinkDefinition {
    #[serde(deserialize_with = "or_default")]
    actor_id: String,
    #[serde(deserialize_with = "or_default")]
    provider_id: String,
    #[serde(deserialize_with = "or_default")]
    link_name: String,
    #[serde(deserialize_with = "or_default")]
    contract_id: String,
    #[serde(deserialize_with = "or_default")]
    values: HashMap<String, Option<String>>,
}

impl From<WireLinkDefinition> for LinkDefinition {
    fn from(link: WireLinkDefinition) -> Self {
        // Values that are null count as absent.
        let values = link.values.into_iter();
        let values = values.filter_map(|(name, value)| Some((name, value?)));
        Self {
            actor_id: link.actor_id,
            provider_id: link.provider_id,
            link_name: link.link_name,
            contract_id: link.contract_id,
            values: values.collect(),
        }
    }
}

/// Reads a member that may be null, which counts as missing.
pub(super) fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}
