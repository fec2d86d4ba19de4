//! The ways to the servers of a lattice: which addresses a dial tries, in which order, and
//! whether by address or by name.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;

use async_nats::ServerAddr;

use crate::connections::destinations::Located;

/// Most ways that one dial tries.
const MOST_WAYS: usize = 32;

/// A way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The server, as its URL names it.
    pub(super) server: ServerAddr,
    /// What is dialled: the server at one of its addresses, or by its name.
    pub(super) to: ServerAddr,
    /// How many addresses stand behind `to`. async-nats tries them one after the other.
    pub(super) addresses: usize,
}

/// The ways of one dial that were not tried yet.
pub(super) struct Ways {
    left: VecDeque<Way>,
    /// Servers that are dialled by name, after they wanted TLS at one of their addresses.
    named: HashSet<ServerAddr>,
}

impl Ways {
    /// Lists the ways to these servers, in random order of the servers.
    ///
    /// A `nats://` server is dialled at each of its addresses: nothing can change where its
    /// name leads after that was checked, the addresses can be tried side by side, and
    /// async-nats need not resolve the name. TLS needs the name, and so do proxies of
    /// websockets.
    pub(super) fn new(mut located: Vec<Located>, needs_name: impl Fn(&ServerAddr) -> bool) -> Self {
        let order = RandomState::new();
        located.sort_by_key(|one| order.hash_one(&one.server));
        let mut left = VecDeque::new();
        for Located { server, addresses } in located {
            let by_address = match server.scheme() {
                "nats" if !needs_name(&server) => addresses
                    .iter()
                    .map(|at| by_address(&server, *at))
                    .collect(),
                _ => None,
            };
            match by_address {
                Some::<Vec<Way>>(ways) => left.extend(ways),
                None => left.push_back(by_name(server, addresses.len())),
            }
        }
        left.truncate(MOST_WAYS);
        let named = HashSet::new();
        Self { left, named }
    }

    /// Takes the next one.
    pub(super) fn next(&mut self) -> Option<Way> {
        self.left.pop_front()
    }

    /// Whether any is left.
    pub(super) fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    /// Replaces the other ways to a server by the one by its name, which is next: at one
    /// of its addresses it wanted TLS. Where that way was tried already, there is no other.
    pub(super) fn by_name_instead(&mut self, server: ServerAddr) {
        let before = self.left.len();
        self.left.retain(|way| way.server != server);
        if self.named.insert(server.clone()) {
            let addresses = 1 + before - self.left.len();
            self.left.push_front(by_name(server, addresses));
        }
    }
}

impl Way {
    /// Whether it leads to an address in the place of a name.
    pub(super) fn is_by_address(&self) -> bool {
        self.to != self.server
    }
}

fn by_name(server: ServerAddr, addresses: usize) -> Way {
    Way {
        to: server.clone(),
        server,
        addresses,
    }
}

/// Returns the way to a server at an address; `None` where a URL cannot hold the address.
fn by_address(server: &ServerAddr, at: SocketAddr) -> Option<Way> {
    Some(Way {
        server: server.clone(),
        to: format!("nats://{at}").parse().ok()?,
        addresses: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(url: &str, addresses: &[&str]) -> Located {
        Located {
            server: url.parse().unwrap(),
            addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
        }
    }

    fn listed(ways: &mut Ways) -> Vec<(String, usize)> {
        let all = std::iter::from_fn(|| ways.next());
        all.map(|way| (way.to.as_url_str().to_owned(), way.addresses))
            .collect()
    }

    #[test]
    fn a_server_is_tried_at_each_of_its_addresses_in_their_order() {
        let one = located("nats://h:1", &["10.0.0.2:1", "[fd00::1]:1", "10.0.0.1:1"]);
        let mut ways = Ways::new(vec![one], |_| false);
        let to = [
            "nats://10.0.0.2:1",
            "nats://[fd00::1]:1",
            "nats://10.0.0.1:1",
        ];
        assert_eq!(listed(&mut ways), to.map(|to| (to.to_owned(), 1)));
    }

    #[test]
    fn what_needs_its_name_is_dialled_by_it() {
        for url in ["tls://h:1", "ws://h:1/", "wss://h:1/x"] {
            let one = located(url, &["10.0.0.2:1", "10.0.0.1:1"]);
            let mut ways = Ways::new(vec![one], |_| false);
            assert_eq!(listed(&mut ways), [(url.to_owned(), 2)]);
        }
        let one = located("nats://h:1", &["10.0.0.2:1"]);
        let mut ways = Ways::new(vec![one], |_| true);
        assert_eq!(listed(&mut ways), [("nats://h:1".to_owned(), 1)]);
    }

    #[test]
    fn a_server_that_wants_tls_is_dialled_by_name_once() {
        let one = located("nats://h:1", &["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
        let mut ways = Ways::new(vec![one], |_| false);
        let (first, second) = (ways.next().unwrap(), ways.next().unwrap());
        assert!(first.is_by_address());
        ways.by_name_instead(first.server);
        let by_name = ways.next().unwrap();
        assert!(!by_name.is_by_address() && by_name.addresses == 2 && !ways.has_more());
        ways.by_name_instead(second.server);
        assert!(!ways.has_more());
    }

    #[test]
    fn a_name_with_very_many_addresses_has_an_end() {
        let addresses: Vec<String> = (0..200).map(|n| format!("10.0.0.{n}:1")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let one = located("nats://h:1", &addresses);
        assert_eq!(
            listed(&mut Ways::new(vec![one], |_| false)).len(),
            MOST_WAYS
        );
    }
}
