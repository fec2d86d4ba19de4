//! What can be configured: the provider's settings (`config_json` of the host
//! data) and a link's (its values). README.md documents every key.
//!
//! Unknown keys are refused, and one reading reports every mistake.

mod calls;
mod lattice_patterns;
mod limits;
mod link;
mod policy;
mod pool;
mod provider;
mod servers;
mod tls;

use serde_json::Value;
use zeroize::Zeroize as _;

pub use crate::settings::calls::CallLimits;
pub use crate::settings::limits::{Limits, STALL, TimeLimits};
pub use crate::settings::link::LinkSettings;
pub use crate::settings::policy::{Decider, EffectivePolicy, Policy, READ};
pub use crate::settings::pool::{Isolation, PoolLimits, PoolSettings, StoreMode, Unplaced};
pub use crate::settings::provider::ProviderSettings;

/// The name of every operation of the contract.
pub const OPERATIONS: [&str; 17] = [
    "AdvertiseLink",
    "AuctionActor",
    "AuctionProvider",
    "GetClaims",
    "GetHostInventory",
    "GetHosts",
    "GetLinks",
    "RemoveLink",
    "ScaleActor",
    "SetLatticeCredentials",
    "SetRegistryCredentials",
    "StartActor",
    "StartProvider",
    "StopActor",
    "StopHost",
    "StopProvider",
    "UpdateActor",
];

/// Overwrites what may be secrets.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

/// What is wrong with settings, without their values.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    /// Most that are told: more than there are settings.
    const TOLD: usize = 50;

    fn add(&mut self, key: &str, problem: &str) {
        self.0.push(format!("{key}: {problem}"));
    }

    /// A whole number within these bounds.
    fn number(&mut self, key: &str, value: &Value, least: u64, most: u64) -> Option<u64> {
        let number = value
            .as_u64()
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.add(
                key,
                &format!("it must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    fn unknown(&mut self, key: &str, known: &[&str]) {
        let key: String = key.chars().take(40).collect();
        self.0.push(format!(
            "{key:?} is no setting; there are {}",
            known.join(", ")
        ));
    }

    fn none(mut self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort();
        let more = self.0.len().saturating_sub(Self::TOLD);
        self.0.truncate(Self::TOLD);
        let told = self.0.join("; ");
        match more {
            0 => Err(told),
            _ => Err(format!("{told}; and {more} more mistakes")),
        }
    }
}
