//! The servers that a dial may go to, and where they are. Actors say where a lattice is,
//! so the provider checks every server right before it dials it (`allowed_servers`).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use async_nats::ServerAddr;
use futures::{StreamExt as _, stream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::connections::failure::DialFailure;
use crate::fair::{Attempt, FairSemaphore};
use crate::nats::{AllowedServers, Forbidden, address};
use crate::telemetry::security::{self, Cause};

/// How long the name of a server may take to resolve: less where there are several,
/// since all of them are resolved before one is dialled.
const ONLY_NAME_RESOLVES_IN: Duration = Duration::from_secs(3);
const ONE_OF_SEVERAL_RESOLVES_IN: Duration = Duration::from_secs(1);
const NAMES_AT_ONCE: usize = 4;
/// The error of a lookup that finds no spare place.
const NO_SPARE_PLACE: io::ErrorKind = io::ErrorKind::WouldBlock;

/// What resolves a name and a port; the resolver of the operating system, but in tests.
pub(super) type Resolver = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Resolves as the operating system does: by files, name servers, and what else it is set
/// up to use.
pub(super) fn resolve_by_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

/// Looks up the addresses of names, for one dial.
pub(super) struct Lookups<'a> {
    /// The places of all lookups.
    pub(super) places: &'a Arc<FairSemaphore>,
    /// The dial.
    pub(super) attempt: &'a Attempt,
    /// What resolves a name.
    pub(super) resolver: Resolver,
}

/// A server, and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// The server, as its URL names it.
    pub(super) server: ServerAddr,
    /// Where it is, in the order of the resolver. Not empty.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Returns those of `servers` whose names resolve. The provider must be allowed to
/// connect to each, at every address that its name has.
///
/// # Errors
/// `Forbidden` where one of them is not allowed, `Unreachable` where no name
/// resolves; `Aborted` where a lookup before any call found no spare place.
pub(super) async fn reachable(
    allowed: &AllowedServers,
    servers: &[ServerAddr],
    lookups: &Lookups<'_>,
) -> Result<Vec<Located>, DialFailure> {
    let forbidden = |forbidden: Forbidden, found: String| {
        security::refused(
            Cause::Server,
            &lookups.attempt.party,
            &format!("{forbidden}{found}"),
        );
        DialFailure::Forbidden(forbidden)
    };
    let checked = allowed.check(servers);
    checked.map_err(|refused| forbidden(refused, String::new()))?;
    let resolves_in = match servers.len() {
        1 => ONLY_NAME_RESOLVES_IN,
        _ => ONE_OF_SEVERAL_RESOLVES_IN,
    };
    let resolved = stream::iter(servers.to_vec())
        .map(|server| lookups.resolve(server, resolves_in))
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
                    // For our log alone: actors must not learn addresses of our network.
                    let found = format!("; it is at {ip}");
                    return Err(forbidden(Forbidden::one_of(servers, index), found));
                }
                if !addresses.is_empty() {
                    reachable.push(Located {
                        server: server.clone(),
                        addresses,
                    });
                }
            }
            // Nothing is known of the server.
            Err(problem) if problem.kind() == NO_SPARE_PLACE => return Err(DialFailure::Aborted),
            Err(problem) => why = problem.to_string(),
        }
    }
    if reachable.is_empty() {
        return Err(DialFailure::Unreachable(why));
    }
    Ok(reachable)
}

