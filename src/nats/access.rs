//! Where the servers of one NATS system are, how to log in there, and how a
//! connection to them behaves.

use std::fmt;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use nkeys::KeyPair;
use secrecy::{ExposeSecret, SecretString};

use crate::backoff::Backoff;
use crate::nats::tls::Tls;
use crate::nats::url::{self, UrlError, UserInfo};

/// How to log in to a NATS server.
#[derive(Clone, Default)]
pub enum Login {
    /// Without a login.
    #[default]
    Anonymous,
    /// A user JWT, and the key that signs the server's challenge.
    Jwt {
        /// The user JWT.
        jwt: SecretString,
        /// The seed of the user. A key pair is not wiped when it is dropped, so there
        /// is one only while a challenge is signed.
        seed: SecretString,
    },
    /// The seed of a key, without a JWT.
    Nkey(SecretString),
    /// A user name and a password, which may be empty.
    Password {
        /// The user name.
        user: SecretString,
        /// The password.
        password: SecretString,
    },
    /// A token.
    Token(SecretString),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "anonymous",
            Self::Jwt { .. } => "jwt",
            Self::Nkey(_) => "nkey",
            Self::Password { .. } => "user and password",
            Self::Token(_) => "token",
        })
    }
}

/// Most servers in a list: each may be slow to answer a dial.
const MAX_SERVERS: usize = 16;

/// The servers of one NATS system, and how to log in there.
///
/// The servers hold no user info: async-nats prints its addresses, so what stands
/// before the `@` of a URL moves into the [`Login`].
#[derive(Clone, Debug)]
pub struct Access {
    servers: Vec<ServerAddr>,
    login: Login,
    tls: Tls,
}

/// Why URLs and a login cannot be used together. Quotes nothing of them.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The list is too long.
    #[error("there are more than {MAX_SERVERS} servers")]
    TooMany,
    /// The only URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// One of several URLs cannot be used.
    #[error("server {number} of {count}: {problem}")]
    OneOf {
        /// Its place in the list, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        #[source]
        problem: UrlError,
    },
    /// One login must do for all servers.
    #[error("the servers have different user info")]
    DifferentUserInfo,
    /// The client cannot speak both ways to one system.
    #[error("ws and wss servers cannot be mixed with others")]
    Mixed,
    /// Which of two logins counts is not clear.
    #[error("user info in the URL beside other credentials; give one")]
    TwoLogins,
}

impl Access {
    /// Reads server URLs separated by commas: `nats://`, `tls://`, `ws://` or
    /// `wss://`, `nats://` where none is given; websockets may have a path. User
    /// info (`user:password@`, where the password may be empty, or `token@`) counts
    /// for all of them and makes the login unless `login` is one already.
    ///
    /// # Errors
    /// What is wrong, with the number of the URL.
    pub fn parse(urls: &str, login: Login) -> Result<Self, AccessError> {
        let parts: Vec<&str> = urls.split(',').map(str::trim).collect();
        if parts.len() > MAX_SERVERS {
            return Err(AccessError::TooMany);
        }
        let mut servers = Vec::with_capacity(parts.len());
        let mut found: Option<UserInfo> = None;
        for (index, part) in parts.iter().enumerate() {
            let (server, user_info) = url::server(part).map_err(|problem| match parts.len() {
                1 => AccessError::Url(problem),
                count => AccessError::OneOf {
                    number: index + 1,
                    count,
                    problem,
                },
            })?;
            servers.push(server);
            match (&found, user_info) {
                (_, None) => {}
                (Some(known), Some(new)) if *known != new => {
                    return Err(AccessError::DifferentUserInfo);
                }
                (_, new) => found = new,
            }
        }
        let websockets = servers.iter().filter(|one| one.is_websocket()).count();
        if websockets != 0 && websockets != servers.len() {
            return Err(AccessError::Mixed);
        }
        let login = match (login, found) {
            (login, None) => login,
            (Login::Anonymous, Some((user, Some(password)))) => Login::Password {
                user: user.as_str().into(),
                password: password.as_str().into(),
            },
            (Login::Anonymous, Some((token, None))) => Login::Token(token.as_str().into()),
            (_, Some(_)) => return Err(AccessError::TwoLogins),
        };
        Ok(Self {
            servers,
            login,
            tls: Tls::default(),
        })
    }

