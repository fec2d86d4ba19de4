//! A NATS connection to one or more lattices.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::PublishError;
use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, HeaderMap, Message, ServerAddr, Subject};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::connections::failure::{DialFailure, failure};
use crate::connections::inbox::{Expected, Inbox, Replies};
use crate::connections::permissions::{Heard, Minded, Refusal, Refusals};
use crate::connections::reach::connect_once;
use crate::connections::reports::{Loss, OfLogin, Reported, on_event};
use crate::connections::sizes::{Sending, Sizes};
use crate::connections::usage::Uses;
use crate::error::Error;
use crate::name::LatticeId;
use crate::nats::Access;

/// How long a server may take to answer a dial; less where there is another.
const ONLY_SERVER_ANSWERS_IN: Duration = Duration::from_secs(5);
const ONE_OF_SEVERAL_ANSWERS_IN: Duration = Duration::from_millis(1200);
/// How long the server of a connection that is in doubt may take to answer. Its
/// pings alone would take minutes to tell.
const SERVER_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Pause between pings of a server where nothing else is heard of it. They only
/// find that a connection is dead which nobody uses (a call that meets silence
/// asks at once), and keep open what proxies would close after a minute.
const PING_EVERY: Duration = Duration::from_secs(45);
/// Bytes that are read at once, and stay in memory with every connection. What is
/// larger is read in pieces.
const READ_BUFFER: u16 = 8 * 1024;

static EPOCHS: AtomicU64 = AtomicU64::new(0);

/// A connection that was made once. Where it breaks it is broken for good;
/// the slot's keeper has another one made.
pub struct Connection {
    client: Client,
    address: String,
    epoch: u64,
    state: watch::Receiver<Reported>,
    refusals: Refusals,
    sizes: Arc<Sizes>,
    inbox: Inbox,
    uses: Uses,
    /// Told when a question found silence: the connection may be deaf.
    doubted: Arc<Notify>,
    /// Cancelled when nobody needs the connection any more.
    released: CancellationToken,
    /// The right to be one, until it is retired.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.released.cancel();
        // What was published last reaches the server only so.
        if let Ok(runtime) = Handle::try_current() {
            let client = self.client.clone();
            runtime.spawn(async move {
                let _ = client.drain().await;
            });
        }
    }
}

impl Connection {
    /// Connects to one of `servers`, which are some of `access`, and have been
    /// checked: each is tried once, in any order. `permit` is the right to be a
    /// connection.
    pub(crate) async fn dial(
        access: &Access,
        mut servers: Vec<ServerAddr>,
        name: &str,
        login: &Arc<OfLogin>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, DialFailure> {
        let answers_in = match servers.len() {
            1 => ONLY_SERVER_ANSWERS_IN,
            _ => ONE_OF_SEVERAL_ANSWERS_IN,
        };
        let order = RandomState::new();
        servers.sort_by_key(|server| order.hash_one(server));
        let mut why = DialFailure::Unreachable("it has no server".into());
        for server in servers {
            let (report, state) = watch::channel(Reported::default());
            let refusals = Refusals::default();
            let sizes = Arc::new(Sizes::new(login.oversize.clone()));
            let options = access
                .options_for(name.to_owned(), &server)
                .connection_timeout(answers_in)
                .ping_interval(PING_EVERY)
                .read_buffer_capacity(READ_BUFFER)
                .event_callback(on_event(
                    access.address(),
                    report,
                    refusals.clone(),
                    sizes.clone(),
                    login.clone(),
                ));
            match connect_once(options, server.clone()).await {
                Ok(client) => {
                    let released = CancellationToken::new();
                    let prefix = client.new_inbox();
                    refusals.mind(Inbox::subject(&prefix));
                    let inbox =
                        Inbox::open(&client, &prefix, refusals.clone(), released.clone()).await;
                    let Some(inbox) = inbox else {
                        why = DialFailure::Unreachable("it closed the connection".into());
                        continue;
                    };
                    return Ok(Self {
                        client,
                        inbox,
                        address: access.address(),
                        epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
                        state,
                        refusals,
                        sizes,
                        uses: Uses::new(),
                        doubted: Arc::default(),
                        released,
                        permit: Mutex::new(Some(permit)),
                    });
                }
                Err(error) => {
                    let rejected = matches!(why, DialFailure::Rejected(_));
                    // What one server says of the credentials counts more than
                    // that another one is away.
                    why = match rejected {
                        true => why,
                        false => failure(&error, &server, access.tls()),
                    };
                    if is_refused_login(error.kind()) {
                        break;
                    }
                }
            }
        }
        Err(why)
    }

    /// The client. Drop clones of it with the call: they keep the connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request, of which the answer is waited for until this is dropped.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn ask(&self, subject: Subject, body: Bytes) -> Result<Asked, NotAsked> {
        self.ask_with(subject, None, body).await
    }