impl Lookups<'_> {
    /// Returns the addresses of a server.
    ///
    /// A lookup cannot be ended: its thread, and its place, are free when the resolver of
    /// the operating system returns.
    async fn resolve(&self, server: ServerAddr, within: Duration) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = address(&server) {
            return Ok(vec![SocketAddr::new(ip, server.port())]);
        }
        let late = || io::Error::new(io::ErrorKind::TimedOut, "its name was not resolved in time");
        let no_spare_place = || io::Error::from(NO_SPARE_PLACE);
        let lookup = async {
            let place = match self.attempt.is_spare {
                true => self
                    .places
                    .take_spare(self.attempt)
                    .ok_or_else(no_spare_place),
                false => (self.places.acquire(self.attempt, within).await).ok_or_else(late),
            };
            let (place, resolver) = (place?, self.resolver);
            let looked_up = spawn_blocking(move || {
                let _place = place;
                resolver(server.host(), server.port())
            });
            looked_up.await?
        };
        timeout(within, lookup)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::nats::{Access, Login};

    fn servers(urls: &str) -> Vec<ServerAddr> {
        let access = Access::parse(urls, Login::Anonymous).unwrap();
        access.servers().to_vec()
    }

    async fn found(
        allowed: &AllowedServers,
        servers: &[ServerAddr],
    ) -> Result<Vec<Located>, DialFailure> {
        let lookups = Lookups {
            places: &FairSemaphore::new(4),
            attempt: &Attempt::first("M".into()),
            resolver: resolve_by_system,
        };
        reachable(allowed, servers, &lookups).await
    }

    #[tokio::test]
    async fn what_does_not_resolve_is_not_dialled_and_forbids_nothing() {
        let allowed = AllowedServers::parse(["127.0.0.0/8"]).unwrap();
        let both = servers("nats://no-such-host.invalid,127.0.0.1");
        let reachable = found(&allowed, &both).await.unwrap();
        let expected = Located {
            server: both[1].clone(),
            addresses: vec!["127.0.0.1:4222".parse().unwrap()],
        };
        assert_eq!(reachable, [expected]);
        let failure = found(&allowed, &both[..1]).await.unwrap_err();
        assert!(
            matches!(failure, DialFailure::Unreachable(_)),
            "{failure:?}"
        );
        let other = AllowedServers::parse(["10.0.0.0/8"]).unwrap();
        for forbidden in ["127.0.0.1", "localhost", "10.0.0.1,localhost"] {
            let failure = found(&other, &servers(forbidden)).await.unwrap_err();
            assert!(matches!(failure, DialFailure::Forbidden(_)), "{failure:?}");
        }
    }

    /// How many lookups hang, and whether they do so still.
    static STUCK: AtomicUsize = AtomicUsize::new(0);
    static IS_SILENT: Mutex<bool> = Mutex::new(true);
    static ANSWERS: Condvar = Condvar::new();

    /// Resolves like a system whose name server is silent for some names.
    fn resolve_with_silence(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if host.ends_with("silent") {
            STUCK.fetch_add(1, Ordering::Relaxed);
            let is_silent = IS_SILENT.lock().unwrap();
            drop(ANSWERS.wait_while(is_silent, |silent| *silent));
            STUCK.fetch_sub(1, Ordering::Relaxed);
        }
        resolve_by_system("127.0.0.1", port)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn names_whose_server_is_silent_hold_few_threads_and_keep_nobody_elses_waiting() {
        let places = FairSemaphore::new(32);
        let look_up = |actor: &'static str, url: String, within| {
            let places = places.clone();
            tokio::spawn(async move {
                let lookups = Lookups {
                    places: &places,
                    attempt: &Attempt::first(actor.into()),
                    resolver: resolve_with_silence,
                };
                lookups.resolve(url.parse().unwrap(), within).await
            })
        };
        let ms = Duration::from_millis;
        let guilty = (0..100).map(|n| look_up("a", format!("nats://{n}.silent"), ms(300)));
        for looked_up in futures::future::join_all(guilty).await {
            let late = looked_up.unwrap().unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        }
        // Their threads hang still.
        assert_eq!(STUCK.load(Ordering::Relaxed), 16);
        let innocent = look_up("b", "nats://well".into(), Duration::from_secs(10));
        assert_eq!(innocent.await.unwrap().unwrap().len(), 1);
        *IS_SILENT.lock().unwrap() = false;
        ANSWERS.notify_all();
        let guilty = look_up("a", "nats://well".into(), Duration::from_secs(10));
        assert!(guilty.await.unwrap().is_ok());
    }
}
