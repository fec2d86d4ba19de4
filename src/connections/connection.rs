//! A NATS connection to one or more lattices.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::client::PublishError;
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Subject};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::connections::failure::DialFailure;
use crate::connections::inbox::{Expected, Inbox, Replies, Reply};
use crate::connections::permissions::{InboxPermission, PermissionErrors, Refusal, RefusalReader};
use crate::connections::reports::{Loss, Reported};
use crate::connections::room::{AnswerRoom, NoRoom, Room};
use crate::connections::sizes::{MessageNumber, Sending, Sizes};
use crate::connections::unfinished::UnfinishedMessages;
use crate::connections::usage::Usage;
use crate::error::Error;
use crate::lock::Lock;
use crate::name::LatticeId;

/// How long the server of a connection may take to answer after a request got no
/// answer. Pings alone would find a dead connection only after minutes.
const SERVER_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

static EPOCHS: AtomicU64 = AtomicU64::new(0);

/// A connection to a NATS server. When it breaks it stays broken: its supervisor
/// makes another one.
pub struct Connection {
    client: Client,
    address: Arc<str>,
    epoch: u64,
    pub(super) reports: watch::Receiver<Reported>,
    errors: PermissionErrors,
    sizes: Arc<Sizes>,
    inbox: Inbox,
    pub(super) usage: Usage,
    /// Notified when a request got no answer: the connection may be dead.
    pub(super) doubted: Notify,
    /// Cancelled when nobody needs the connection any more.
    released: CancellationToken,
    /// Its place among all connections, until it is retired.
    pub(super) permit: Lock<Option<OwnedSemaphorePermit>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.released.cancel();
        // Without this, messages that were published last are lost.
        if let Ok(runtime) = Handle::try_current() {
            let client = self.client.clone();
            runtime.spawn(async move {
                let _ = client.drain().await;
            });
        }
    }
}

impl Connection {
    /// Opens the inbox of a client that connected; `None` where the server has closed
    /// the connection.
    pub(super) async fn open(
        client: Client,
        address: Arc<str>,
        reports: watch::Receiver<Reported>,
        errors: PermissionErrors,
        sizes: Arc<Sizes>,
    ) -> Option<Self> {
        let released = CancellationToken::new();
        let prefix = client.new_inbox();
        errors.set_inbox(Inbox::subject(&prefix));
        let inbox = Inbox::open(&client, &prefix, errors.clone(), released.clone()).await?;
        Some(Self {
            client,
            inbox,
            address,
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
            reports,
            errors,
            sizes,
            usage: Usage::new(),
            doubted: Notify::new(),
            released,
            permit: Lock::new(None),
        })
    }

    /// Has it looked at what arrives.
    pub(super) fn watch(
        &self,
        unfinished: &Arc<UnfinishedMessages>,
        report: Weak<watch::Sender<Reported>>,
    ) {
        let (client, released) = (&self.client, self.released.clone());
        unfinished.watch(client, self.epoch, &self.address, report, released);
    }

