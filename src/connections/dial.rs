//! Dials the servers of a lattice, within the limits of the provider.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, ReconnectToServer, ServerAddr,
};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::connections::capacity::Capacity;
use crate::connections::connection::Connection;
use crate::connections::destinations::{Lookups, reachable, resolve_by_system};
use crate::connections::failure::{DialFailure, failure, is_about_tls};
use crate::connections::permissions::PermissionErrors;
use crate::connections::reports::{LoginHistory, Reported, on_event};
use crate::connections::sizes::Sizes;
use crate::connections::unfinished::{MOST_IN_A_DIAL, UnfinishedMessages};
use crate::connections::ways::{Way, Ways};
use crate::credentials::SharedCredentials;
use crate::fair::{Attempt, Permit};
use crate::lock::Lock;
use crate::nats::{Access, AllowedServers, Tls};

/// Longest that one dial takes, however many servers, addresses and names there are:
/// other dials wait for its place.
const DIAL_ENDS_AFTER: Duration = Duration::from_secs(8);
/// How long an address may take to answer: less where async-nats tries several, one after
/// the other.
const ADDRESS_ANSWERS_IN: Duration = Duration::from_secs(5);
const ONE_OF_SEVERAL_ANSWERS_IN: Duration = Duration::from_millis(1200);
/// How long after one way to the servers the next is tried as well: the first that answers
/// counts.
const NEXT_WAY_AFTER: Duration = Duration::from_millis(250);
/// How long a dial goes on that failed before, where others of its kind need its place. A
/// server that is well answers sooner.
const FAILED_GIVES_WAY_AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks whether a dial may give way.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Pause between pings of a server where nothing else arrives from it. They keep open
/// what proxies would close after a minute, and find dead connections that nobody
/// uses: a call that gets no answer has the server asked at once.
const PING_EVERY: Duration = Duration::from_secs(45);
/// Bytes that are read at once. The buffer stays in memory with every connection;
/// larger messages are read in pieces.
const READ_BUFFER: u16 = 8 * 1024;

/// Most messages of a subscription that wait to be read: further ones are dropped. All
/// answers to a gather may come at once.
const MOST_QUEUED: usize = 16 * 1024;

/// An address where nobody is, and to which nothing is sent: operating systems refuse
/// TCP to a multicast address at once.
const NOWHERE: &str = "nats://239.255.255.255:1";
/// How long the streams of a broken connection stay open, so that their readers learn
/// first that it broke.
const STREAMS_END_AFTER: Duration = Duration::from_millis(100);

/// Makes connections.
pub(super) struct Dialer {
    /// The name of connections at servers.
    pub(super) name: String,
    /// Where they may go.
    pub(super) allowed: AllowedServers,
    pub(super) tls: Tls,
    pub(super) capacity: Capacity,
    /// Looks at what arrives over the connections.
    pub(super) unfinished: Arc<UnfinishedMessages>,
}

impl Dialer {
    /// Dials, within the limits. Gives way to other dials where no call waits for it, and
    /// after a while where it failed before.
    pub(super) async fn dial(
        &self,
        credentials: &SharedCredentials,
        login: &Arc<LoginHistory>,
        attempt: &Attempt,
        is_awaited: &(impl Fn() -> bool + Sync),
    ) -> Result<Connection, DialFailure> {
        if let Some(why) = credentials.expired() {
            return Err(DialFailure::Rejected(why));
        }
        let place = self.capacity.reserve_dial(attempt).await?;
        if !attempt.is_spare && !is_awaited() {
            return Err(DialFailure::Aborted);
        }
        let permit = self.capacity.reserve_connection(attempt).await?;
        let servers = self.dial_servers(credentials, login, attempt);
        let unreachable = |why: &str| Err(DialFailure::Unreachable(why.into()));
        let dialled = tokio::select! {
            dialled = timeout(DIAL_ENDS_AFTER, servers) => {
                dialled.unwrap_or_else(|_| unreachable("no server answered in time"))
            }
            () = gives_way(&place, attempt, is_awaited) => match attempt.is_spare {
                // A call that waits for it since this moment dials anew.
                true => Err(DialFailure::Aborted),
                false => unreachable("no server answered soon, and another dial needed the place (max_dials)"),
            }
        };
        let mut connection = dialled?;
        connection.permit = Lock::new(Some(permit));
        Ok(connection)
    }

