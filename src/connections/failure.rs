//! Why there is no connection. Servers say in words why they refuse a login, and
//! async-nats passes most of these words on as IO errors: here they are understood.
//!
//! Actors choose what is dialled, and anything may answer there. So a message shows
//! words only of a server that has proved to be a NATS server, quoted and cut. What
//! anything else says goes into our log alone.

use std::error::Error as StdError;
use std::{io, iter};

use async_nats::rustls::{self, AlertDescription};
use async_nats::{ConnectError, ConnectErrorKind, ServerAddr, ServerError};

use crate::error::{Error, Kind, quoted};
use crate::name::LatticeId;
use crate::nats::{Forbidden, Tls, words};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DialFailure {
    /// The server refused the credentials.
    #[error("the credentials were rejected: {0}")]
    Rejected(String),
    /// The provider may not connect there (`allowed_servers`). Nothing was sent.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// No server could be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Something else answers there; its words, quoted and cut.
    #[error("what answers there is no NATS server")]
    NotNats(String),
    /// The connection broke, and is being made again.
    #[error("{0}")]
    Down(String),
    /// A limit allows no more connections or dials.
    #[error("{0}")]
    Limit(String),
    /// The task that dialled died, as at the end of the process.
    #[error("given up")]
    Aborted,
}

impl DialFailure {
    /// Returns the words of something that is no NATS server, for our log alone.
    pub(super) fn foreign_words(&self) -> Option<&str> {
        match self {
            Self::NotNats(heard) => Some(heard),
            _ => None,
        }
    }

    /// Returns the error of a call to a lattice.
    pub(super) fn for_lattice(self, lattice: &LatticeId, address: &str) -> Error {
        let lattice = lattice.as_str();
        let error = match &self {
            Self::Rejected(why) => Error::new(
                Kind::CredentialsRejected,
                format!(
                    "lattice {lattice:?}: the NATS server at {address} rejected the credentials \
                     ({why}); set others"
                ),
            ),
            Self::Forbidden(why) => Error::new(Kind::Denied, format!("lattice {lattice:?}: {why}")),
            Self::Unreachable(_) | Self::NotNats(_) => Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {lattice:?}: no connection to {address} ({self}); \
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
        };
        error.caused_by(self)
    }
}

/// Words with which servers refuse credentials, in lower case.
const REJECTIONS: [&str; 6] = [
    "authorization violation",
    "authentication expired",
    "authentication revoked",
    "account expired",
    "maximum account active connections exceeded",
    "failed account registration",
];

/// Classifies an error of async-nats when it dialled a server.
pub(super) fn failure(error: &ConnectError, server: &ServerAddr, tls: &Tls) -> DialFailure {
    if let Some(said) = cause_of::<ServerError>(error) {
        let (words, shown) = (said.to_string(), words(said));
        return match is_rejection(&words) {
            true => DialFailure::Rejected(shown),
            false => DialFailure::Unreachable(shown),
        };
    }
    let why = match error.source() {
        Some(cause) => cause.to_string(),
        None => error.kind().to_string(),
    };
    let may_be_first = !server.is_websocket() && !tls.is_first(server);
    let tls_first_hint = match may_be_first {
        true => "; where it expects TLS before anything is said, it belongs in tls_first_servers",
        false => "",
    };
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            return DialFailure::Rejected(why);
        }
        ConnectErrorKind::TimedOut => {
            return DialFailure::Unreachable(format!("nothing was heard in time{tls_first_hint}"));
        }
        _ if why == NOTHING_SAID => {
            let closed = "it closed the connection and had said nothing";
            return DialFailure::Unreachable(format!("{closed}{tls_first_hint}"));
        }
        // The error is about our own files, or our resolver.
        ConnectErrorKind::Tls if tls_error(error).is_none() => {
            return DialFailure::Unreachable(format!("TLS: {why}"));
        }
        ConnectErrorKind::Dns => return DialFailure::Unreachable(why),
        _ => {}
    }
    if let Some(wrong) = tls_error(error) {
        let hint = hint_of_tls(wrong, server, tls);
        return DialFailure::Unreachable(format!("TLS: {}{hint}", printable(&wrong.to_string())));
    }
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match cause_of::<io::Error>(error) {
        Some(cause)
            if matches!(
                cause.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
            ) =>
        {
            hung_up(tls_first_hint, server, tls)
        }
        _ if why == "broken pipe" => hung_up(tls_first_hint, server, tls),
        // The words of the operating system.
        Some(cause) if cause.raw_os_error().is_some() => DialFailure::Unreachable(why),
        _ => DialFailure::NotNats(quoted(&why)),
    }
}

