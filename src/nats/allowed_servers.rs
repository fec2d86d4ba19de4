//! Decides which servers the provider may connect to. Actors name servers, and the
//! provider may reach networks that actors must not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_nats::ServerAddr;

use crate::name::fits;
use crate::nats::servers::{Hosts, Servers, address, is_within, name};

/// `allowed_servers`. Without it, all servers are allowed but those at link-local
/// addresses, where clouds hand out the credentials of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedServers(Option<Servers>);

/// A server that the provider may not connect to. The message is the same whatever is
/// there and whatever its name resolves to: actors must not learn that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider may not connect to {0} (allowed_servers)")]
pub struct Forbidden(String);

impl AllowedServers {
    /// What counts where no servers are set.
    pub const ALL_BUT_LINK_LOCAL: Self = Self(None);

    /// Reads entries `[scheme://][host or network][:port]`.
    ///
    /// # Errors
    /// Every mistake, each with the number of its entry.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<String>> {
        Servers::parse(entries).map(Self::these)
    }

    /// Allows these servers and no others.
    pub fn these(servers: Servers) -> Self {
        Self(Some(servers))
    }

    /// Checks servers as far as possible without resolving their names.
    ///
    /// # Errors
    /// The first one that is not allowed: none of the list may be dialled then.
    pub fn check(&self, servers: &[ServerAddr]) -> Result<(), Forbidden> {
        match servers.iter().position(|server| !self.allows_url(server)) {
            Some(index) => Err(Forbidden::one_of(servers, index)),
            None => Ok(()),
        }
    }

    /// Returns whether a server is allowed as far as its URL tells. A name may resolve to
    /// any address, so that must be checked, too ([`Self::allows_address`]).
    pub fn allows_url(&self, server: &ServerAddr) -> bool {
        if let Some(ip) = address(server) {
            return self.allows_address(server, ip);
        }
        let Some(servers) = &self.0 else { return true };
        servers.hosts_for(server).any(|hosts| match hosts {
            Hosts::All | Hosts::Network { .. } => true,
            Hosts::Name(pattern) => fits(pattern, &name(server)),
        })
    }

    /// Returns whether a server is allowed that has this address.
    pub fn allows_address(&self, server: &ServerAddr, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let Some(servers) = &self.0 else {
            return !is_link_local(ip);
        };
        // A name, or `*`, does not allow link-local addresses: nobody means them by it.
        let by_name = !is_link_local(ip);
        servers.hosts_for(server).any(|hosts| match hosts {
            Hosts::All => by_name,
            Hosts::Name(pattern) => {
                by_name && address(server).is_none() && fits(pattern, &name(server))
            }
            Hosts::Network { first, bits } => is_within(*first, *bits, ip),
        })
    }
}

impl Forbidden {
    /// Names one of several servers, by its place in the list.
    pub fn one_of(servers: &[ServerAddr], index: usize) -> Self {
        let address = servers.get(index).map_or_else(String::new, |server| {
            format!("{}:{}", server.host(), server.port())
        });
        Self(match servers.len() {
            1 => address,
            count => format!("server {} of {count}, {address}", index + 1),
        })
    }
}

/// Returns whether an address is link-local, itself or once a gateway has translated
/// it to IPv4.
fn is_link_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || translated(ip).is_some_and(|ip| ip.is_link_local())
        }
    }
}

/// Returns the IPv4 address that a gateway makes of an IPv6 one.
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match ip.segments() {
        // IPv4-compatible, SIIT, and NAT64 with both of its prefixes.
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, _, _, _, _, high, low] => (high, low),
        // 6to4.
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
#[path = "allowed_servers_tests.rs"]
mod tests;