    /// The same, with headers where there are any.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub async fn ask_with(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        body: Bytes,
    ) -> Result<Asked, NotAsked> {
        self.may_hear().await?;
        let sending = self.sends(bytes_with(headers.as_ref(), &body))?;
        let expected = self.inbox.expect();
        let (client, reply) = (&self.client, expected.subject.clone());
        let sent = match headers {
            None => client.publish_with_reply(subject, reply, body).await,
            Some(headers) => {
                let sent = client.publish_with_reply_and_headers(subject, reply, headers, body);
                sent.await
            }
        };
        sent.map_err(NotAsked::Failed)?;
        Ok(Asked {
            expected,
            sent: Sent(sending.number()),
        })
    }

    /// Sends questions, in this order. Their answers come in the order in which
    /// they arrive, until what is returned is dropped.
    ///
    /// # Errors
    /// Why they were not sent.
    pub async fn ask_all(&self, questions: &[&Question]) -> Result<Replies, NotAsked> {
        self.may_hear().await?;
        let replies = self.inbox.gather(questions.iter().map(|one| &one.reply));
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

    /// Makes sure, as far as it is known, that answers are heard.
    async fn may_hear(&self) -> Result<(), NotAsked> {
        match self.refusals.minded() {
            Minded::Allowed => {}
            Minded::Refused(refusal) => return Err(NotAsked::Unheard(refusal)),
            // Before the request, and in the order in which the server hears.
            Minded::TryAgain(since) => {
                self.inbox.open_again(&self.client).await;
                self.refusals.tried_again(since);
            }
        }
        Ok(())
    }

    /// Takes that a message of so many bytes, headers included, is about to be sent.
    ///
    /// # Errors
    /// `Oversize` where the server took none as large lately.
    fn sends(&self, bytes: usize) -> Result<Sending<'_>, NotAsked> {
        // What is larger goes nowhere: the client refuses it by itself.
        let sent = self.sizes.sends(bytes.min(self.client.max_payload()));
        sent.map_err(|from| NotAsked::Oversize { bytes, from })
    }

    /// A question, not asked yet.
    pub fn question(&self, subject: Subject, body: Bytes) -> Question {
        let (_, reply) = self.inbox.reply_subject();
        Question {
            subject,
            reply,
            body,
        }
    }

    /// The subject on which answers are heard.
    pub fn inbox(&self) -> &str {
        self.inbox.heard_on()
    }

    /// Cancelled when no call and no binding needs the connection any more. What
    /// runs in the background, and keeps it open, ends with this.
    pub fn released(&self) -> CancellationToken {
        self.released.clone()
    }

    /// Takes that a question found silence. Hosts may be silent, or the network:
    /// which of them shows a question to the server.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Told when somebody doubts it.
    pub(crate) fn doubts(&self) -> Arc<Notify> {
        self.doubted.clone()
    }

    /// Whether its server answers. A refusal is an answer, too, so that
    /// credentials need no permission for this.
    pub async fn answers(&self) -> bool {
        let refused = self.refusals_from_now();
        let nobody = self.client.new_inbox().into();
        // Who may not hear was told so by the server.
        let Ok(mut asked) = self.ask(nobody, Bytes::new()).await else {
            return true;
        };
        tokio::select! {
            answer = asked.answer() => answer.is_some(),
            _ = refused.of(|_| true) => true,
            () = sleep(SERVER_ANSWERS_WITHIN) => false,
        }
    }

    /// What the server does not let the credentials do, from now on.
    pub fn refusals_from_now(&self) -> Heard {
        self.refusals.heard()
    }

    /// Tells it from every other: what was known for sure over one may have
    /// changed before the next.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether its server is about to stop.
    pub(crate) fn is_lame(&self) -> bool {
        self.client.server_info().lame_duck_mode
    }

    /// Gives its place to others: nobody is to use it any more.
    pub(crate) fn retire(&self) {
        self.released.cancel();
        let permit = self.permit.lock();
        drop(permit.unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Who uses it.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// What it reports from now on.
    pub(crate) fn reports(&self) -> watch::Receiver<Reported> {
        self.state.clone()
    }

    /// `; its server said "…"`, where it said anything from this moment on.
    pub fn said_since(&self, then: Instant) -> String {
        self.state.borrow().loss.said_since(then)
    }

    /// Ends when the connection, up now, breaks; what is known of why.
    ///
    /// # Errors
    /// `NotConnected` when it is not up now.
    pub fn lost_from_now(
        &self,
        lattice: &LatticeId,
    ) -> Result<impl Future<Output = Loss> + use<>, Error> {
        let mut state = self.state.clone();
        let now = state.borrow_and_update().clone();
        if self.client.connection_state() != State::Connected || now.closed {
            let why = format!("it broke just now{}", now.loss.said());
            return Err(DialFailure::Down(why).for_lattice(lattice, &self.address));
        }
        Ok(async move {
            // No more reports: what would make them has ended, and the connection
            // with it.
            let _ = state.wait_for(|state| state.closed).await;
            state.borrow().loss.clone()
        })
    }
}

/// Bytes of a message, as servers count them: its headers are written as lines.
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
    /// Where it goes.
    pub subject: Subject,
    /// Where the answers go.
    pub reply: Subject,
    body: Bytes,
}

impl Question {
    /// Whether a reply is to this question.
    pub fn is_answered_by(&self, reply: &Message) -> bool {
        reply.subject == self.reply
    }
}

/// What tells a message that was sent from others over the same connection.
#[derive(Clone, Copy, Debug)]
pub struct Sent(pub(crate) Option<u64>);

/// A request that was sent.
pub struct Asked {
    expected: Expected,
    sent: Sent,
}

impl Asked {
    /// Where its answer goes.
    pub fn reply(&self) -> &Subject {
        &self.expected.subject
    }

    /// What tells it from others.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Its answer; `None` where the connection is closed.
    pub async fn answer(&mut self) -> Option<Message> {
        self.expected.answer().await
    }
}

/// Why a request was certainly not sent.
pub enum NotAsked {
    /// The credentials do not allow to hear answers.
    Unheard(Refusal),
    /// The server took none as large of these credentials lately.
    Oversize {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes from which on none is taken.
        from: usize,
    },
    /// The client did not take it.
    Failed(PublishError),
}

/// The others of a list would not let such a login in, either.
fn is_refused_login(kind: ConnectErrorKind) -> bool {
    matches!(
        kind,
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
    )
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
