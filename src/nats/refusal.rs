//! Reads the errors by which a server refuses a message or a subscription. Source of
//! the wording: `sendErr` in `server/client.go` of nats-server.

use async_nats::{Event, ServerError};

use crate::error::quoted;

/// Most bytes that are kept of the subject that a server names. Ours are shorter; one that
/// was cut is none of ours.
const MAX_SUBJECT: usize = 1024;
/// Most bytes that are kept of a server's words: messages quote fewer.
const MAX_WORDS: usize = 256;

/// A message or a subscription that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether it is a subscription; else it is a message.
    pub subscription: bool,
    /// Its subject, or that of its reply; empty where the server does not name it.
    pub subject: String,
    /// The server's words, or the beginning of them.
    pub words: String,
}

/// What the server says of a subscription that is one too many. It names no subject.
const TOO_MANY_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";

impl Refusal {
    /// Returns the refusal that an event of the connection reports, if it is one.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::ServerError(error) => Self::parse(&error.to_string()),
            _ => None,
        }
    }

    /// Returns whether the server does not say which subscription it refused.
    pub fn is_unnamed(&self) -> bool {
        self.subject.is_empty()
    }

    /// Returns whether permissions forbid it; else the user has as many subscriptions as
    /// it may have.
    pub fn is_permission(&self) -> bool {
        !self.words.eq_ignore_ascii_case(TOO_MANY_SUBSCRIPTIONS)
    }

    /// Reads the words of a server: `Permissions Violation for Publish to "x"`,
    /// `… for Publish with Reply of "x"`, `… for Subscription to "x"`, or that
    /// there are too many subscriptions.
    fn parse(text: &str) -> Option<Self> {
        let words = without_prefix(text);
        if words.eq_ignore_ascii_case(TOO_MANY_SUBSCRIPTIONS) {
            return Some(Self {
                subscription: true,
                subject: String::new(),
                words: beginning(words, MAX_WORDS),
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
            subject: beginning(rest.split('"').next()?, MAX_SUBJECT),
            words: beginning(words, MAX_WORDS),
        })
    }
}

/// Returns so many bytes from the beginning of a text, or a few less: a server can say
/// very much, and what it says is kept for a while, for each call that waits.
fn beginning(text: &str, most: usize) -> String {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

/// Returns a server's words for messages and logs: quoted and cut, so that they cannot
/// forge a line.
pub fn words(said: &ServerError) -> String {
    quoted(without_prefix(&said.to_string()))
}

/// Returns a server's words without the prefix that async-nats adds.
pub fn without_prefix(text: &str) -> &str {
    text.strip_prefix("nats: ").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_servers_are_read() {
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
        let long = "é".repeat(1 << 20);
        for words in [
            format!(r#"Subscription to "{long}""#),
            format!(r#"Publish to "a{long}""#),
        ] {
            let read = Refusal::parse(&format!("nats: Permissions Violation for {words}")).unwrap();
            assert!((MAX_SUBJECT - 1..=MAX_SUBJECT).contains(&read.subject.len()));
            assert!((MAX_WORDS - 1..=MAX_WORDS).contains(&read.words.len()));
        }
        for other in [
            "nats: stale connection",
            "nats: Permissions Violation for x",
        ] {
            assert_eq!(Refusal::parse(other), None);
        }
    }
}
