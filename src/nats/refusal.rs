//! What a server says in passing, beside all answers: what it does not let a user
//! do. Source of the wording: `sendErr` in `server/client.go` of nats-server.

use async_nats::{Event, ServerError};

use crate::error::quoted;

/// Something that the server did not take, and that has no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A subscription was not made; else: a message was not taken.
    pub subscription: bool,
    /// The subject, or that of the reply; empty where the server does not name it.
    pub subject: String,
    /// The server's words.
    pub words: String,
}

/// Said of a subscription that is one too many, without its subject.
const TOO_MANY_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";

impl Refusal {
    /// What an event of the connection says, if it is one.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::ServerError(error) => Self::parse(&error.to_string()),
            _ => None,
        }
    }

    /// Whether it is of a subscription, and the server does not say which.
    pub fn is_unnamed(&self) -> bool {
        self.subject.is_empty()
    }

    /// Whether permissions forbid it; else there are as many as may be.
    pub fn is_permission(&self) -> bool {
        !self.words.eq_ignore_ascii_case(TOO_MANY_SUBSCRIPTIONS)
    }

    /// Reads a server's complaint: `Permissions Violation for Publish to "x"`,
    /// `… for Publish with Reply of "x"`, `… for Subscription to "x"`, or that
    /// there are too many subscriptions.
    fn parse(text: &str) -> Option<Self> {
        let words = without_prefix(text);
        if words.eq_ignore_ascii_case(TOO_MANY_SUBSCRIPTIONS) {
            return Some(Self {
                subscription: true,
                subject: String::new(),
                words: words.to_owned(),
            });
        }
        let rest = words.strip_prefix("Permissions Violation for ")?;
        let (what, rest) = rest.split_once('"')?;
        let subscription = match what {
            "Publish to " | "Publish with Reply of " => false,
            "Subscription to " => true,
            _ => return None,
        };
        Some(Self {
            subscription,
            subject: rest.split('"').next()?.to_owned(),
            words: words.to_owned(),
        })
    }
}

/// A server's words for messages and logs: quoted and cut, so that they can forge
/// no line.
pub fn words(said: &ServerError) -> String {
    quoted(without_prefix(&said.to_string()))
}

/// A server's words, without what async-nats puts in front of them.
pub fn without_prefix(text: &str) -> &str {
    text.strip_prefix("nats: ").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_servers_are_read() {
        for (words, subscription, subject) in [
            (
                r#"Permissions Violation for Publish to "wasmbus.ctl.x.ping.hosts""#,
                false,
                "wasmbus.ctl.x.ping.hosts",
            ),
            (
                r#"Permissions Violation for Publish with Reply of "_INBOX.aB.1""#,
                false,
                "_INBOX.aB.1",
            ),
            (
                r#"Permissions Violation for Subscription to "_INBOX.aB" using queue "q""#,
                true,
                "_INBOX.aB",
            ),
            (
                r#"Permissions Violation for Subscription to "a.b", too many tokens"#,
                true,
                "a.b",
            ),
            ("maximum subscriptions exceeded", true, ""),
        ] {
            let read = Refusal::parse(&format!("nats: {words}")).unwrap();
            let expected = Refusal {
                subscription,
                subject: subject.to_owned(),
                words: words.to_owned(),
            };
            assert_eq!(read, expected);
        }
        for other in [
            "nats: stale connection",
            "nats: Permissions Violation for x",
        ] {
            assert_eq!(Refusal::parse(other), None);
        }
    }
}
