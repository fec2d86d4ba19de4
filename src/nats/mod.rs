//! What both sides of the provider need of NATS: where servers are, how to
//! prove who we are, and how a connection behaves.

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

pub use crate::nats::access::{Access, Login};
pub use crate::nats::allowed_servers::{AllowedServers, Forbidden};
pub use crate::nats::error_feed::ErrorFeed;
pub use crate::nats::jwt_and_seed::{LoginMembers, is_armoured};
pub use crate::nats::kv_removal::is_removal;
pub use crate::nats::own_lattice::{OpenRequests, OwnLattice};
pub use crate::nats::payload_limit::{PayloadLimit, is_payload_violation};
pub use crate::nats::refusal::{Refusal, without_prefix, words};
pub use crate::nats::servers::Servers;
pub use crate::nats::tls::{Tls, TlsFileError};

/// Formatted text, for which there is room at once.
pub fn text(room: usize, text: fmt::Arguments<'_>) -> String {
    let mut written = String::with_capacity(room);
    // A string takes whatever is written to it.
    let _ = written.write_fmt(text);
    written
}
