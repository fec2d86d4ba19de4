//! What the server does not let our credentials do, told to those who wait for
//! it: a refused publish or subscription has no answer of its own, and would
//! look like silence.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use crate::nats::Refusal;
use crate::nats::error_feed::{self, ErrorFeed, Notice};

/// How long a refused subscription is not tried again.
const REFUSAL_COUNTS_FOR: Duration = Duration::from_secs(5);

/// What is known of the subject that is kept in mind.
pub(crate) enum Minded {
    /// Nothing against it.
    Allowed,
    /// It was refused a moment ago.
    Refused(Refusal),
    /// It was refused at this moment, and is to be subscribed to again.
    TryAgain(Instant),
}

#[derive(Default)]
struct InMind {
    subject: OnceLock<String>,
    refused: Mutex<Option<(Refusal, Instant)>>,
    /// Something was heard on it.
    proved: AtomicBool,
}

impl InMind {
    fn refused(&self) -> MutexGuard<'_, Option<(Refusal, Instant)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where refusals are told.
#[derive(Clone, Default)]
pub(crate) struct Refusals {
    told: ErrorFeed,
    /// A subject that is told once and counts on, and when it was.
    minded: Arc<InMind>,
}

impl Refusals {
    pub(crate) fn tell(&self, mut refusal: Refusal) {
        let minded = self.minded.subject.get();
        // The subject that is kept in mind was subscribed to first. Whatever is
        // one too many before anything is heard on it can be nothing else.
        if let (true, Some(subject)) = (refusal.is_unnamed() && !self.is_proved(), minded) {
            refusal.subject.clone_from(subject);
        }
        if minded == Some(&refusal.subject) {
            *self.minded.refused() = Some((refusal.clone(), Instant::now()));
        }
        self.told.publish(Notice::Refusal(refusal));
    }

    /// Keeps in mind whether this subject is refused, from now on.
    pub(crate) fn mind(&self, subject: String) {
        let _ = self.minded.subject.set(subject);
    }

    /// Takes that something was heard on that subject.
    pub(crate) fn prove(&self) {
        self.minded.proved.store(true, Ordering::Relaxed);
    }

    fn is_proved(&self) -> bool {
        self.minded.proved.load(Ordering::Relaxed)
    }

    /// Whether the subject that is kept in mind was refused. After a while it
    /// is worth another attempt: permissions are mended.
    pub(crate) fn minded(&self) -> Minded {
        match &*self.minded.refused() {
            None => Minded::Allowed,
            Some((refusal, at)) if at.elapsed() < REFUSAL_COUNTS_FOR => {
                Minded::Refused(refusal.clone())
            }
            Some((_, at)) => Minded::TryAgain(*at),
        }
    }

    /// Takes that it was subscribed to again, after the refusal of this moment. Until
    /// then, nobody takes it for allowed.
    pub(crate) fn tried_again(&self, since: Instant) {
        let mut minded = self.minded.refused();
        if minded.as_ref().is_some_and(|(_, at)| *at == since) {
            *minded = None;
        }
    }

    /// Those told from now on.
    pub(crate) fn heard(&self) -> Heard {
        Heard(self.told.subscribe())
    }
}

/// Refusals from some moment on.
pub struct Heard(error_feed::ErrorReader);

impl Heard {
    /// Waits for one that names one of these subjects.
    pub async fn naming(self, subjects: &[impl AsRef<str>]) -> Refusal {
        self.of(|refusal| {
            subjects
                .iter()
                .any(|ours| *ours.as_ref() == refusal.subject)
        })
        .await
    }

    /// Waits for one that is `ours`.
    pub async fn of(mut self, ours: impl Fn(&Refusal) -> bool) -> Refusal {
        self.0.find(|word| one(word, &ours)).await
    }

    /// One that is `ours`, of those told already.
    pub fn now(mut self, ours: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
        self.0.find_now(|word| one(word, &ours))
    }
}

fn one(word: &Notice, ours: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
    match word {
        Notice::Refusal(refusal) if ours(refusal) => Some(refusal.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(subject: &str) -> Refusal {
        Refusal {
            subscription: true,
            subject: subject.into(),
            words: "no".into(),
        }
    }

    #[tokio::test]
    async fn a_refusal_is_heard_by_those_whom_it_concerns() {
        let refusals = Refusals::default();
        let (one, two) = (refusals.heard(), refusals.heard());
        for subject in ["a", "b"] {
            refusals.tell(refusal(subject));
        }
        assert_eq!(one.naming(&["b"]).await.subject, "b");
        assert_eq!(two.naming(&["c", "a"]).await.subject, "a");
    }

    #[tokio::test]
    async fn one_subscription_too_many_is_the_first_until_something_was_heard_on_it() {
        let refusals = Refusals::default();
        refusals.mind("inbox".into());
        refusals.tell(refusal(""));
        assert!(matches!(refusals.minded(), Minded::Refused(no) if no.subject == "inbox"));
        let refusals = Refusals::default();
        refusals.mind("inbox".into());
        refusals.prove();
        let heard = refusals.heard();
        refusals.tell(refusal(""));
        assert!(matches!(refusals.minded(), Minded::Allowed));
        assert!(heard.of(Refusal::is_unnamed).await.is_unnamed());
    }
}
