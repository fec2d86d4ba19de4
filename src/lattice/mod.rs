//! One remote lattice: queries and commands to its hosts.
//!
//! From top to bottom; each room uses only those below it:
//!
//! - [`ops`]: the operations on a lattice, whichever hosts it has
//! - [`bucket`]: the bucket in which hosts keep links and claims
//! - [`upkeep`]: pings and events, which keep what is known of the hosts fresh
//! - [`exchange`]: a question to one host or to all of them, and how it ends
//! - [`Lattice`]: a lattice for the length of one call
//! - [`roster`]: the hosts, as far as they are known
//! - [`gather`]: when a question to all of them is over
//! - [`commands`]: the commands that hosts were sent a moment ago
//! - [`dialect`]: how a host is talked to, and how hosts differ
//! - [`model`]: what lattices consist of

pub mod bucket;
pub mod commands;
pub mod dialect;
pub mod exchange;
pub mod gather;
mod handle;
pub mod model;
pub mod ops;
pub mod roster;
pub mod rosters;
pub mod upkeep;

pub use crate::lattice::handle::Lattice;
