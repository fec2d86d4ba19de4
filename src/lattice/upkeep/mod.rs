//! Keeps what is known of the hosts of a lattice fresh: pings, and the events of hosts.

mod news;
mod pings;
mod watch;