    /// Sets which certificates are checked and shown.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// The settings of TLS.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The servers, without user info.
    pub fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// How to log in.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// `host:port` of every server, separated by commas, for messages and logs.
    pub fn address(&self) -> String {
        let hosts: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("{}:{}", server.host(), server.port()))
            .collect();
        hosts.join(",")
    }

    /// Has nothing sent without TLS, whatever the URLs say.
    ///
    /// # Errors
    /// That a `ws://` URL has no TLS.
    pub fn over_tls_only(self) -> Result<Self, AccessError> {
        let servers = self.servers.into_iter().map(url::with_tls);
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Self { servers, ..self })
    }

    /// Returns options for our own NATS: these servers, those of their cluster that they
    /// announce, and our certificate for each of them that asks.
    pub fn options(&self, name: String) -> ConnectOptions {
        let options = self.tls.with_authorities(self.login_options(name));
        let options = self.tls.with_certificate(options);
        // async-nats has one such option for all servers of a connection.
        let all_first = self.servers.iter().all(|server| self.tls.is_first(server));
        let options = if all_first {
            options.tls_first()
        } else {
            options
        };
        self.over_servers(options)
    }

    /// Returns options for one of the servers of a lattice.
    pub fn options_for(&self, name: String, server: &ServerAddr) -> ConnectOptions {
        let options = self.tls.with_authorities(self.login_options(name));
        let options = match self.tls.shows_certificate_to(server) {
            true => self.tls.with_certificate(options),
            false => options,
        };
        match self.tls.is_first(server) {
            true => options.tls_first(),
            false => options,
        }
        .ignore_discovered_servers()
        .require_tls(server.tls_required())
    }

    /// Returns options that log in, and behave as connections of both kinds must.
    fn login_options(&self, name: String) -> ConnectOptions {
        let options = ConnectOptions::new()
            .name(name)
            .request_timeout(None)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(20))
            .reconnect_delay_callback(reconnect_delay);
        match &self.login {
            Login::Anonymous => options,
            Login::Jwt { jwt, seed } => {
                let seed = seed.clone();
                options.jwt(jwt.expose_secret().to_owned(), move |nonce| {
                    let key = KeyPair::from_seed(seed.expose_secret());
                    let signed = key.and_then(|key| key.sign(&nonce));
                    std::future::ready(signed.map_err(async_nats::AuthError::new))
                })
            }
            Login::Nkey(seed) => options.nkey(seed.expose_secret().to_owned()),
            Login::Password { user, password } => options.user_and_password(
                user.expose_secret().to_owned(),
                password.expose_secret().to_owned(),
            ),
            Login::Token(token) => options.token(token.expose_secret().to_owned()),
        }
    }

    /// Sets how the servers that a cluster announces are spoken to. It announces them
    /// as `host:port`, without a scheme.
    fn over_servers(&self, options: ConnectOptions) -> ConnectOptions {
        if self.servers.iter().any(ServerAddr::is_websocket) {
            // async-nats would speak to them without a websocket.
            return options.ignore_discovered_servers();
        }
        // Without this it would speak to them without TLS unless they ask for it.
        options.require_tls(self.servers.iter().all(ServerAddr::tls_required))
    }
}

/// Pauses between attempts to connect: short at first, so that a restarted server is
/// found at once, and longer later on, so that a dead one costs little.
const RECONNECT: Backoff =
    Backoff::growing(Duration::from_millis(25), Duration::from_secs(2), 1.15);

