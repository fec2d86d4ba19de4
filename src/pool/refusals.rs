//! What the server does not let our credentials do, told to those who wait for
//! it: a refused publish or subscription has no answer of its own, and would
//! look like silence.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

pub use crate::nats::Refusal;

/// Refusals kept for those who are slow to hear of them.
const KEPT: usize = 1024;

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
