//! Turns an operation into orders for a host of 1.x.
//!
//! Plain functions from what runs to orders: nothing here talks to anybody.
//!
//! - `components`: StartActor, ScaleActor, StopActor, UpdateActor
//! - `providers`: StartProvider, StopProvider
//! - `refusal`: why there is no order
//! - `scale`: what a scale is, and how its outcome is known

mod components;
mod providers;
mod refusal;
mod scale;

pub use crate::lattice::dialect::v1::plan::components::{
    Decision, Replacement, scale, start, stop, update,
};
pub use crate::lattice::dialect::v1::plan::providers::{
    ProviderStart, start_provider, stop_provider,
};
pub use crate::lattice::dialect::v1::plan::refusal::Refusal;
pub use crate::lattice::dialect::v1::plan::scale::Scale;

#[cfg(test)]
mod tests;
