//! Keeps what is known of the hosts of a lattice fresh: pings, and the events of hosts.

pub mod learn;
mod pings;
mod watch;
