//! What connections to lattices and the connection to our own NATS share: servers,
//! logins, TLS, the errors that servers report, and JetStream.

use std::fmt::{self, Write as _};

mod access;
mod allowed_servers;
pub mod error_feed;
pub mod jetstream;
mod jwt_and_seed;
mod kv_removal;
mod own_lattice;
mod payload_limit;
mod refusal;
mod servers;
mod tls;
mod url;

pub use crate::nats::access::{Access, AccessError, Login};
pub use crate::nats::allowed_servers::{AllowedServers, Forbidden};
pub use crate::nats::error_feed::ErrorFeed;
pub use crate::nats::jwt_and_seed::{LoginMembers, LoginTextError, is_armoured};
pub use crate::nats::kv_removal::is_removal;
pub use crate::nats::own_lattice::OwnLattice;
pub use crate::nats::payload_limit::{PayloadLimit, is_payload_violation};
pub use crate::nats::refusal::{Refusal, without_prefix, words};
pub use crate::nats::servers::{Servers, address};
pub use crate::nats::tls::{Tls, TlsFileError};

/// Formats a text in a single allocation of `room` bytes, if it fits there.
pub fn text(room: usize, text: fmt::Arguments<'_>) -> String {
    let mut written = String::with_capacity(room);
    // Writing to a string cannot fail.
    let _ = written.write_fmt(text);
    written
}
