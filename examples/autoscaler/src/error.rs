//! Why no command was given.

use std::fmt;

use wasmbus_rpc::error::RpcError;

/// Why a run failed. No command was given.
#[derive(Debug)]
pub enum Error {
    /// The request cannot work: this is every mistake in it.
    Request(Vec<String>),
    /// The provider did not accept the credentials of the lattice.
    Credentials {
        /// The lattice.
        lattice: String,
        /// What the provider says.
        why: String,
    },
    /// The hosts of the lattice could not be listed: it is unknown or out of
    /// reach, or the link of the actor does not allow it.
    Hosts {
        /// The lattice.
        lattice: String,
        /// What the provider says.
        source: RpcError,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(mistakes) => {
                write!(f, "the request cannot work: {}", mistakes.join("; "))
            }
            Self::Credentials { lattice, why } => write!(
                f,
                "the credentials of lattice {lattice:?} were not taken, nothing was ordered: {why}"
            ),
            Self::Hosts { lattice, source } => write!(
                f,
                "the hosts of lattice {lattice:?} are not known, nothing was ordered: {source}"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Hosts { source, .. } => Some(source),
            Self::Request(_) | Self::Credentials { .. } => None,
        }
    }
}
