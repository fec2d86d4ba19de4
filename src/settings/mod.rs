//! Reads the settings of the provider (`config_json` of the host data) and of a link (its
//! values). `table.rs` has all of them.
//!
//! Unknown keys are refused, and all mistakes are reported at once.

mod calls;
mod components;
mod lattice_patterns;
mod lattices;
mod limits;
mod link;
mod parse;
mod policy;
mod provider;
mod reading;
pub mod table;
mod tls;
mod values;

pub use crate::settings::calls::CallLimits;
pub use crate::settings::components::ComponentSettings;
pub use crate::settings::lattices::{
    Isolation, LatticeLimits, LatticeSettings, StoreMode, Unplaced,
};
pub use crate::settings::limits::{Limits, STALL, TimeLimits};
pub use crate::settings::link::LinkSettings;
pub use crate::settings::policy::{Decider, Policy};
pub use crate::settings::provider::ProviderSettings;
pub use crate::settings::reading::SettingsError;