    /// Tries each way to the servers once, in random order of servers. A way that answers
    /// late does not keep the next one waiting.
    async fn dial_servers(
        &self,
        credentials: &SharedCredentials,
        login: &Arc<LoginHistory>,
        attempt: &Attempt,
    ) -> Result<Connection, DialFailure> {
        let access = credentials.access().clone().with_tls(self.tls.clone());
        let lookups = Lookups {
            places: &self.capacity.lookups,
            attempt,
            resolver: resolve_by_system,
        };
        let located = reachable(&self.allowed, access.servers(), &lookups).await?;
        let has_tls = login.has_tls.load(Ordering::Relaxed);
        let mut ways = Ways::new(located, |server| has_tls || self.tls.is_first(server));
        let (access, address) = (&access, credentials.address());
        let dial = |way: Way| async move {
            let dialled = self.dial_server(access, &way, address.clone(), login).await;
            (way, dialled)
        };
        let mut under_way = FuturesUnordered::new();
        let mut why = DialFailure::Unreachable("it has no server".into());
        loop {
            match ways.next() {
                Some(way) => under_way.push(dial(way)),
                None if under_way.is_empty() => return Err(why),
                None => {}
            }
            let (way, dialled) = tokio::select! {
                Some(ended) = under_way.next() => ended,
                () = sleep(NEXT_WAY_AFTER), if ways.has_more() => continue,
            };
            let error = match dialled {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) => {
                    why = DialFailure::Unreachable("it closed the connection".into());
                    continue;
                }
                Err(error) => error,
            };
            if way.is_by_address() && is_about_tls(&error) {
                // Its certificate is for its name.
                login.has_tls.store(true, Ordering::Relaxed);
                ways.by_name_instead(way.server);
                continue;
            }
            // What one server says of the credentials counts more than that another one
            // is away.
            if !matches!(why, DialFailure::Rejected(_)) {
                why = failure(&error, &way.server, access.tls());
            }
            if is_refused_login(error.kind()) {
                return Err(why);
            }
        }
    }

    /// Connects to one server; `None` where it closes the connection at once.
    async fn dial_server(
        &self,
        access: &Access,
        way: &Way,
        address: Arc<str>,
        login: &Arc<LoginHistory>,
    ) -> Result<Option<Connection>, ConnectError> {
        let (report, reports) = watch::channel(Reported::default());
        let report = Arc::new(report);
        let to_report = Arc::downgrade(&report);
        let errors = PermissionErrors::default();
        let sizes = Arc::new(Sizes::new(login.oversize.clone()));
        let answers_in = match way.addresses {
            1 => ADDRESS_ANSWERS_IN,
            _ => ONE_OF_SEVERAL_ANSWERS_IN,
        };
        let options = access
            .options_for(self.name.clone(), &way.server)
            .connection_timeout(answers_in)
            .ping_interval(PING_EVERY)
            .read_buffer_capacity(READ_BUFFER)
            .subscription_capacity(MOST_QUEUED)
            .event_callback(on_event(
                address.clone(),
                report,
                errors.clone(),
                sizes.clone(),
                login.clone(),
            ));
        let client = connect_once(options, way.to.clone()).await?;
        let connection = Connection::open(client, address, reports, errors, sizes).await;
        if let Some(connection) = &connection {
            connection.watch(&self.unfinished, to_report);
        }
        Ok(connection)
    }
}

