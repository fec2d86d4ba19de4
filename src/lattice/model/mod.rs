//! What lattices consist of, whichever protocol says it: hosts, inventories, links,
//! claims, events.
//!
//! These types have the members that bodies of 0.x have, under the same names, so that
//! they are read from such bodies directly, by [`lenient`]. A 1.x folder would read
//! bodies of its own and make these from them.

mod event;
mod host;
mod inventory;
pub mod lenient;
mod link;
mod registry;
mod running;
mod text_map;

pub use crate::lattice::model::event::{HostEvent, HostNews, ProviderSeen};
pub use crate::lattice::model::host::{FromHost, Host, Protocol};
pub use crate::lattice::model::inventory::{
    Actor, ActorInstance, Inventory, Listed, Provider, listed,
};
pub use crate::lattice::model::link::{Claims, Link, LinkView};
pub use crate::lattice::model::registry::RegistryLogin;
pub use crate::lattice::model::running::{Group, Running, total};
pub use crate::lattice::model::text_map::{TextMap, contains};