/// The words of async-nats where a connection closes before a byte came.
const NOTHING_SAID: &str = "expected INFO, got nothing";

/// Whether a server refuses the credentials with these words.
fn is_rejection(text: &str) -> bool {
    let small = text.to_lowercase();
    REJECTIONS.iter().any(|words| small.contains(words))
}

fn hung_up(tls_first_hint: &str, server: &ServerAddr, tls: &Tls) -> DialFailure {
    let certificate = match tls.shows_certificate_to(server) {
        true => "",
        false => "; where it asks for a certificate, it belongs in tls_client_servers",
    };
    let closed = "it closed the connection before the login was over";
    DialFailure::Unreachable(format!("{closed}{tls_first_hint}{certificate}"))
}

/// Returns the setting that may help, for the end of a message.
fn hint_of_tls(wrong: &rustls::Error, server: &ServerAddr, tls: &Tls) -> &'static str {
    use AlertDescription::{BadCertificate, CertificateRequired, HandshakeFailure};
    match wrong {
        rustls::Error::AlertReceived(BadCertificate | CertificateRequired | HandshakeFailure)
            if !tls.shows_certificate_to(server) =>
        {
            "; the provider shows its certificate to the servers in tls_client_servers only"
        }
        rustls::Error::InvalidMessage(_) if tls.is_first(server) => {
            "; it does not begin with TLS, and is in tls_first_servers"
        }
        _ => "",
    }
}

/// Returns a text that can be shown. A certificate of the other side may have put
/// names into it.
fn printable(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && c.is_ascii();
    match text.chars().count() <= 300 && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// Returns the first cause of an error that is of this type.
fn cause_of<T: StdError + 'static>(error: &ConnectError) -> Option<&T> {
    let mut causes = iter::successors(error.source(), |&cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref())
}

/// Whether TLS failed, on either side.
pub(super) fn is_about_tls(error: &ConnectError) -> bool {
    error.kind() == ConnectErrorKind::Tls || tls_error(error).is_some()
}