    /// The client. A clone of it keeps the connection open: drop it with the call.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request, with headers where there are any. What is returned receives the
    /// answer, which takes this room.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn ask(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        body: Bytes,
        room: Room,
    ) -> Result<SentRequest, NotAsked> {
        self.ensure_inbox().await?;
        let sending = self.sends(bytes_with(headers.as_ref(), &body))?;
        let expected = self.inbox.expect(room);
        let (client, reply) = (&self.client, expected.subject.clone());
        let sent = match headers {
            None => client.publish_with_reply(subject, reply, body).await,
            Some(headers) => {
                let sent = client.publish_with_reply_and_headers(subject, reply, headers, body);
                sent.await
            }
        };
        sent.map_err(NotAsked::Failed)?;
        Ok(SentRequest {
            expected,
            number: sending.number(),
        })
    }

    /// Sends questions in this order. Returns the stream of their answers, which take this
    /// room.
    ///
    /// # Errors
    /// Why they were not sent.
    pub async fn send_questions(
        &self,
        questions: &[&Question],
        room: Room,
    ) -> Result<Replies, NotAsked> {
        self.ensure_inbox().await?;
        let subjects = questions.iter().map(|one| &one.reply);
        let replies = self.inbox.gather(subjects, room);
        for question in questions {
            let _sending = self.sends(question.body.len())?;
            let (to, body) = (question.subject.clone(), question.body.clone());
            let sent = self
                .client
                .publish_with_reply(to, question.reply.clone(), body);
            sent.await.map_err(NotAsked::Failed)?;
        }
        Ok(replies)
    }

    /// Makes sure, as far as that is known, that answers can arrive.
    ///
    /// # Errors
    /// `Unheard` where the server refused the inbox a moment ago.
    async fn ensure_inbox(&self) -> Result<(), NotAsked> {
        match self.errors.inbox_permission() {
            InboxPermission::Allowed => {}
            InboxPermission::Refused(refusal) => return Err(NotAsked::Unheard(refusal)),
            // The server reads the subscription before the request.
            InboxPermission::TryAgain(since) => {
                self.inbox.open_again(&self.client).await;
                self.errors.inbox_tried_again(since);
            }
        }
        Ok(())
    }

    /// Notes that a message of so many bytes, headers included, is about to be sent.
    ///
    /// # Errors
    /// `Oversize` where the server refused one as large lately.
    fn sends(&self, bytes: usize) -> Result<Sending<'_>, NotAsked> {
        // The client itself refuses what is larger than `max_payload`.
        let sent = self.sizes.sends(bytes.min(self.client.max_payload()));
        sent.map_err(|from| NotAsked::Oversize { bytes, from })
    }

    /// Makes a question to be sent with [`Connection::send_questions`].
    pub fn question(&self, subject: Subject, body: Bytes) -> Question {
        let (_, reply) = self.inbox.reply_subject();
        Question {
            subject,
            reply,
            body,
        }
    }

    /// The subject on which answers arrive.
    pub fn inbox(&self) -> &str {
        self.inbox.listens_on()
    }

    /// Returns a token that is cancelled when neither a call nor a binding needs the
    /// connection any more. Tasks in the background end with it.
    pub fn released(&self) -> CancellationToken {
        self.released.clone()
    }

    /// Notes that a request got no answer. Either hosts do not answer, or the
    /// connection is dead: its supervisor asks the server.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Whether its server answers. A permission error is an answer, too, so that
    /// credentials need no permission for this.
    pub async fn server_answers(&self) -> bool {
        let refused = self.refusals_from_now();
        let nobody = self.client.new_inbox().into();
        // Nothing is kept of the answer.
        let room = AnswerRoom::default().empty();
        // A request fails here only after the server refused the inbox: it answered.
        let Ok(mut asked) = self.ask(nobody, None, Bytes::new(), room).await else {
            return true;
        };
        tokio::select! {
            answer = asked.answer() => answer.is_some(),
            _ = refused.of(|_| true) => true,
            () = sleep(SERVER_ANSWERS_WITHIN) => false,
        }
    }

    /// Returns the permission errors from now on.
    pub fn refusals_from_now(&self) -> RefusalReader {
        self.errors.listen()
    }

    /// The number of this connection. What was certain over an earlier one may have
    /// changed since.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether its server is about to stop.
    pub(super) fn is_lame(&self) -> bool {
        self.client.server_info().lame_duck_mode
    }

    /// Gives its place to others: nobody is to use it any more.
    pub(super) fn retire(&self) {
        self.released.cancel();
        drop(self.permit.lock().take());
    }

    /// Returns `; its server said "…"`, where it said anything from this moment on;
    /// else nothing.
    pub fn said_since(&self, then: Instant) -> String {
        self.reports.borrow().loss.said_since(then)
    }

    /// Returns a future that ends when the connection breaks, with what is known of
    /// why.
    ///
    /// # Errors
    /// `NotConnected` where it is broken already.
    pub fn lost_from_now(
        &self,
        lattice: &LatticeId,
    ) -> Result<impl Future<Output = Loss> + use<>, Error> {
        let mut reports = self.reports.clone();
        let now = reports.borrow_and_update().clone();
        if self.client.connection_state() != State::Connected || now.closed {
            let why = format!("it broke just now{}", now.loss.said());
            return Err(DialFailure::Down(why).for_lattice(lattice, &self.address));
        }
        Ok(async move {
            // Where no more reports can come, the connection has ended as well.
            let _ = reports.wait_for(|reported| reported.closed).await;
            reports.borrow().loss.clone()
        })
    }
}

/// Counts the bytes of a message as servers do: headers are written as lines.
fn bytes_with(headers: Option<&HeaderMap>, body: &Bytes) -> usize {
    let Some(headers) = headers else {
        return body.len();
    };
    let line = |(name, value): (usize, usize)| name + value + ": \r\n".len();
    let lines = headers.iter().flat_map(|(name, values)| {
        let name = AsRef::<[u8]>::as_ref(name).len();
        values
            .iter()
            .map(move |value| line((name, value.as_str().len())))
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>() + body.len()
}

/// A question to all who listen on a subject.
pub struct Question {
    /// The subject that it is sent to.
    pub subject: Subject,
    /// The subject of its answers.
    pub reply: Subject,
    body: Bytes,
}

impl Question {
    /// Whether a reply is to this question.
    pub fn is_answered_by(&self, reply: &Message) -> bool {
        reply.subject == self.reply
    }
}

/// A request that was sent.
pub struct SentRequest {
    expected: Expected,
    number: MessageNumber,
}

impl SentRequest {
    /// The subject of its answer.
    pub fn reply(&self) -> &Subject {
        &self.expected.subject
    }

    /// The number of the message.
    pub fn number(&self) -> MessageNumber {
        self.number
    }

    /// Waits for its answer; `None` where the connection is closed.
    pub async fn answer(&mut self) -> Option<Result<Reply, NoRoom>> {
        self.expected.answer().await
    }
}

/// Why a request was certainly not sent.
pub enum NotAsked {
    /// The credentials do not allow to receive answers.
    Unheard(Refusal),
    /// The server refused one as large from these credentials lately.
    Oversize {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes from which on none is taken.
        from: usize,
    },
    /// The client refused it.
    Failed(PublishError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_as_the_lines_that_they_are_sent_as() {
        let mut headers = HeaderMap::new();
        headers.append("KV-Operation", "DEL");
        headers.append("X", "one");
        headers.append("X", "two");
        let sent = "NATS/1.0\r\nKV-Operation: DEL\r\nX: one\r\nX: two\r\n\r\nbody";
        assert_eq!(bytes_with(Some(&headers), &"body".into()), sent.len());
    }
}
