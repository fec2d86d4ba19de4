//! The operations on a lattice.

pub mod actors;
pub mod auctions;
pub mod hosts;
pub mod links;
pub mod providers;
