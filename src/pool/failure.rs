//! Why there is no connection, and what it means that a server does not take us:
//! servers say it in words, and async-nats passes most of them on as IO errors.

use std::error::Error as StdError;
use std::{io, iter};

use async_nats::{ConnectError, ConnectErrorKind, ServerError, rustls};

use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::Forbidden;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DialFailure {
    /// The server refused the credentials.
    #[error("the credentials were rejected: {0}")]
    Rejected(String),
    /// The provider may not connect there. Nothing was sent.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// No server could be reached.
    #[error("{0}")]
    Unreachable(String),
    /// There was one, and it is being made again.
    #[error("{0}")]
    Down(String),
    /// There may be no more.
    #[error("{0}")]
    Limit(String),
    /// The dial itself was cut off, as at the end of the process.
    #[error("given up")]
    Aborted,
}

impl DialFailure {
    pub(super) fn for_lattice(self, lattice: &LatticeId, address: &str) -> Error {
        let lattice = lattice.as_str();
        match self {
            Self::Rejected(why) => Error::new(
                Kind::CredentialsRejected,
                format!(
                    "lattice {lattice:?}: the NATS server at {address} rejected the credentials \
                     ({why}); set others"
                ),
            ),
            Self::Forbidden(why) => Error::new(Kind::Denied, format!("lattice {lattice:?}: {why}")),
            Self::Unreachable(why) => Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {lattice:?}: no connection to {address} ({why}); \
                     check the URL and the network"
                ),
            ),
            Self::Down(why) => Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {lattice:?}: the connection to {address} is down and being made \
                     again ({why}); nothing was sent, try again"
                ),
            ),
            Self::Limit(why) => Error::new(
                Kind::LimitReached,
                format!("lattice {lattice:?}: no connection to {address}: {why}"),
            ),
            Self::Aborted => Error::new(
                Kind::NotConnected,
                format!("lattice {lattice:?}: the connection to {address} was given up"),
            ),
        }
    }
}

/// Words of servers that refuse credentials, in small letters.
const REJECTIONS: [&str; 6] = [
    "authorization violation",
    "authentication expired",
    "authentication revoked",
    "account expired",
    "maximum account active connections exceeded",
    "failed account registration",
];

/// Why a dial failed.
pub(super) fn failure(error: &ConnectError) -> DialFailure {
    let why = match error.source() {
        Some(cause) => without_prefix(&cause.to_string()),
        None => error.kind().to_string(),
    };
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            DialFailure::Rejected(why)
        }
        _ if is_rejection(&why) => DialFailure::Rejected(why),
        ConnectErrorKind::Tls => DialFailure::Unreachable(format!("TLS: {why}")),
        _ if is_of_tls(error) => DialFailure::Unreachable(format!("TLS: {why}")),
        _ if error
            .source()
            .is_some_and(|cause| cause.is::<ServerError>()) =>
        {
            DialFailure::Unreachable(why)
        }
        _ => DialFailure::Unreachable(error.to_string()),
    }
}

/// Whether a server that says this does not take the credentials.
fn is_rejection(text: &str) -> bool {
    let small = text.to_lowercase();
    REJECTIONS.iter().any(|words| small.contains(words))
}

/// Without what async-nats puts in front of a server's words.
fn without_prefix(text: &str) -> String {
    let words = text.split_once("nats: ").map_or(text, |(_, words)| words);
    words.to_owned()
}

fn is_of_tls(error: &ConnectError) -> bool {
    let mut causes = iter::successors(error.source(), |&cause| cause.source());
    causes.any(|cause| {
        // An IO error is not the cause of itself, but holds it.
        let held = cause.downcast_ref().and_then(io::Error::get_ref);
        cause.is::<rustls::Error>() || held.is_some_and(|held| held.is::<rustls::Error>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: &ConnectError) -> (bool, String) {
        match failure(error) {
            DialFailure::Rejected(why) => (true, why),
            DialFailure::Unreachable(why) => (false, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_of_servers_tell_refused_credentials_from_everything_else() {
        use ConnectErrorKind::{AuthorizationViolation, Io, TimedOut};
        for (kind, words, rejected) in [
            (
                AuthorizationViolation,
                "nats: authorization violation",
                true,
            ),
            (
                Io,
                "nats: maximum account active connections exceeded",
                true,
            ),
            (Io, "nats: User Authentication Expired", true),
            (Io, "nats: User Authentication Revoked", true),
            (Io, "nats: Account Authentication Expired", true),
            (Io, "nats: maximum connections exceeded", false),
            (Io, "nats: Authentication Timeout", false),
            (Io, "Connection refused (os error 111)", false),
            (TimedOut, "timed out", false),
        ] {
            let (is, why) = of(&ConnectError::with_source(kind, words));
            assert_eq!(is, rejected, "{words}");
            let bare = words.strip_prefix("nats: ").unwrap_or(words);
            assert!(why.contains(bare), "{why}");
        }
        let full = ServerError::Other("maximum connections exceeded".into());
        let (rejected, why) = of(&ConnectError::with_source(Io, full));
        assert!(!rejected && why == "maximum connections exceeded", "{why}");
        let (rejected, why) = of(&ConnectError::new(AuthorizationViolation));
        assert!(rejected && why == "authorization violation", "{why}");
    }

    #[test]
    fn what_is_wrong_with_tls_is_said_to_be_that() {
        let expired = || {
            let expired = rustls::CertificateError::Expired;
            io::Error::other(rustls::Error::InvalidCertificate(expired))
        };
        for error in [
            ConnectError::from(expired()),
            ConnectError::with_source(ConnectErrorKind::Tls, expired()),
        ] {
            let (rejected, why) = of(&error);
            assert!(!rejected, "{why}");
            assert_eq!(why, "TLS: invalid peer certificate: Expired");
        }
    }
}
