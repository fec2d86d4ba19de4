use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::nats::{Access, Login};

fn allowed(entries: &[&str]) -> AllowedServers {
    AllowedServers::parse(entries.iter().copied()).unwrap()
}

fn servers(urls: &str) -> Vec<ServerAddr> {
    let access = Access::parse(urls, Login::Anonymous).unwrap();
    access.servers().to_vec()
}

fn takes(allowed: &AllowedServers, url: &str) -> bool {
    allowed.allows_url(&servers(url)[0])
}

/// Whether a server whose name leads to `ip` is dialled.
fn dials(allowed: &AllowedServers, url: &str, ip: &str) -> bool {
    let ip: IpAddr = ip.parse().unwrap();
    takes(allowed, url) && allowed.allows_address(&servers(url)[0], ip)
}

/// The same address in every notation that URLs, resolvers and gateways know.
const LINK_LOCAL: [&str; 18] = [
    "nats://169.254.169.254:80",
    "tls://169.254.0.1",
    "ws://169.254.169.254",
    "nats://0xA9FEA9FE",
    "ws://0xA9FEA9FE",
    "nats://2852039166",
    "nats://0251.0376.0251.0376",
    "nats://169.254.43518",
    "nats://169.254.169.254.",
    "wss://１６９.254.169.254",
    "nats://[fe80::1]",
    "nats://[FEBF::1]:4222",
    "nats://[::ffff:169.254.1.1]",
    "nats://[::ffff:a9fe:a9fe]",
    "nats://[::169.254.169.254]",
    "nats://[64:ff9b::169.254.169.254]",
    "nats://[2002:a9fe:a9fe::1]",
    "nats://10.0.0.1@169.254.169.254",
];

#[test]
fn without_the_setting_all_but_link_local_addresses_are_allowed() {
    let allowed = AllowedServers::default();
    for url in LINK_LOCAL {
        assert!(!takes(&allowed, url), "{url}");
    }
    for url in [
        "nats://nats.example",
        "nats://127.0.0.1",
        "nats://0.0.0.0",
        "nats://[::1]",
        "nats://169.253.255.255",
        "nats://169.255.0.0",
        "nats://[fec0::1]",
        "nats://[::ffff:10.0.0.1]",
        "nats://169.254.169.254@nats.example",
        "nats://169.254.169.254.example",
    ] {
        assert!(takes(&allowed, url), "{url}");
    }
    assert!(dials(&allowed, "nats://nats.example", "10.0.0.1"));
    for ip in ["169.254.169.254", "fe80::1", "::ffff:169.254.0.1"] {
        assert!(!dials(&allowed, "nats://nats.example", ip), "{ip}");
    }
}

#[test]
fn link_local_addresses_are_allowed_by_address_or_network_alone() {
    for entries in [
        &["*"][..],
        &["*.example", "nats://*", "x*", "10.0.0.0/8", "fd00::/8"],
    ] {
        let allowed = allowed(entries);
        for url in LINK_LOCAL {
            assert!(!takes(&allowed, url), "{entries:?} {url}");
        }
        assert!(dials(&allowed, "nats://nats.example", "10.0.0.1"));
        assert!(!dials(&allowed, "nats://nats.example", "169.254.0.1"));
    }
    for entry in [
        "169.254.169.254",
        "169.254.0.0/16",
        "169.254.169.0/24",
        "::ffff:169.254.0.0/112",
        "0.0.0.0/0",
    ] {
        let allowed = allowed(&[entry]);
        for url in ["nats://169.254.169.254", "nats://[::ffff:169.254.169.254]"] {
            assert!(takes(&allowed, url), "{entry} {url}");
        }
        assert!(!takes(&allowed, "nats://[fe80::1]"), "{entry}");
    }
    assert!(takes(&allowed(&["[fe80::1]"]), "nats://[fe80:0::1]"));
    assert!(takes(&allowed(&["fe80::/10"]), "nats://[fe80::1]"));
}

#[test]
fn a_name_is_allowed_as_resolvers_read_it() {
    let allowed = allowed(&["*.Example.com.", "nats-"]);
    for url in [
        "nats://a.example.com",
        "nats://A.EXAMPLE.COM",
        "wss://A.b.example.com",
        "nats://a.example.com.",
        "nats://evil.org@a.example.com",
        "nats-",
    ] {
        assert!(takes(&allowed, url), "{url}");
        // The name is trusted, wherever it leads.
        assert!(dials(&allowed, url, "192.168.0.1"), "{url}");
    }
    for url in [
        "nats://example.com",
        "nats://a.example.com.evil.org",
        "nats://a.example.com@evil.org",
        "nats://a.example.com:x@evil.org",
        "nats://a%2eexample.com",
        "nats://a.example.com..",
        "nats://aexample.com",
        "nats://\u{ff41}.ex\u{e4}mple.com",
        "nats://127.0.0.1",
        "nats://[::1]",
    ] {
        assert!(!takes(&allowed, url), "{url}");
    }
}

#[test]
fn a_name_is_allowed_where_all_its_addresses_are() {
    let allowed = allowed(&["10.0.0.0/8", "[fd00::]/8", "192.168.1.7"]);
    let name = "nats://nats.example";
    assert!(takes(&allowed, name));
    for ip in ["10.255.0.1", "::ffff:10.0.0.1", "fd12::1", "192.168.1.7"] {
        assert!(dials(&allowed, name, ip), "{ip}");
    }
    for ip in [
        "11.0.0.1",
        "192.168.1.8",
        "127.0.0.1",
        "0.0.0.0",
        "::",
        "::1",
    ] {
        assert!(!dials(&allowed, name, ip), "{ip}");
    }
    for url in ["nats://0.0.0.0", "nats://[::]", "nats://0", "nats://127.1"] {
        assert!(!takes(&allowed, url), "{url}");
    }
}

