//! Dials the servers of a lattice, within the limits of the provider.

use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, ReconnectToServer, ServerAddr,
};
use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::connections::capacity::Capacity;
use crate::connections::connection::Connection;
use crate::connections::destinations::reachable;
use crate::connections::failure::{DialFailure, failure};
use crate::connections::intake::{Intake, MOST_IN_A_DIAL};
use crate::connections::permissions::PermissionErrors;
use crate::connections::reports::{LoginHistory, Reported, on_event};
use crate::connections::sizes::Sizes;
use crate::credentials::SharedCredentials;
use crate::lock::Lock;
use crate::nats::{Access, AllowedServers, Tls};

/// Longest that one dial takes, however many servers, addresses and names there are:
/// other dials wait for its place.
const DIAL_ENDS_AFTER: Duration = Duration::from_secs(8);
/// How long a server may take to answer: less where there are several.
const ONLY_SERVER_ANSWERS_IN: Duration = Duration::from_secs(5);
const ONE_OF_SEVERAL_ANSWERS_IN: Duration = Duration::from_millis(1200);
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
    pub(super) intake: Arc<Intake>,
}

impl Dialer {
    /// Dials, within the limits.
    pub(super) async fn dial(
        &self,
        credentials: &SharedCredentials,
        login: &Arc<LoginHistory>,
    ) -> Result<Connection, DialFailure> {
        if let Some(why) = credentials.expired() {
            return Err(DialFailure::Rejected(why));
        }
        let permit = self.capacity.reserve_connection().await?;
        let _dial = self.capacity.reserve_dial().await?;
        let dialled = timeout(DIAL_ENDS_AFTER, self.dial_servers(credentials, login)).await;
        let late = || DialFailure::Unreachable("no server answered in time".into());
        let mut connection = dialled.unwrap_or_else(|_| Err(late()))?;
        connection.permit = Lock::new(Some(permit));
        Ok(connection)
    }

    /// Tries each server once, in random order.
    async fn dial_servers(
        &self,
        credentials: &SharedCredentials,
        login: &Arc<LoginHistory>,
    ) -> Result<Connection, DialFailure> {
        let access = credentials.access().clone().with_tls(self.tls.clone());
        let mut servers = reachable(&self.allowed, access.servers()).await?;
        let answers_in = match servers.len() {
            1 => ONLY_SERVER_ANSWERS_IN,
            _ => ONE_OF_SEVERAL_ANSWERS_IN,
        };
        let order = RandomState::new();
        servers.sort_by_key(|server| order.hash_one(server));
        let mut why = DialFailure::Unreachable("it has no server".into());
        for server in servers {
            let address = credentials.address().clone();
            match self
                .dial_server(&access, &server, answers_in, address, login)
                .await
            {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) => why = DialFailure::Unreachable("it closed the connection".into()),
                Err(error) => {
                    // What one server says of the credentials counts more than
                    // that another one is away.
                    if !matches!(why, DialFailure::Rejected(_)) {
                        why = failure(&error, &server, access.tls());
                    }
                    if is_refused_login(error.kind()) {
                        break;
                    }
                }
            }
        }
        Err(why)
    }

    /// Connects to one server; `None` where it closes the connection at once.
    async fn dial_server(
        &self,
        access: &Access,
        server: &ServerAddr,
        answers_in: Duration,
        address: Arc<str>,
        login: &Arc<LoginHistory>,
    ) -> Result<Option<Connection>, ConnectError> {
        let (report, reports) = watch::channel(Reported::default());
        let report = Arc::new(report);
        let to_report = Arc::downgrade(&report);
        let errors = PermissionErrors::default();
        let sizes = Arc::new(Sizes::new(login.oversize.clone()));
        let options = access
            .options_for(self.name.clone(), server)
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
        let client = connect_once(options, server.clone()).await?;
        let connection = Connection::open(client, address, reports, errors, sizes).await;
        if let Some(connection) = &connection {
            connection.watch(&self.intake, to_report);
        }
        Ok(connection)
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
