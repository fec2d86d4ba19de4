//! What the server does not let our credentials do, told to those who wait for
//! it: a refused publish or subscription has no answer of its own, and would
//! look like silence.

use async_nats::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Refusals kept for those who are slow to hear of them.
const KEPT: usize = 1024;

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
    pub(super) fn of(event: &Event) -> Option<Self> {
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

/// Where refusals are told.
#[derive(Clone)]
pub(super) struct Refusals(broadcast::Sender<Refusal>);

impl Default for Refusals {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Refusals {
    pub(super) fn tell(&self, refusal: Refusal) {
        // Nobody waits: nobody is harmed.
        let _ = self.0.send(refusal);
    }

    /// Those told from now on.
    pub(super) fn heard(&self) -> Heard {
        Heard(self.0.subscribe())
    }
}

/// Refusals from some moment on.
pub struct Heard(broadcast::Receiver<Refusal>);

impl Heard {
    /// Waits for one that names one of these subjects.
    pub async fn naming(self, subjects: &[impl AsRef<str>]) -> Refusal {
        self.of(|subject| subjects.iter().any(|ours| ours.as_ref() == subject))
            .await
    }

    /// Waits for one of a subject that is `ours`.
    pub async fn of(mut self, ours: impl Fn(&str) -> bool) -> Refusal {
        loop {
            match self.0.recv().await {
                Ok(refusal) if ours(&refusal.subject) => return refusal,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
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

    #[tokio::test]
    async fn a_refusal_is_heard_by_those_whom_it_concerns() {
        let refusals = Refusals::default();
        let (one, two) = (refusals.heard(), refusals.heard());
        for subject in ["a", "b"] {
            refusals.tell(Refusal {
                subscription: false,
                subject: subject.into(),
            });
        }
        assert_eq!(one.naming(&["b"]).await.subject, "b");
        assert_eq!(two.naming(&["c", "a"]).await.subject, "a");
    }
}
