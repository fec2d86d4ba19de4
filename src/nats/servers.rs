//! Reads lists of servers in settings: names, addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_nats::ServerAddr;
use url::Host;

use crate::name::fits;

/// The servers that a setting lists, each as `[scheme://][host or network][:port]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers(Vec<ServerEntry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct ServerEntry {
    scheme: Option<&'static str>,
    hosts: Hosts,
    port: Option<u16>,
}

/// The hosts that an entry stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Every host.
    All,
    /// Hosts whose name fits this pattern: in small letters, without a dot at the end.
    Name(String),
    /// The addresses that begin with these bits.
    Network { first: IpAddr, bits: u32 },
}

const SCHEMES: [&str; 4] = ["nats", "tls", "ws", "wss"];

impl Servers {
    /// Reads entries.
    ///
    /// # Errors
    /// Every mistake, each with the number of its entry.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<String>> {
        let (mut servers, mut mistakes) = (Vec::new(), Vec::new());
        for (index, text) in entries.into_iter().enumerate() {
            match entry(text.trim()) {
                Ok(entry) => servers.push(entry),
                Err(problem) => mistakes.push(format!("entry {}: {problem}", index + 1)),
            }
        }
        if servers.is_empty() && mistakes.is_empty() {
            mistakes.push("it has no entry: name a server, or leave it out".into());
        }
        if mistakes.is_empty() {
            Ok(Self(servers))
        } else {
            Err(mistakes)
        }
    }

    /// Returns whether the list names a server by its URL alone. A network stands for
    /// the addresses in it, never for a host name, whatever that resolves to: an answer
    /// of the DNS must not change the decision.
    pub fn contains(&self, server: &ServerAddr) -> bool {
        let address = address(server);
        self.hosts_for(server).any(|hosts| match hosts {
            Hosts::All => true,
            Hosts::Name(pattern) => address.is_none() && fits(pattern, &name(server)),
            Hosts::Network { first, bits } => {
                address.is_some_and(|ip| is_within(*first, *bits, ip.to_canonical()))
            }
        })
    }

    /// Returns whether it lists no server.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the hosts of the entries for the scheme and the port of a server.
    pub(super) fn hosts_for(&self, server: &ServerAddr) -> impl Iterator<Item = &Hosts> {
        let entries = self.0.iter().filter(|entry| entry.is_for(server));
        entries.map(|entry| &entry.hosts)
    }
}

impl ServerEntry {
    fn is_for(&self, server: &ServerAddr) -> bool {
        self.scheme.is_none_or(|scheme| scheme == server.scheme())
            && self.port.is_none_or(|port| port == server.port())
    }
}

/// Returns the address that a server's host is, in any notation that resolvers read.
pub fn address(server: &ServerAddr) -> Option<IpAddr> {
    if let Ok(ip) = server.host().parse() {
        return Some(ip);
    }
    match Host::parse(server.host()) {
        Ok(Host::Ipv4(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// Returns a server's host as patterns are compared with it.
pub(super) fn name(server: &ServerAddr) -> String {
    let host = server.host().to_ascii_lowercase();
    match host.strip_suffix('.') {
        Some(host) => host.to_owned(),
        None => host,
    }
}

pub(super) fn is_within(first: IpAddr, bits: u32, ip: IpAddr) -> bool {
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

// --- reading an entry ---

fn entry(text: &str) -> Result<ServerEntry, &'static str> {
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
    Ok(ServerEntry {
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

/// Reads digits and nothing else, not even a sign.
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
        // An IPv4 address mapped into IPv6 keeps its last 32 bits.
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
        // 10.1.2.3/8 may mean one address or a network.
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
    // `10.*` would not mean a network, and would allow 10.example.com.
    let is_number = matches!(Host::parse(name), Ok(Host::Ipv4(_)));
    if is_number || !name.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return Err("an IP address must have four numbers and no *; a network is like 10.0.0.0/8");
    }
    Ok(Hosts::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::{Access, Login};

    #[test]
    fn a_list_names_servers_by_their_urls_alone() {
        let servers =
            Servers::parse(["*.tls.example", "10.0.0.0/8:4222", "wss://*", "[fd00::7]"]).unwrap();
        for (url, named) in [
            ("nats://a.tls.example:1", true),
            ("tls://A.TLS.example.", true),
            ("nats://tls.example", false),
            ("10.1.2.3", true),
            ("10.1.2.3:4223", false),
            ("nats://0x0a010203", true),
            ("nats://[::ffff:10.1.2.3]", true),
            ("wss://anybody.example", true),
            ("ws://anybody.example", false),
            ("nats://[fd00::7]:9", true),
            // What it resolves to does not count.
            ("localhost", false),
        ] {
            let access = Access::parse(url, Login::Anonymous).unwrap();
            assert_eq!(servers.contains(&access.servers()[0]), named, "{url}");
        }
        let none = Access::parse("a.tls.example", Login::Anonymous).unwrap();
        assert!(!Servers::default().contains(&none.servers()[0]));
    }
}
