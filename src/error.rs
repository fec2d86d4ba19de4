//! What can go wrong with a call.
//!
//! An operation that answers with `CtlOperationAck` says `accepted: false` where the call
//! was certainly not carried out. Everything else, and everything that another operation
//! cannot do, is an error of the protocol by which the call came. [`Kind`] decides which is
//! which, in one place; the doors (`front`) turn an [`Error`] into their protocol.

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot work: a member is missing or malformed.
    Invalid,
    /// The link of the actor does not allow it.
    Denied,
    /// More calls are under way than the provider takes on, or what was ordered
    /// before is not done yet.
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
    /// Nobody listens where the request would go.
    NoResponders,
    /// What must be known before an order could not be learned.
    NothingSent,
    /// The host said no, or would do something else than was asked.
    Refused,
    /// The lattice's hosts speak a protocol that this provider does not.
    Unsupported,
    /// The request was sent and nobody answered in time.
    Timeout,
    /// The request was sent and the connection broke before the answer.
    ConnectionLost,
    /// The request was sent, and the credentials do not allow to hear the answer.
    Unheard,
    /// The answer came and cannot be read.
    BadReply,
    /// Some of several orders were carried out, and one was not.
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

    /// Short name for logs.
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

/// A failed call: a stable [`Kind`] for programs and a sentence for people that
/// says what failed, where, why and what to do. Never holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of this kind; `message` is shown to the actor and in logs.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The request cannot work.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Why the call failed.
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

    /// Returns this error of a question that a command asked before it sent anything:
    /// whatever became of the question, nothing was carried out.
    pub fn before_order(self) -> Self {
        if self.kind.certainly_not_carried_out() {
            return self;
        }
        Self::new(
            Kind::NothingSent,
            format!("{}; nothing was sent", self.message),
        )
    }
}

/// The text of a decoding error without the values it quotes: they may be
/// secrets, and serde puts them into its messages.
///
/// ```
/// use lattice_controller::error::without_values;
/// let text = r#"invalid type: string "SUAM…\" x", expected u16"#;
/// assert_eq!(without_values(text), r#"invalid type: string "…", expected u16"#);
/// let text = "invalid value: integer `70000`, expected u16";
/// assert_eq!(without_values(text), "invalid value: integer `…`, expected u16");
/// assert_eq!(without_values("missing field `link`"), "missing field `link`");
/// ```
pub fn without_values(text: &str) -> String {
    /// What serde calls a value before it quotes it; names of members are in
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

/// A value that somebody else chose, for use in a message: quoted, escaped and
/// cut to 80 characters.
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 80;
    if value.chars().count() > SHOWN {
        let head: String = value.chars().take(SHOWN).collect();
        format!("{head:?}…")
    } else {
        format!("{value:?}")
    }
}

/// Words that somebody else chose, as they are, for the end of a message: cut
/// to 1,000 characters.
pub fn cut(words: &str) -> String {
    const KEPT: usize = 1000;
    match words.char_indices().nth(KEPT) {
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
