//! Where a dial may go. Actors say where a lattice is, so every dial is checked
//! before anything is sent, and nothing dials but what was checked.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::ServerAddr;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, ReconnectToServer};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::timeout;

use crate::connections::failure::DialFailure;
use crate::credentials::Credentials;
use crate::error::{Error, Kind};
use crate::nats::{AllowedServers, Forbidden};
use crate::telemetry::security::{self, Cause};

/// How long the name of a server may take to resolve; less where there is
/// another, since all of them are resolved before one is dialled.
const ONLY_NAME_RESOLVES_IN: Duration = Duration::from_secs(3);
const ONE_OF_SEVERAL_RESOLVES_IN: Duration = Duration::from_secs(1);
const NAMES_AT_ONCE: usize = 4;

/// Where nobody is, and nothing is sent to: a system refuses TCP to a multicast
/// address at once.
const NOWHERE: &str = "nats://239.255.255.255:1";
/// How long streams of a broken connection stay open, so that whoever reads them
/// hears first that it broke.
const STREAMS_END_AFTER: Duration = Duration::from_millis(100);

/// Checks what an actor set, as far as it can be told without resolving names.
///
/// # Errors
/// `Denied`.
pub(crate) fn check(allowed: &AllowedServers, set: &Credentials, actor: &str) -> Result<(), Error> {
    let checked = allowed.check(set.access().servers());
    checked.map_err(|forbidden| {
        let message = forbidden.to_string();
        security::refused(Cause::Server, actor, &message);
        Error::new(Kind::Denied, message)
    })
}

/// Those of `servers` that can be dialled now: their names resolve, and each may
/// be connected to wherever its name leads. One that may not forbids all.
pub(crate) async fn reachable(
    allowed: &AllowedServers,
    servers: &[ServerAddr],
) -> Result<Vec<ServerAddr>, DialFailure> {
    let forbidden = |forbidden: Forbidden, found: String| {
        security::refused(Cause::Server, "-", &format!("{forbidden}{found}"));
        DialFailure::Forbidden(forbidden)
    };
    let checked = allowed.check(servers);
    checked.map_err(|refused| forbidden(refused, String::new()))?;
    let resolves_in = match servers.len() {
        1 => ONLY_NAME_RESOLVES_IN,
        _ => ONE_OF_SEVERAL_RESOLVES_IN,
    };
    let resolved = stream::iter(servers.to_vec())
        .map(|server| resolve(server, resolves_in))
        .buffered(NAMES_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut reachable = Vec::with_capacity(servers.len());
    let mut why = "it has no address".to_owned();
    for (index, (server, resolved)) in servers.iter().zip(resolved).enumerate() {
        match resolved {
            Ok(addresses) => {
                let mut ips = addresses.iter().map(SocketAddr::ip);
                if let Some(ip) = ips.find(|ip| !allowed.allows_address(server, *ip)) {
                    // For our log alone: where a name leads is not an actor's to learn.
                    let found = format!("; it is at {ip}");
                    return Err(forbidden(Forbidden::one_of(servers, index), found));
                }
                if !addresses.is_empty() {
                    reachable.push(server.clone());
                }
            }
            Err(problem) => why = problem,
        }
    }
    if reachable.is_empty() {
        return Err(DialFailure::Unreachable(why));
    }
    Ok(reachable)
}

async fn resolve(server: ServerAddr, within: Duration) -> Result<Vec<SocketAddr>, String> {
    match timeout(within, server.socket_addrs()).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its name was not resolved in time".into()),
    }
}

/// Connects to a server that was checked, and never again: its name may lead
/// elsewhere by then.
///
/// async-nats cannot be told not to reconnect, only how often, once at least. So
/// that attempt goes nowhere, and ends its task.
pub(crate) async fn connect_once(
    options: ConnectOptions,
    server: ServerAddr,
) -> Result<Client, ConnectError> {
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
    // async-nats panics at some of what no NATS server says, as `-ERR` without a
    // word. That is an answer like another, and not to be asked for all the time.
    let dialled = AssertUnwindSafe(dialled).catch_unwind().await;
    dialled.unwrap_or_else(|_| {
        let unread = "what async-nats cannot read";
        Err(ConnectError::with_source(ConnectErrorKind::Io, unread))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;

    use async_nats::{ClientError, Event};
    use tokio::sync::Notify;

    use super::*;
    use crate::nats::{Access, Login};

    fn servers(urls: &str) -> Vec<ServerAddr> {
        let access = Access::parse(urls, Login::Anonymous).unwrap();
        access.servers().to_vec()
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
        let server_addr = servers(&format!("127.0.0.1:{port}")).remove(0);
        let _client = connect_once(options, server_addr).await.unwrap();
        let listener = server.join().unwrap();
        let in_time = timeout(Duration::from_secs(10), given_up.notified()).await;
        in_time.unwrap();
        listener.set_nonblocking(true).unwrap();
        let again = listener.accept().map_err(|error| error.kind());
        assert_eq!(again.err(), Some(std::io::ErrorKind::WouldBlock));
    }

    #[tokio::test]
    async fn what_does_not_resolve_is_not_dialled_and_forbids_nothing() {
        let allowed = AllowedServers::parse(["127.0.0.0/8"]).unwrap();
        let both = servers("nats://no-such-host.invalid,127.0.0.1");
        let found = reachable(&allowed, &both).await.unwrap();
        assert_eq!(found, [both[1].clone()]);
        let failure = reachable(&allowed, &both[..1]).await.unwrap_err();
        assert!(
            matches!(failure, DialFailure::Unreachable(_)),
            "{failure:?}"
        );
        let other = AllowedServers::parse(["10.0.0.0/8"]).unwrap();
        for forbidden in ["127.0.0.1", "localhost", "10.0.0.1,localhost"] {
            let failure = reachable(&other, &servers(forbidden)).await.unwrap_err();
            assert!(matches!(failure, DialFailure::Forbidden(_)), "{failure:?}");
        }
    }
}