#[test]
fn scheme_and_port_count_with_the_host_of_the_same_entry() {
    let allowed = allowed(&["tls://*", "a:4333", "nats://10.0.0.0/8:4222", "WS://b"]);
    for url in [
        "tls://x",
        "tls://[::1]:1",
        "nats://a:4333",
        "nats://10.0.0.1",
        "ws://b:1",
    ] {
        assert!(takes(&allowed, url), "{url}");
    }
    for url in [
        "nats://x:1",
        "nats://a:4334",
        "ws://10.0.0.1:4222",
        "nats://10.0.0.1:22",
        "wss://b",
        "ws://a",
    ] {
        assert!(!takes(&allowed, url), "{url}");
    }
    // A name that was let in for its network is no other entry's.
    assert!(!dials(&allowed, "nats://x", "127.0.0.1"));
    assert!(dials(&allowed, "nats://x", "10.0.0.1"));
}

#[test]
fn one_server_of_a_list_that_is_not_allowed_is_named() {
    let allowed = allowed(&["10.0.0.0/8"]);
    let refused = |urls: &str| allowed.check(&servers(urls)).unwrap_err().to_string();
    assert_eq!(
        refused("nats://10.0.0.1,u:sekret@11.0.0.1:1,nats://12.0.0.1"),
        "the provider may not connect to server 2 of 3, 11.0.0.1:1 (allowed_servers)"
    );
    assert_eq!(
        refused("11.0.0.1"),
        "the provider may not connect to 11.0.0.1:4222 (allowed_servers)"
    );
    allowed.check(&servers("10.0.0.1,10.0.0.2")).unwrap();
}

#[test]
fn an_entry_that_means_nothing_or_too_much_is_a_mistake() {
    for (entry, expected) in [
        ("", "no host"),
        ("http://a", "scheme"),
        ("://a", "scheme"),
        ("nats://", "no host"),
        ("nats://a/", "no network"),
        ("u@a", "name in ASCII"),
        ("münchen.de", "name in ASCII"),
        ("a b", "name in ASCII"),
        ("a:", "port"),
        ("a:0", "port"),
        ("a:+80", "port"),
        ("a:65536", "port"),
        ("fe80::1", "brackets"),
        ("[fe80::1", "name in ASCII"),
        ("[fe80::1]x", "behind"),
        ("[10.0.0.1]", "no IP address"),
        ("[fe80::1%25eth0]", "no IP address"),
        ("10.*", "no *"),
        ("10.0.0", "four numbers"),
        ("0x7f000001", "four numbers"),
        ("256.0.0.1", "four numbers"),
        ("10.0.0.0/33", "32 or 128"),
        ("10.0.0.0/", "32 or 128"),
        ("::ffff:10.0.0.0/129", "32 or 128"),
        ("10.0.0.1/8", "first address"),
        ("fd00::1/64", "first address"),
        ("a.example/8", "no network"),
    ] {
        let problems = AllowedServers::parse([entry]).unwrap_err();
        assert!(problems[0].contains(expected), "{entry}: {problems:?}");
    }
    let problems = AllowedServers::parse(["a", "b c", "*", "10.*"]).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(problems[1].starts_with("entry 4: "), "{problems:?}");
    assert!(AllowedServers::parse([]).is_err());
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

/// What may be a URL or an entry, and mostly is nearly one.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("nats://".to_owned()),
        Just("ws://".to_owned()),
        Just("[".to_owned()),
        Just("]:".to_owned()),
        Just("/".to_owned()),
        Just("*".to_owned()),
        Just("@".to_owned()),
        Just(".example".to_owned()),
        any::<u16>().prop_map(|n| n.to_string()),
        ip().prop_map(|ip| ip.to_string()),
        any::<String>(),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_that_is_read_or_checked_panics(
        entries in proptest::collection::vec(text(), 0..4),
        url in text(),
        ip in ip(),
    ) {
        let read = AllowedServers::parse(entries.iter().map(String::as_str));
        let Ok(access) = Access::parse(&url, Login::Anonymous) else { return Ok(()) };
        for allowed in [read.unwrap_or_default(), AllowedServers::default(), allowed(&["*"])] {
            let _ = allowed.check(access.servers());
            for server in access.servers() {
                allowed.allows_address(server, ip);
            }
        }
    }

    #[test]
    fn an_address_is_allowed_exactly_within_the_network(
        base in ip(), other in ip(), bits in 0_u32..=128,
    ) {
        let (base, other) = (base.to_canonical(), other.to_canonical());
        let width = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.min(width);
        let mask = u128::MAX.checked_shl(width - bits).unwrap_or(0);
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let of = |number: u128| match base {
            IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        };
        let first = of(number(base) & mask);
        // One that happens to be IPv4 in IPv6 is another network.
        prop_assume!(first.to_canonical() == first);
        let allowed = AllowedServers::parse([format!("{first}/{bits}").as_str()]).unwrap();
        let allows = |ip: IpAddr| {
            let url = match ip {
                IpAddr::V4(ip) => format!("nats://{ip}"),
                IpAddr::V6(ip) => format!("nats://[{ip}]"),
            };
            takes(&allowed, &url) && dials(&allowed, "nats://x", &ip.to_string())
        };
        prop_assert!(allows(base));
        // The first bit that counts makes another network.
        if bits > 0 {
            let outside = of(number(base) ^ (1 << (width - bits)));
            prop_assert!(!allows(outside) || outside.to_canonical() != outside);
        }
        let within = other.is_ipv4() == base.is_ipv4()
            && (number(other) ^ number(base)) & mask == 0;
        prop_assert_eq!(allows(other), within);
    }
}
