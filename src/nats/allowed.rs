//! Which servers the provider may connect to. Actors name them, and a network
//! that is closed to them need not be closed to the provider.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_nats::ServerAddr;
use url::Host;

use crate::name::fits;

/// `allowed_servers`: without it, all but link-local addresses, where clouds
/// hand out what a machine may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<Entry>>);

/// A server that may not be connected to. What it says is the same whatever is
/// there, and whatever its name resolves to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider may not connect to {0} (allowed_servers)")]
pub struct Forbidden(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    scheme: Option<&'static str>,
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// In small letters, without a dot at the end.
    Name(String),
    Network {
        first: IpAddr,
        bits: u32,
    },
}

const SCHEMES: [&str; 4] = ["nats", "tls", "ws", "wss"];

impl Allowed {
    /// Reads entries `[scheme://][host or network][:port]`.
    ///
    /// # Errors
    /// Every mistake, each with the number of its entry.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<String>> {
        let (mut allowed, mut mistakes) = (Vec::new(), Vec::new());
        for (index, text) in entries.into_iter().enumerate() {
            match entry(text.trim()) {
                Ok(entry) => allowed.push(entry),
                Err(problem) => mistakes.push(format!("entry {}: {problem}", index + 1)),
            }
        }
        if allowed.is_empty() && mistakes.is_empty() {
            mistakes.push("it has no entry, so that no server would be allowed".into());
        }
        if mistakes.is_empty() {
            Ok(Self(Some(allowed)))
        } else {
            Err(mistakes)
        }
    }

    /// Checks what can be told of servers without resolving their names.
    ///
    /// # Errors
    /// The first that is not allowed: none of the list is to be dialled.
    pub fn check(&self, servers: &[ServerAddr]) -> Result<(), Forbidden> {
        match servers.iter().position(|server| !self.allows_url(server)) {
            Some(index) => Err(Forbidden::one_of(servers, index)),
            None => Ok(()),
        }
    }

    /// Whether a server is allowed, as far as its URL tells: a name may be
    /// anywhere, so that what it resolves to must be allowed, too.
    pub fn allows_url(&self, server: &ServerAddr) -> bool {
        if let Some(ip) = address(server) {
            return self.allows_address(server, ip);
        }
        let Some(entries) = &self.0 else { return true };
        let mut entries = entries.iter().filter(|entry| entry.is_for(server));
        entries.any(|entry| match &entry.hosts {
            Hosts::All | Hosts::Network { .. } => true,
            Hosts::Name(pattern) => fits(pattern, &name(server)),
        })
    }

    /// Whether a server is allowed that has this address.
    pub fn allows_address(&self, server: &ServerAddr, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let Some(entries) = &self.0 else {
            return !is_link_local(ip);
        };
        // Who writes a name, or `*`, does not think of link-local addresses.
        let by_name = !is_link_local(ip);
        let mut entries = entries.iter().filter(|entry| entry.is_for(server));
        entries.any(|entry| match &entry.hosts {
            Hosts::All => by_name,
            Hosts::Name(pattern) => {
                by_name && address(server).is_none() && fits(pattern, &name(server))
            }
            Hosts::Network { first, bits } => is_within(*first, *bits, ip),
        })
    }
}