/// Returns the pause before an attempt to connect: none before the first.
fn reconnect_delay(attempt: usize) -> Duration {
    match attempt {
        0..=1 => Duration::ZERO,
        _ => RECONNECT.pause(attempt - 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_scheme_is_nats() {
        let access = Access::parse("127.0.0.1:4333", Login::Anonymous).unwrap();
        assert_eq!(access.address(), "127.0.0.1:4333");
        let access = Access::parse("nats://a , tls://b:1", Login::Anonymous).unwrap();
        assert_eq!(access.address(), "a:4222,b:1");
    }

    #[test]
    fn websockets_have_their_own_ports_and_keep_to_themselves() {
        let access = Access::parse("ws://a,wss://b,ws://u:p%20w@c:8080/", Login::Anonymous);
        let access = access.unwrap();
        assert_eq!(access.address(), "a:80,b:443,c:8080");
        assert!(matches!(access.login(), Login::Password { password, .. }
            if password.expose_secret() == "p w"));
        for mixed in ["ws://a,nats://b", "tls://a,wss://b", "ws://a,b"] {
            let problem = Access::parse(mixed, Login::Anonymous)
                .unwrap_err()
                .to_string();
            assert!(problem.contains("cannot be mixed"), "{problem}");
        }
    }

    #[test]
    fn servers_that_a_cluster_tells_of_are_not_spoken_to_in_the_clear() {
        let insists = |urls: &str| {
            let access = Access::parse(urls, Login::Anonymous).unwrap();
            let options = format!("{:?}", access.options("x".into()));
            options.contains(r#""tls_required": true"#)
        };
        assert!(insists("tls://a,tls://b"));
        assert!(!insists("tls://a,nats://b") && !insists("nats://a"));
    }

    #[test]
    fn user_info_leaves_the_url_and_becomes_the_login() {
        let access = Access::parse("nats://al%40ice:p%3Aw@h:1", Login::Anonymous).unwrap();
        let Login::Password { user, password } = access.login() else {
            panic!("{:?}", access.login());
        };
        assert_eq!(user.expose_secret(), "al@ice");
        assert_eq!(password.expose_secret(), "p:w");
        let shown = format!("{access:?}");
        assert!(!shown.contains("p:w") && !shown.contains("ice"), "{shown}");
        let access = Access::parse("nats://t0ken@h:1", Login::Anonymous).unwrap();
        assert!(matches!(access.login(), Login::Token(t) if t.expose_secret() == "t0ken"));
    }

    #[test]
    fn an_empty_password_is_one_and_makes_no_token_of_the_user() {
        for url in [
            "nats://alice:@h",
            "alice:@h:1",
            "tls://alice:@h",
            "ws://alice:@h/a:b@c",
            "wss:///alice:@h",
        ] {
            let access = Access::parse(url, Login::Anonymous).unwrap();
            let Login::Password { user, password } = access.login() else {
                panic!("{url}: {:?}", access.login());
            };
            let given = (user.expose_secret(), password.expose_secret());
            assert_eq!(given, ("alice", ""), "{url}");
        }
        for (url, token) in [("ws://t0@h:80/a:b@c", "t0"), ("nats://t%3A@h:1", "t:")] {
            let access = Access::parse(url, Login::Anonymous).unwrap();
            let Login::Token(found) = access.login() else {
                panic!("{url}: {:?}", access.login());
            };
            assert_eq!(found.expose_secret(), token, "{url}");
        }
        let none = Access::parse("nats://:@h", Login::Anonymous).unwrap();
        assert!(matches!(none.login(), Login::Anonymous));
    }

    #[test]
    fn a_websocket_keeps_its_path() {
        let access = Access::parse("ws://u:p@h:80/nats/a,wss://h", Login::Anonymous).unwrap();
        let urls = access.servers().iter().map(ServerAddr::as_url_str);
        let urls: Vec<&str> = urls.collect();
        assert_eq!(urls, ["ws://h/nats/a", "wss://h/"]);
        assert_eq!(access.address(), "h:80,h:443");
    }

    #[test]
    fn servers_that_are_to_have_tls_are_not_spoken_to_without() {
        let only = |urls: &str| {
            let access = Access::parse(urls, Login::Anonymous).unwrap();
            let access = access.over_tls_only()?;
            let options = format!("{:?}", access.options("x".into()));
            assert!(options.contains(r#""tls_required": true"#) || urls.contains("wss"));
            let urls = access
                .servers()
                .iter()
                .map(|server| server.as_url_str().to_owned());
            Ok::<_, AccessError>(urls.collect::<Vec<_>>())
        };
        assert_eq!(
            only("h:1,tls://i,[::1]").unwrap(),
            ["tls://h:1", "tls://i", "tls://[::1]"]
        );
        assert_eq!(only("wss://h/a").unwrap(), ["wss://h/a"]);
        assert!(only("ws://h").unwrap_err().to_string().contains("wss://"));
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_without_quoting_it() {
        for bad in [
            "",
            "nats://",
            "http://u:sekret@h",
            "nats://h:99999",
            "nats://h/x",
            "ws://h/x?sekret=1",
            "wss://h/x#sekret",
            "nats://u:sekret@h:1,nats://u:other@h:2",
            "nats://a,,nats://b",
            "nats://h?sekret=1",
            "wss://",
            "ws://u:sekret@h,nats://h",
        ] {
            let problem = Access::parse(bad, Login::Anonymous)
                .unwrap_err()
                .to_string();
            assert!(!problem.contains("sekret"), "{problem}");
        }
    }
}
