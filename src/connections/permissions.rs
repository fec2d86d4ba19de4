//! Permission errors of a connection, passed on to the calls that wait: a refused
//! publish or subscription has no answer of its own, and would look like silence.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::lock::Lock;
pub use crate::nats::Refusal;
use crate::nats::error_feed::{self, ErrorFeed, Notice};

/// How long the inbox is not subscribed to again after that was refused.
const REFUSAL_COUNTS_FOR: Duration = Duration::from_secs(5);

/// Whether the credentials may subscribe to the inbox of the connection.
pub(super) enum InboxPermission {
    /// Nothing speaks against it.
    Allowed,
    /// It was refused a moment ago.
    Refused(Refusal),
    /// It was refused at this moment, long enough ago to subscribe again.
    TryAgain(Instant),
}

/// What is known of the inbox.
#[derive(Default)]
struct InboxState {
    subject: OnceLock<String>,
    refused: Lock<Option<(Refusal, Instant)>>,
    /// Whether a message arrived on it.
    works: AtomicBool,
}

/// The permission errors of one connection.
#[derive(Clone, Default)]
pub(super) struct PermissionErrors {
    feed: ErrorFeed,
    inbox: Arc<InboxState>,
}

impl PermissionErrors {
    /// Passes an error on to all who listen.
    pub(super) fn tell(&self, mut refusal: Refusal) {
        let inbox = self.inbox.subject.get();
        let works = self.inbox.works.load(Ordering::Relaxed);
        // The inbox is the first subscription. An error that names none, before
        // anything arrived on the inbox, can only be about it.
        if let (true, Some(subject)) = (refusal.is_unnamed() && !works, inbox) {
            refusal.subject.clone_from(subject);
        }
        if inbox == Some(&refusal.subject) {
            *self.inbox.refused.lock() = Some((refusal.clone(), Instant::now()));
        }
        self.feed.publish(Notice::Refusal(refusal));
    }

    /// Says which subject the inbox is, before it is subscribed to.
    pub(super) fn set_inbox(&self, subject: String) {
        let _ = self.inbox.subject.set(subject);
    }

    /// Notes that a message arrived on the inbox.
    pub(super) fn inbox_works(&self) {
        self.inbox.works.store(true, Ordering::Relaxed);
    }

    /// Whether the inbox was refused. After a while it is worth another attempt,
    /// since somebody may have granted the permission.
    pub(super) fn inbox_permission(&self) -> InboxPermission {
        match &*self.inbox.refused.lock() {
            None => InboxPermission::Allowed,
            Some((refusal, at)) if at.elapsed() < REFUSAL_COUNTS_FOR => {
                InboxPermission::Refused(refusal.clone())
            }
            Some((_, at)) => InboxPermission::TryAgain(*at),
        }
    }

    /// Notes that the inbox was subscribed to again after the refusal of this
    /// moment. Before that it does not count as allowed.
    pub(super) fn inbox_tried_again(&self, since: Instant) {
        let mut refused = self.inbox.refused.lock();
        if refused.as_ref().is_some_and(|(_, at)| *at == since) {
            *refused = None;
        }
    }

    /// Returns a listener for the errors from now on.
    pub(super) fn listen(&self) -> RefusalReader {
        RefusalReader(self.feed.subscribe())
    }
}

/// Reads the permission errors from some moment on.
pub struct RefusalReader(error_feed::ErrorReader);

impl RefusalReader {
    /// Waits for one that is `ours`.
    pub async fn of(mut self, ours: impl Fn(&Refusal) -> bool) -> Refusal {
        self.next_of(ours).await
    }

    /// Waits for the next one that is `ours`.
    pub async fn next_of(&mut self, ours: impl Fn(&Refusal) -> bool) -> Refusal {
        self.0.find(|notice| refusal_of(notice, &ours)).await
    }

    /// Returns one that is `ours` and came already.
    pub fn now(mut self, ours: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
        self.0.find_now(|notice| refusal_of(notice, &ours))
    }
}

fn refusal_of(notice: &Notice, ours: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
    match notice {
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
    async fn a_permission_error_reaches_those_who_wait_for_its_subject() {
        let errors = PermissionErrors::default();
        let (one, two) = (errors.listen(), errors.listen());
        for subject in ["a", "b"] {
            errors.tell(refusal(subject));
        }
        let names = |subject: &'static str| move |error: &Refusal| error.subject == subject;
        assert_eq!(one.of(names("b")).await.subject, "b");
        assert_eq!(two.of(names("a")).await.subject, "a");
    }

    #[tokio::test]
    async fn an_error_that_names_no_subscription_is_about_the_inbox_until_a_message_arrives() {
        let errors = PermissionErrors::default();
        errors.set_inbox("inbox".into());
        errors.tell(refusal(""));
        assert!(
            matches!(errors.inbox_permission(), InboxPermission::Refused(no) if no.subject == "inbox")
        );
        let errors = PermissionErrors::default();
        errors.set_inbox("inbox".into());
        errors.inbox_works();
        let heard = errors.listen();
        errors.tell(refusal(""));
        assert!(matches!(
            errors.inbox_permission(),
            InboxPermission::Allowed
        ));
        assert!(heard.of(Refusal::is_unnamed).await.is_unnamed());
    }
}
