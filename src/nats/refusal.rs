//! What a server does not let a user do. It says so in passing, beside all
//! answers.

use async_nats::Event;

/// A subject that the credentials may not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// May not subscribe to it; else: may not publish to it.
    pub subscription: bool,
    /// The subject.
    pub subject: String,
}

impl Refusal {
    /// What an event of the connection says, if it is one.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::ServerError(error) => Self::parse(&error.to_string()),
            _ => None,
        }
    }

    /// Reads a server's complaint, `Permissions Violation for Publish to "x"` or
    /// `… for Subscription to "x"`.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("Permissions Violation for ")?;
        let (what, rest) = rest.split_once(" to \"")?;
        let subject = rest.split('"').next()?;
        Some(Self {
            subscription: what == "Subscription",
            subject: subject.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_servers_are_read() {
        for (text, subscription, subject) in [
            (
                r#"nats: Permissions Violation for Publish to "wasmbus.ctl.x.ping.hosts""#,
                false,
                "wasmbus.ctl.x.ping.hosts",
            ),
            (
                r#"nats: Permissions Violation for Subscription to "_INBOX.aB" using queue "q""#,
                true,
                "_INBOX.aB",
            ),
        ] {
            let subject = subject.to_owned();
            let read = Refusal::parse(text).unwrap();
            assert_eq!(
                read,
                Refusal {
                    subscription,
                    subject
                }
            );
        }
        assert_eq!(Refusal::parse("nats: stale connection"), None);
    }
}
