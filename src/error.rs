//! What can go wrong with a call.
//!
//! An operation that answers with `CtlOperationAck` says `accepted: false` where the call
//! was certainly not carried out. Everything else, and everything that another operation
//! cannot do, is an error of the protocol by which the call came. [`Kind`] decides which is
//! which, in one place; the doors (`front`) turn an [`Error`] into their protocol.

use std::sync::Arc;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot work: a member is missing or malformed.
    Invalid,
    /// The link of the actor does not allow it.
    Denied,
    /// The provider has more calls in flight than it takes, an earlier command has not
    /// taken effect yet, or there is no room for the answer to a question.
    Busy,
    /// The provider may have no more lattices, connections or dials.
    LimitReached,
    /// The provider is stopping.
    Stopping,
    /// The provider's own settings, or the link's, are wrong.
    Misconfigured,
    /// No credentials were set for this lattice.
    UnknownLattice,
    /// Credentials can be neither kept nor read where they are kept.
    StoreUnavailable,
    /// The NATS server refused the credentials of this lattice.
    CredentialsRejected,
    /// There is no connection to the lattice.
    NotConnected,
    /// The credentials of this lattice do not allow the request.
    NotPermitted,
    /// Nobody is subscribed to the subject of the request.
    NoResponders,
    /// A command was not sent, because a query that must come before it failed.
    NothingSent,
    /// The host refused, or would do something else than was asked.
    Refused,
    /// The lattice's hosts speak a protocol that this provider does not.
    Unsupported,
    /// The request was sent and nobody answered in time.
    Timeout,
    /// The request was sent and the connection broke before the answer.
    ConnectionLost,
    /// The request was sent, and the credentials do not allow to receive the answer.
    Unheard,
    /// The answer came and cannot be read.
    BadReply,
    /// Of several commands, some were carried out and one was not.
    Partial,
    /// A fault of the provider.
    Internal,
}

impl Kind {
    /// Whether it is certain that the request changed nothing.
    pub fn certainly_not_carried_out(self) -> bool {
        !matches!(
            self,
            Self::Timeout
                | Self::ConnectionLost
                | Self::Unheard
                | Self::BadReply
                | Self::Partial
                | Self::Internal
        )
    }

    /// Returns the short name for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::LimitReached => "limit_reached",
            Self::Stopping => "stopping",
            Self::Misconfigured => "misconfigured",
            Self::UnknownLattice => "unknown_lattice",
            Self::StoreUnavailable => "store_unavailable",
            Self::CredentialsRejected => "credentials_rejected",
            Self::NotConnected => "not_connected",
            Self::NotPermitted => "not_permitted",
            Self::NoResponders => "no_responders",
            Self::NothingSent => "nothing_sent",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Unheard => "unheard",
            Self::BadReply => "bad_reply",
            Self::Partial => "partial",
            Self::Internal => "internal",
        }
    }
}

/// Why a call failed: a stable [`Kind`] for programs, and a sentence for people that says what
/// failed, where, why and what to do. It never holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    /// The error below, where there is one. Actors do not get it.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of this kind. Actors and logs get the message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the error that caused this one.
    pub fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Makes an error of kind `Invalid`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the sentence for the caller of a command, which also says so where it is
    /// unknown whether the command was carried out.
    pub fn into_message_of_command(self) -> String {
        if self.kind.certainly_not_carried_out() || self.kind == Kind::Partial {
            self.message
        } else {
            let message = self.message;
            format!("{message}; it is unknown whether the request was carried out")
        }
    }

    /// Returns the error of a query that failed before a command was sent: nothing was
    /// carried out.
    pub fn before_command(self) -> Self {
        if self.kind.certainly_not_carried_out() {
            return self;
        }
        Self {
            kind: Kind::NothingSent,
            message: format!("{}; nothing was sent", self.message),
            source: self.source,
        }
    }
}

/// Returns the text of a decoding error without the values that serde quotes in it: they may be
/// secrets.
///
/// ```
/// use lattice_controller::internals::error::without_values;
/// let text = r#"invalid type: string "SUAM…\" x", expected u16"#;
/// assert_eq!(without_values(text), r#"invalid type: string "…", expected u16"#);
/// let text = "invalid value: integer `70000`, expected u16";
/// assert_eq!(without_values(text), "invalid value: integer `…`, expected u16");
/// assert_eq!(without_values("missing field `link`"), "missing field `link`");
/// ```
pub fn without_values(text: &str) -> String {
    /// The words that serde puts before a value in backticks. Names of members are in
    /// backticks, too, and stay.
    const VALUES: [&str; 4] = ["integer ", "floating point ", "boolean ", "character "];
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let quote = match c {
            '"' => true,
            '`' => VALUES.iter().any(|value| out.ends_with(value)),
            _ => false,
        };
        out.push(c);
        if !quote {
            continue;
        }
        out.push('…');
        loop {
            match chars.next() {
                Some('\\') => drop(chars.next()),
                Some(end) if end == c => {
                    out.push(end);
                    break;
                }
                Some(_) => {}
                None => return out,
            }
        }
    }
    out
}

/// Returns a value that somebody else chose, for use in a message: in quotes, escaped and cut
/// to 80 characters.
pub fn quoted(value: &str) -> String {
    const MOST: usize = 80;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// Returns words that somebody else chose, for the end of a message: cut to 1,000 characters,
/// and otherwise as they are.
pub fn cut(words: &str) -> String {
    const MOST: usize = 1000;
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_said_to_be_unknown() {
        let message = |kind| Error::new(kind, "host N said").into_message_of_command();
        assert_eq!(message(Kind::NoResponders), "host N said");
        assert!(message(Kind::Timeout).contains("unknown whether"));
    }

    #[test]
    fn long_and_odd_values_are_cut_and_escaped() {
        assert_eq!(quoted("a\r\nb"), r#""a\r\nb""#);
        assert!(quoted(&"x".repeat(500)).chars().count() < 90);
        assert_eq!(cut("a\nb"), "a\nb");
        assert_eq!(cut(&"é".repeat(5000)).chars().count(), 1001);
    }
}