impl Forbidden {
    /// One of several servers, by its place in the list.
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

impl Entry {
    fn is_for(&self, server: &ServerAddr) -> bool {
        self.scheme.is_none_or(|scheme| scheme == server.scheme())
            && self.port.is_none_or(|port| port == server.port())
    }
}

/// The address that a server's host is, in whatever notation resolvers read.
fn address(server: &ServerAddr) -> Option<IpAddr> {
    if let Ok(ip) = server.host().parse() {
        return Some(ip);
    }
    match Host::parse(server.host()) {
        Ok(Host::Ipv4(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// The name that a server's host is, as patterns are compared with it.
fn name(server: &ServerAddr) -> String {
    let host = server.host().to_ascii_lowercase();
    match host.strip_suffix('.') {
        Some(host) => host.to_owned(),
        None => host,
    }
}

fn is_within(first: IpAddr, bits: u32, ip: IpAddr) -> bool {
    let differs = |one: u128, other: u128, rest: u32| (one ^ other).checked_shr(rest).unwrap_or(0);
    match (first, ip) {
        (IpAddr::V4(first), IpAddr::V4(ip)) => {
            differs(first.to_bits().into(), ip.to_bits().into(), 32 - bits) == 0
        }
        (IpAddr::V6(first), IpAddr::V6(ip)) => {
            differs(first.to_bits(), ip.to_bits(), 128 - bits) == 0
        }
        _ => false,
    }
}

/// Whether an address is link-local, itself or behind a translation to IPv4.
fn is_link_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || translated(ip).is_some_and(|ip| ip.is_link_local())
        }
    }
}

/// The IPv4 address that gateways would make of an IPv6 one.
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

// --- what the setting says ---

fn entry(text: &str) -> Result<Entry, &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some((scheme, rest)) => {
            let mut schemes = SCHEMES.into_iter();
            let known = schemes.find(|known| known.eq_ignore_ascii_case(scheme));
            let known = known.ok_or("the scheme must be nats, tls, ws or wss")?;
            (Some(known), rest)
        }
    };
    let (hosts, port) = if let Some((first, rest)) = rest.split_once('/') {
        let (bits, port) = with_port(rest);
        (network(first, bits)?, port)
    } else if let Some((first, rest)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        match with_port(rest) {
            ("", port) => (host(first.parse::<Ipv6Addr>().ok())?, port),
            _ => return Err("behind an address in brackets is a colon and a port, or nothing"),
        }
    } else {
        let (host, port) = with_port(rest);
        (named(host)?, port)
    };
    let port = match port {
        None => None,
        Some(port) => Some(number(port).filter(|port| *port != 0).ok_or(
            "the port must be a number from 1 to 65535; an IPv6 address must be in brackets",
        )?),
    };
    Ok(Entry {
        scheme,
        hosts,
        port,
    })
}

fn with_port(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((text, port)) => (text, Some(port)),
        None => (text, None),
    }
}

/// Digits and nothing else, not even a sign.
fn number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn host(ip: Option<impl Into<IpAddr>>) -> Result<Hosts, &'static str> {
    let ip: IpAddr = ip.ok_or("it is no IP address")?.into();
    let first = ip.to_canonical();
    let bits = if first.is_ipv4() { 32 } else { 128 };
    Ok(Hosts::Network { first, bits })
}

fn network(first: &str, bits: &str) -> Result<Hosts, &'static str> {
    let bare = first.strip_prefix('[').and_then(|f| f.strip_suffix(']'));
    let first: IpAddr = bare
        .unwrap_or(first)
        .parse()
        .map_err(|_| "it is no network: 10.0.0.0/8 and fd00::/8 are some")?;
    let bits = number(bits).map(u32::from);
    let bits = bits.filter(|bits| *bits <= if first.is_ipv4() { 32 } else { 128 });
    let bits = bits.ok_or("the prefix of a network must be a number of bits, 32 or 128 at most")?;
    let (first, bits) = match first.to_canonical() {
        // Of an IPv4 address in IPv6, the last 32 bits stay.
        ip if ip.is_ipv4() != first.is_ipv4() && bits >= 96 => (ip, bits - 96),
        _ => (first, bits),
    };
    let is_first = match first {
        IpAddr::V4(ip) => ip.to_bits().checked_shl(bits).unwrap_or(0) == 0,
        IpAddr::V6(ip) => ip.to_bits().checked_shl(bits).unwrap_or(0) == 0,
    };
    if is_first {
        Ok(Hosts::Network { first, bits })
    } else {
        // 10.1.2.3/8: one address is meant, or many.
        Err("a network must begin with its first address, as 10.0.0.0/8 does")
    }
}

fn named(text: &str) -> Result<Hosts, &'static str> {
    let small = text.to_ascii_lowercase();
    let name = small.strip_suffix('.').unwrap_or(&small);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*');
    if name.is_empty() {
        return Err("it names no host; * stands for every one");
    }
    if !name.bytes().all(is_plain) {
        return Err("a host must be a name in ASCII, in which * may stand, or an IP address");
    }
    if name == "*" {
        return Ok(Hosts::All);
    }
    if let Ok(ip) = name.parse::<Ipv4Addr>() {
        return host(Some(ip));
    }
    // `10.*` is no network, and would let 10.example.com in.
    let is_number = matches!(Host::parse(name), Ok(Host::Ipv4(_)));
    if is_number || !name.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return Err("an IP address must have four numbers and no *; a network is like 10.0.0.0/8");
    }
    Ok(Hosts::Name(name.to_owned()))
}

#[cfg(test)]
#[path = "allowed_tests.rs"]
mod tests;
