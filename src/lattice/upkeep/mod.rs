//! Keeps what is known of the hosts of a lattice fresh: pings, and the events of hosts.

mod events;
mod flood;
pub mod learn;
mod news;
pub(crate) mod pings;
mod watch;
