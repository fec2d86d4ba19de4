//! The operations on a lattice, whichever hosts it has.

pub mod actors;
pub mod auctions;
mod beyond_call;
mod components;
pub mod dialects;
pub mod hosts;
pub mod links;
pub mod metadata;
pub mod providers;
pub mod registries;
