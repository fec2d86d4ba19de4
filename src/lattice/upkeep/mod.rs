//! Keeps what is known of the hosts of a lattice fresh: pings, and the events of hosts.

mod flood;
pub mod learn;
mod news;
mod pings;
mod watch;
