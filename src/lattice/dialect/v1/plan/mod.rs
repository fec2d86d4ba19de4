//! Turns an operation into orders for a host of 1.x.
//!
//! Plain functions from what runs to orders: nothing here talks to anybody.
//!
//! - `components`: StartActor, ScaleActor, StopActor, UpdateActor
//! - `providers`: StartProvider, StopProvider
//! - `refusal`: why there is no order
//! - `scale`: what a scale is, and how its outcome is known
//! - `told`: the same of every order that the inventory shows later

mod components;
mod providers;
mod refusal;
mod scale;
mod told;

pub use crate::lattice::dialect::v1::plan::components::{
    Decision, Replacement, scale, start, stop, update,
};
pub use crate::lattice::dialect::v1::plan::providers::{
    ProviderStart, start_provider, stop_provider,
};
pub use crate::lattice::dialect::v1::plan::refusal::Refusal;
pub use crate::lattice::dialect::v1::plan::scale::Scale;
pub use crate::lattice::dialect::v1::plan::told::{Noun, Told};

#[cfg(test)]
mod tests;
