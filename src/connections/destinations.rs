//! The servers that a dial may go to. Actors say where a lattice is, so the provider
//! checks every server right before it dials it (`allowed_servers`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_nats::ServerAddr;
use futures::{StreamExt as _, stream};
use tokio::time::timeout;

use crate::connections::failure::DialFailure;
use crate::nats::{AllowedServers, Forbidden};
use crate::telemetry::security::{self, Cause};

/// How long the name of a server may take to resolve: less where there are several,
/// since all of them are resolved before one is dialled.
const ONLY_NAME_RESOLVES_IN: Duration = Duration::from_secs(3);
const ONE_OF_SEVERAL_RESOLVES_IN: Duration = Duration::from_secs(1);
const NAMES_AT_ONCE: usize = 4;

/// Returns those of `servers` whose names resolve. The provider must be allowed to
/// connect to each, at every address that its name has.
///
/// # Errors
/// `Forbidden` where one of them is not allowed, `Unreachable` where no name
/// resolves.
pub(super) async fn reachable(
    allowed: &AllowedServers,
    servers: &[ServerAddr],
) -> Result<Vec<ServerAddr>, DialFailure> {
    let forbidden = |forbidden: Forbidden, found: String| {
        security::refused_unproved(Cause::Server, "-", &format!("{forbidden}{found}"));
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
                    // For our log alone: actors must not learn addresses of our network.
                    let found = format!("; it is at {ip}");
                    return Err(forbidden(Forbidden::one_of(servers, index), found));
                }
                if !addresses.is_empty() {
                    reachable.push(server.clone());
                }
            }
            Err(problem) => why = problem.to_string(),
        }
    }
    if reachable.is_empty() {
        return Err(DialFailure::Unreachable(why));
    }
    Ok(reachable)
}

async fn resolve(server: ServerAddr, within: Duration) -> io::Result<Vec<SocketAddr>> {
    let resolved = timeout(within, server.socket_addrs()).await;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "its name was not resolved in time");
    Ok(resolved.map_err(late)??.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::{Access, Login};

    fn servers(urls: &str) -> Vec<ServerAddr> {
        let access = Access::parse(urls, Login::Anonymous).unwrap();
        access.servers().to_vec()
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
