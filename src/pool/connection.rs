//! A NATS connection to one or more lattices.

use std::future::{Future, Ready, ready};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::PublishError;
use async_nats::connection::State;
use async_nats::{
    Client, ClientError, ConnectErrorKind, Event, Message, Request, ServerAddr, Subject,
};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::failure::{DialFailure, failure};
use super::inbox::{Expected, Inbox};
use super::reach::connect_once;
use super::refusals::{Heard, Minded, Refusal, Refusals};
use super::uses::Uses;
use crate::error::{Error, quoted};
use crate::name::LatticeId;
use crate::nats::{Access, Bursts, Complaints};

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

/// What the connection reported last.
#[derive(Clone, Default)]
pub(super) struct Reported {
    /// It broke, or was closed; it will not connect again.
    pub(super) closed: bool,
    /// The server is about to stop.
    pub(super) lame: bool,
    /// What the server said when it closed it.
    pub(super) why: Option<String>,
}

impl Connection {
    /// Connects to one of `servers`, which are some of `access`, and have been
    /// checked: each is tried once, in any order. `permit` is the right to be a
    /// connection.
    pub(super) async fn dial(
        access: &Access,
        mut servers: Vec<ServerAddr>,
        name: &str,
        limits: &Arc<LogLimits>,
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
            let options = access
                .options(name.to_owned())
                .ignore_discovered_servers()
                .connection_timeout(answers_in)
                .ping_interval(PING_EVERY)
                .read_buffer_capacity(READ_BUFFER)
                .event_callback(on_event(
                    access.address(),
                    report,
                    refusals.clone(),
                    limits.clone(),
                ));
            match connect_once(options, server).await {
                Ok(client) => {
                    let released = CancellationToken::new();
                    let prefix = client.new_inbox();
                    refusals.mind(Inbox::subject(&prefix));
                    let inbox = Inbox::open(&client, &prefix, released.clone()).await;
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
                    why = if rejected { why } else { failure(&error) };
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
        match self.refusals.minded() {
            Minded::Allowed => {}
            Minded::Refused(refusal) => return Err(NotAsked::Unheard(refusal)),
            // Before the request, and in the order in which the server hears.
            Minded::TryAgain => self.inbox.open_again(&self.client).await,
        }
        let expected = self.inbox.expect();
        let reply = expected.subject.clone();
        let sent = self.client.publish_with_reply(subject, reply, body);
        match sent.await {
            Ok(()) => Ok(Asked(expected)),
            Err(error) => Err(NotAsked::Failed(error)),
        }
    }

    /// The subject on which answers to requests are heard.
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
    pub(super) fn doubts(&self) -> Arc<Notify> {
        self.doubted.clone()
    }

    /// Whether its server answers. A refusal is an answer, too, so that
    /// credentials need no permission for this.
    pub(super) async fn answers(&self) -> bool {
        let refused = self.refusals_from_now();
        let nobody = self.client.new_inbox();
        // With an inbox of its own: the shared one would stay.
        let request = Request::new().timeout(None).inbox(self.client.new_inbox());
        let asked = self.client.send_request(nobody, request);
        tokio::select! {
            _ = asked => true,
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
    pub(super) fn is_lame(&self) -> bool {
        self.client.server_info().lame_duck_mode
    }

    /// Gives its place to others: nobody is to use it any more.
    pub(super) fn retire(&self) {
        self.released.cancel();
        let permit = self.permit.lock();
        drop(permit.unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Who uses it.
    pub(super) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// What it reports from now on.
    pub(super) fn reports(&self) -> watch::Receiver<Reported> {
        self.state.clone()
    }

    /// Ends when the connection, up now, breaks.
    ///
    /// # Errors
    /// `NotConnected` when it is not up now.
    pub fn lost_from_now(
        &self,
        lattice: &LatticeId,
    ) -> Result<impl Future<Output = ()> + use<>, Error> {
        let mut state = self.state.clone();
        let is_closed = state.borrow_and_update().closed;
        if self.client.connection_state() != State::Connected || is_closed {
            let broke = DialFailure::Down("it broke just now".into());
            return Err(broke.for_lattice(lattice, &self.address));
        }
        Ok(async move {
            if state.wait_for(|state| state.closed).await.is_err() {
                // No more reports: the connection lives on without them.
                std::future::pending::<()>().await;
            }
        })
    }
}

/// A request that was sent.
pub struct Asked(Expected);

impl Asked {
    /// Its answer; `None` where the connection is closed.
    pub async fn answer(&mut self) -> Option<Message> {
        self.0.answer().await
    }
}

/// Why a request was certainly not sent.
pub enum NotAsked {
    /// The credentials do not allow to hear answers.
    Unheard(Refusal),
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

/// What is done with what a connection tells.
fn on_event(
    address: String,
    report: watch::Sender<Reported>,
    refusals: Refusals,
    limits: Arc<LogLimits>,
) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
    move |event| {
        report.send_modify(|reported| reported.take(&event));
        match Refusal::of(&event) {
            Some(refusal) => {
                log_refusal(&address, &event, &limits);
                refusals.tell(refusal);
            }
            None => log(&address, &event, &limits),
        }
        ready(())
    }
}

impl Reported {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Disconnected
            | Event::Closed
            | Event::ClientError(ClientError::MaxReconnects) => self.closed = true,
            Event::LameDuckMode => self.lame = true,
            Event::ServerError(error) if Refusal::of(event).is_none() => {
                self.why = Some(error.to_string());
            }
            _ => {}
        }
    }
}

/// Keeps each cause from filling the log, and from silencing another.
#[derive(Default)]
pub(super) struct LogLimits {
    slow: Complaints,
    refusals: Complaints,
    news: Bursts,
}

/// Who waits for what is refused is told beside this.
fn log_refusal(address: &str, error: &Event, limits: &LogLimits) {
    match limits.refusals.is_due() {
        true => info!(address, %error, "the credentials do not allow something"),
        false => debug!(address, %error, "the credentials do not allow something"),
    }
}

fn log(address: &str, event: &Event, limits: &LogLimits) {
    match event {
        // Whoever runs the server may say so all the time.
        event if !limits.news.is_due() => debug!(address, %event, "connection event"),
        Event::Connected => info!(address, "connected"),
        Event::Disconnected => warn!(address, "disconnected"),
        Event::LameDuckMode => warn!(address, "the server is about to stop"),
        Event::SlowConsumer(subscription) if limits.slow.is_due() => {
            warn!(
                address,
                subscription, "answers were dropped: read too slowly"
            );
        }
        Event::ServerError(error) => {
            let error = quoted(&error.to_string());
            warn!(address, error, "server error");
        }
        event => debug!(address, %event, "connection event"),
    }
}