/// Waits until a dial must give its place to another one.
async fn gives_way(place: &Permit, attempt: &Attempt, is_awaited: impl Fn() -> bool) {
    let began = Instant::now();
    loop {
        let by_own = place.needed().await;
        let had_its_time = began.elapsed() >= FAILED_GIVES_WAY_AFTER;
        let failed_before = !attempt.is_first() && !attempt.is_spare;
        if !is_awaited() || (by_own && failed_before && had_its_time) {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether the other servers of a list would refuse the login, too.
fn is_refused_login(kind: ConnectErrorKind) -> bool {
    matches!(
        kind,
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
    )
}

/// Connects to a server that was checked, and never again: its name may have another
/// address by then.
///
/// async-nats reconnects at least once. That attempt goes to [`NOWHERE`], and ends
/// the client's task.
async fn connect_once(options: ConnectOptions, server: ServerAddr) -> Result<Client, ConnectError> {
    let nowhere: ServerAddr = NOWHERE
        .parse()
        .map_err(|error| ConnectError::with_source(ConnectErrorKind::ServerParse, error))?;
    let all = vec![server.clone(), nowhere.clone()];
    let is_first = AtomicBool::new(true);
    let dialled = options
        .max_reconnects(1)
        .reconnect_to_server_callback(move |_, _| {
            let (addr, delay) = match is_first.swap(false, Ordering::Relaxed) {
                true => (server.clone(), Duration::ZERO),
                false => (nowhere.clone(), STREAMS_END_AFTER),
            };
            let delay = Some(delay);
            std::future::ready(Some(ReconnectToServer { addr, delay }))
        })
        .connect(all);
    // async-nats panics at some bytes that no NATS server sends, as `-ERR` without a
    // word. That is a failure like any other, and is not retried all the time.
    let dialled = AssertUnwindSafe(dialled).catch_unwind().await;
    let no_server = |why: &'static str| ConnectError::with_source(ConnectErrorKind::Io, why);
    let client = dialled.unwrap_or_else(|_| Err(no_server("what async-nats cannot read")))?;
    match client.statistics().in_bytes.load(Ordering::Relaxed) {
        // It stays in memory as long as the connection.
        MOST_IN_A_DIAL.. => Err(no_server("more than a NATS server says to begin with")),
        _ => Ok(client),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use async_nats::{ClientError, Event};
    use tokio::sync::Notify;

    use super::*;
    use crate::fair::FairSemaphore;

    fn attempt(failed: usize) -> Attempt {
        Attempt {
            failed,
            ..Attempt::first("M".into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_gives_way_where_nobody_waits_for_it_or_it_failed_before_and_had_its_time() {
        let semaphore = FairSemaphore::new(2);
        for (failed, is_awaited, gives_way_after) in [
            (0, true, None),
            (0, false, Some(0)),
            (3, true, Some(1000)),
            (3, false, Some(0)),
        ] {
            let attempt = attempt(failed);
            let place = semaphore.acquire(&attempt, Duration::ZERO).await.unwrap();
            let given = gives_way(&place, &attempt, || is_awaited);
            let given = timeout(Duration::from_secs(4), given);
            let began = Instant::now();
            let other = semaphore.acquire(&attempt, Duration::from_secs(3));
            let (given, _other) = futures::join!(
                async { given.await.ok().map(|()| began.elapsed().as_millis()) },
                other
            );
            let in_time = |(given, expected)| (expected..expected + 50).contains(&given);
            match gives_way_after {
                None => assert_eq!(given, None),
                Some(expected) => assert!(given.is_some_and(|it| in_time((it, expected)))),
            }
        }
    }

    #[tokio::test]
    async fn a_broken_connection_is_not_made_again_behind_our_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let info = r#"INFO {"server_id":"x","version":"2.10.0","max_payload":1000}"#;
            stream.write_all(format!("{info}\r\n").as_bytes()).unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"PING\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                heard.extend(byte);
            }
            stream.write_all(b"PONG\r\n").unwrap();
            listener
        });
        let given_up = Arc::new(Notify::new());
        let told = given_up.clone();
        let options = ConnectOptions::new().event_callback(move |event| {
            if event == Event::ClientError(ClientError::MaxReconnects) {
                told.notify_one();
            }
            std::future::ready(())
        });
        let server_addr = format!("127.0.0.1:{port}").parse().unwrap();
        let _client = connect_once(options, server_addr).await.unwrap();
        let listener = server.join().unwrap();
        let in_time = timeout(Duration::from_secs(10), given_up.notified()).await;
        in_time.unwrap();
        listener.set_nonblocking(true).unwrap();
        let again = listener.accept().map_err(|error| error.kind());
        assert_eq!(again.err(), Some(std::io::ErrorKind::WouldBlock));
    }
}