fn tls_error(error: &ConnectError) -> Option<&rustls::Error> {
    let mut causes = iter::successors(error.source(), |&cause| cause.source());
    causes.find_map(|cause| {
        // An IO error does not return what it wraps as its source.
        let held = cause.downcast_ref().and_then(io::Error::get_ref);
        let held = held.and_then(|held| held.downcast_ref());
        held.or_else(|| cause.downcast_ref())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::{Access, Login, Servers};

    fn server(url: &str) -> ServerAddr {
        let access = Access::parse(url, Login::Anonymous).unwrap();
        access.servers()[0].clone()
    }

    fn of(error: &ConnectError) -> (bool, String) {
        match failure(error, &server("h"), &Tls::default()) {
            DialFailure::Rejected(why) => (true, why),
            DialFailure::Unreachable(why) => (false, why),
            other => panic!("{other:?}"),
        }
    }

    fn said(words: &str) -> ConnectError {
        let said = ServerError::Other(words.to_owned());
        ConnectError::with_source(ConnectErrorKind::Io, said)
    }

    #[test]
    fn words_of_servers_tell_refused_credentials_from_everything_else() {
        use ConnectErrorKind::AuthorizationViolation;
        for (words, rejected) in [
            ("maximum account active connections exceeded", true),
            ("User Authentication Expired", true),
            ("User Authentication Revoked", true),
            ("Account Authentication Expired", true),
            ("maximum connections exceeded", false),
            ("Authentication Timeout", false),
        ] {
            let (is, why) = of(&said(words));
            assert_eq!((is, why), (rejected, quoted(words)));
        }
        let violation = ServerError::AuthorizationViolation;
        let error = ConnectError::with_source(AuthorizationViolation, violation);
        assert_eq!(of(&error), (true, "\"authorization violation\"".into()));
        let (rejected, why) = of(&ConnectError::new(AuthorizationViolation));
        assert!(rejected && why == "authorization violation", "{why}");
    }

    #[test]
    fn words_are_quoted_and_cut_and_only_those_of_nats_servers_are_shown() {
        let words = format!("\x1b[31mred\nERROR forged {}", "x".repeat(1_000_000));
        let (_, why) = of(&said(&words));
        assert!(why.len() < 200 && !why.contains(char::is_control), "{why}");
        use io::ErrorKind::{InvalidInput, Other};
        let banner = || format!("invalid server operation: 'SSH-2.0-x{words}'");
        for error in [
            ConnectError::from(io::Error::new(InvalidInput, banner())),
            ConnectError::from(io::Error::new(Other, banner())),
            ConnectError::with_source(ConnectErrorKind::Io, banner()),
            // It came before INFO, whatever it says.
            ConnectError::with_source(
                ConnectErrorKind::Io,
                "expected INFO, got Error(Other(\"authorization violation\"))",
            ),
        ] {
            let failure = failure(&error, &server("h"), &Tls::default());
            assert_eq!(failure.to_string(), "what answers there is no NATS server");
            let heard = failure.foreign_words().unwrap();
            assert!(
                heard.len() < 200 && !heard.contains(char::is_control),
                "{heard}"
            );
            let shown = failure.for_lattice(&LatticeId::parse("x").unwrap(), "h:1");
            let shown = shown.to_string();
            assert!(
                !shown.contains("SSH") && !shown.contains("violation"),
                "{shown}"
            );
        }
        let refused = io::Error::from_raw_os_error(111);
        let (_, why) = of(&refused.into());
        assert!(why.contains("Connection refused"), "{why}");
    }

    #[test]
    fn silence_names_the_setting_for_servers_that_begin_with_tls() {
        let first = Servers::parse(["first"]).unwrap();
        let tls = Tls {
            first_servers: first,
            ..Tls::default()
        };
        for error in [
            ConnectError::new(ConnectErrorKind::TimedOut),
            ConnectError::with_source(ConnectErrorKind::Io, NOTHING_SAID),
            io::Error::from(io::ErrorKind::ConnectionReset).into(),
            io::Error::from_raw_os_error(104).into(),
            ConnectError::with_source(ConnectErrorKind::Io, "broken pipe"),
        ] {
            let names_it = |url: &str| {
                let failure = failure(&error, &server(url), &tls);
                assert!(
                    matches!(failure, DialFailure::Unreachable(_)),
                    "{failure:?}"
                );
                failure.to_string().contains("tls_first_servers")
            };
            assert!(names_it("h") && names_it("tls://h"));
            assert!(!names_it("tls://first") && !names_it("ws://h"), "{error}");
        }
    }

    #[test]
    fn a_server_that_asks_for_a_certificate_names_the_setting_unless_it_got_one() {
        use AlertDescription::{BadCertificate, CertificateRequired, HandshakeFailure};
        let tls = Tls {
            client_servers: Servers::parse(["named"]).unwrap(),
            cert_file: Some("c".into()),
            key_file: Some("k".into()),
            ..Tls::default()
        };
        for alert in [BadCertificate, CertificateRequired, HandshakeFailure] {
            let alert = rustls::Error::AlertReceived(alert);
            let error = ConnectError::from(io::Error::other(alert));
            let names_it = |url: &str| {
                let why = failure(&error, &server(url), &tls).to_string();
                assert!(why.starts_with("TLS: received fatal alert: "), "{why}");
                why.contains("tls_client_servers")
            };
            assert!(names_it("h") && !names_it("named"));
        }
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
