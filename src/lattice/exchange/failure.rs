//! Why a question to a lattice was not sent, or has no answer, in words for callers.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use tokio::time::timeout;

use crate::connections::{Loss, MessageNumber, NoRoom, NotAsked, Refusal};
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::name::HostId;

/// How long after its replies have ended the reason of a broken connection is known.
const REASON_KNOWN_WITHIN: Duration = Duration::from_millis(200);

/// Who gets a request. The text for it is made only where a message needs it.
#[derive(Clone, Copy)]
pub(crate) enum Addressee<'a> {
    Host(&'a Lattice, &'a HostId),
    Hosts(&'a Lattice),
}

impl fmt::Display for Addressee<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(lattice, host) => f.write_str(&lattice.display_host(host)),
            Self::Hosts(lattice) => write!(f, "the hosts of {}", lattice.display_name()),
        }
    }
}

impl Addressee<'_> {
    /// Returns the error of a request for which nobody listens, as the server said.
    pub(super) fn no_responders(self) -> Error {
        Error::new(
            Kind::NoResponders,
            format!(
                "nobody listens for {self}; check the id, that the host runs, \
                 and that the credentials may publish there"
            ),
        )
    }

    /// Returns the error of a request that the reply refuses, for this reason.
    pub(super) fn refused(self, reason: &str) -> Error {
        let reason = match reason {
            "" => "no reason given",
            reason => reason,
        };
        Error::new(Kind::Refused, format!("{self} refused: {reason}"))
    }

    /// Returns the error of a request whose reply cannot be read, for this reason.
    pub(super) fn unreadable(self, problem: impl StdError + Send + Sync + 'static) -> Error {
        Error::new(
            Kind::BadReply,
            format!("{self} answered with something that cannot be read: {problem}"),
        )
        .caused_by(problem)
    }

    /// Returns the error of a question for whose answer there is no room.
    pub(super) fn no_room(self, full: NoRoom) -> Error {
        Error::new(Kind::Busy, format!("{self} answered, and {full}")).caused_by(full)
    }

    /// Returns the error of a request during which the connection broke.
    pub(super) fn lost(self, loss: &Loss, message: MessageNumber) -> Error {
        match loss.refused(message) {
            true => Error::invalid(format!(
                "the request to {self} was not taken, because it or another one before is larger \
                 than its server takes of these credentials; nothing was carried out{}",
                loss.said()
            )),
            false => Error::new(
                Kind::ConnectionLost,
                format!(
                    "the connection broke while {self} had not answered yet{}",
                    loss.said()
                ),
            ),
        }
    }
}

impl Lattice {
    /// Returns the error that says where the credentials may not publish.
    pub(crate) fn may_not_publish(&self, subject: &str) -> Error {
        Error::new(
            Kind::NotPermitted,
            format!(
                "the credentials of {} may not publish to {}",
                self.display_name(),
                printable(subject)
            ),
        )
    }

    /// Returns the error that says what the server refused to the credentials.
    pub(crate) fn not_permitted(&self, refusal: &Refusal) -> Error {
        let (lattice, subject) = (self.display_name(), printable(&refusal.subject));
        match refusal.subscription {
            false => self.may_not_publish(&refusal.subject),
            true if !refusal.is_permission() => Error::new(
                Kind::Unheard,
                format!(
                    "the credentials of {lattice} may have no further subscription, which is \
                     needed to receive answers: its server said {}; have their limit raised",
                    quoted(&refusal.words)
                ),
            ),
            true => Error::new(
                Kind::Unheard,
                format!(
                    "the credentials of {lattice} may not subscribe to {subject}, where \
                     answers go; allow _INBOX.>"
                ),
            ),
        }
    }

    /// Returns the error that says why the request was not sent.
    pub(super) fn not_asked(&self, to: Addressee<'_>, error: NotAsked) -> Error {
        match error {
            NotAsked::Unheard(refusal) => self.not_permitted(&refusal).before_command(),
            NotAsked::Oversize { bytes, from } => Error::invalid(format!(
                "the request to {to} has {bytes} bytes, and its server lately took none of \
                 {from} bytes of these credentials (Maximum Payload Violation); nothing was sent"
            )),
            NotAsked::Failed(error) => {
                let failed = match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded => Error::invalid(format!(
                        "the request to {to} is larger than its NATS server takes: {error}"
                    )),
                    PublishErrorKind::InvalidSubject => {
                        Error::invalid(format!("the request to {to} has no valid subject"))
                    }
                    PublishErrorKind::Send => Error::new(
                        Kind::NotConnected,
                        format!(
                            "the connection to {} is closed; nothing was sent",
                            self.display_name()
                        ),
                    ),
                };
                failed.caused_by(error)
            }
        }
    }
}

/// Waits for the reason why a connection broke, of which the replies have ended already.
pub(crate) async fn reason_of_loss(lost: impl Future<Output = Loss>) -> Loss {
    let reason = timeout(REASON_KNOWN_WITHIN, lost).await;
    reason.unwrap_or_default()
}

/// Makes a subject that a server names fit for a message: ours are plain, and anything
/// else is quoted.
fn printable(subject: &str) -> String {
    let plain = subject.len() <= 300 && subject.bytes().all(|byte| byte.is_ascii_graphic());
    match plain {
        true => subject.to_owned(),
        false => quoted(subject),
    }
}
