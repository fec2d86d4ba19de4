//! What the server does not let our credentials do, told to those who wait for
//! it: a refused publish or subscription has no answer of its own, and would
//! look like silence.

use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

pub use crate::nats::Refusal;

/// Refusals kept for those who are slow to hear of them. Every connection has
/// room for so many.
const KEPT: usize = 64;

/// Where refusals are told.
#[derive(Clone)]
pub(super) struct Refusals {
    told: broadcast::Sender<Refusal>,
    /// A subject that is told once and counts for ever, and whether it was.
    minded: Arc<(OnceLock<String>, OnceLock<Refusal>)>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            told: broadcast::Sender::new(KEPT),
            minded: Arc::default(),
        }
    }
}

impl Refusals {
    pub(super) fn tell(&self, refusal: Refusal) {
        let (subject, refused) = &*self.minded;
        if subject.get() == Some(&refusal.subject) {
            let _ = refused.set(refusal.clone());
        }
        // Nobody waits: nobody is harmed.
        let _ = self.told.send(refusal);
    }

    /// Keeps in mind whether this subject is refused, from now on.
    pub(super) fn mind(&self, subject: String) {
        let _ = self.minded.0.set(subject);
    }

    /// That the subject that is kept in mind was refused, if it was.
    pub(super) fn minded(&self) -> Option<Refusal> {
        self.minded.1.get().cloned()
    }

    /// Those told from now on.
    pub(super) fn heard(&self) -> Heard {
        Heard(self.told.subscribe())
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
