//! What both sides of the provider need of NATS: where servers are, how to
//! prove who we are, and how a connection behaves.

use std::fmt::{self, Write as _};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use nkeys::KeyPair;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

mod allowed;
mod complaints;
mod refusal;
mod servers;
mod tls;

pub use allowed::{Allowed, Forbidden};
pub use complaints::{Bursts, Complaints};
pub use refusal::{Refusal, without_prefix};
pub use servers::Servers;
pub use tls::Tls;

/// How to prove to a NATS server who we are.
#[derive(Clone, Default)]
pub enum Login {
    /// Not at all.
    #[default]
    Anonymous,
    /// A user JWT, and the key that answers the server's challenge.
    Jwt {
        /// The token.
        jwt: SecretString,
        /// Seed of the user. A key pair would not be wiped when it is dropped:
        /// there is one only while a challenge is answered.
        seed: SecretString,
    },
    /// The key alone.
    Nkey(SecretString),
    /// User name and password.
    Password {
        /// User name.
        user: SecretString,
        /// Password.
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

/// Most servers in a list: each may take its time to answer a dial.
const MAX_SERVERS: usize = 16;

/// Servers of one NATS system and how to log in there.
///
/// Servers hold no user info: async-nats prints its addresses, so what a URL
/// says before the `@` moves into the [`Login`].
#[derive(Clone, Debug)]
pub struct Access {
    servers: Vec<ServerAddr>,
    login: Login,
    tls: Tls,
}

impl Access {
    /// Reads server URLs separated by commas: `nats://`, `tls://`, `ws://` or
    /// `wss://`, `nats://` where none is given. User info (`user:password@` or
    /// `token@`) counts for all of them and makes the login unless `login` is one
    /// already.
    ///
    /// # Errors
    /// A sentence that names the URL by its number, never by its text.
    pub fn parse(urls: &str, login: Login) -> Result<Self, String> {
        let parts: Vec<&str> = urls.split(',').map(str::trim).collect();
        if parts.len() > MAX_SERVERS {
            return Err(format!("there are more than {MAX_SERVERS} servers"));
        }
        let mut servers = Vec::with_capacity(parts.len());
        let mut found: Option<(String, Option<String>)> = None;
        for (index, part) in parts.iter().enumerate() {
            let (server, user_info) = server(part).map_err(|problem| match parts.len() {
                1 => problem,
                count => format!("server {} of {count}: {problem}", index + 1),
            })?;
            servers.push(server);
            match (&found, user_info) {
                (_, None) => {}
                (Some(known), Some(new)) if *known != new => {
                    return Err("the servers have different user info".into());
                }
                (_, new) => found = new,
            }
        }
        let websockets = servers.iter().filter(|one| one.is_websocket()).count();
        if websockets != 0 && websockets != servers.len() {
            return Err("ws and wss servers cannot be mixed with others".into());
        }
        let login = match (login, found) {
            (login, None) => login,
            (Login::Anonymous, Some((user, Some(password)))) => Login::Password {
                user: user.into(),
                password: password.into(),
            },
            (Login::Anonymous, Some((token, None))) => Login::Token(token.into()),
            (_, Some(_)) => {
                return Err("user info in the URL beside other credentials; give one".into());
            }
        };
        Ok(Self {
            servers,
            login,
            tls: Tls::default(),
        })
    }

    /// The same, with what TLS is checked and answered with.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// The servers, without user info.
    pub fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// The way to log in.
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

    /// Options that log in this way and behave as both sides want it.
    pub fn options(&self, name: String) -> ConnectOptions {
        let options = ConnectOptions::new()
            .name(name)
            .request_timeout(None)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(20))
            .reconnect_delay_callback(reconnect_delay);
        let options = self.over_servers(self.tls.options(options));
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

    /// What servers that a cluster tells of, by `host:port` alone, would lack.
    fn over_servers(&self, options: ConnectOptions) -> ConnectOptions {
        if self.servers.iter().any(ServerAddr::is_websocket) {
            // They would be spoken to without websocket.
            return options.ignore_discovered_servers();
        }
        // They would be spoken to without TLS, where they do not ask for it.
        options.require_tls(self.servers.iter().all(ServerAddr::tls_required))
    }
}

/// Pause before a connection attempt: so short that a restarted server is found
/// again at once, and long enough later on to leave a dead one in peace.
fn reconnect_delay(attempt: usize) -> Duration {
    Duration::from_millis(match attempt {
        0..=1 => 0,
        2..=40 => 25,
        41..=100 => 100,
        101..=300 => 500,
        _ => 2000,
    })
}

/// Formatted text, for which there is room at once.
pub fn text(room: usize, text: fmt::Arguments<'_>) -> String {
    let mut written = String::with_capacity(room);
    // A string takes whatever is written to it.
    let _ = written.write_fmt(text);
    written
}

type UserInfo = (String, Option<String>);

fn server(text: &str) -> Result<(ServerAddr, Option<UserInfo>), String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("nats://{text}")
    };
    let mut url = Url::parse(&text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "nats" | "tls" | "ws" | "wss") {
        return Err("the scheme must be nats, tls, ws or wss".into());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("it must end after host and port".into());
    }
    let user_info = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some((decoded(user)?, password.map(decoded).transpose()?)),
    };
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| "it cannot hold user info".to_owned())?;
    let server = ServerAddr::from_url(url).map_err(|error| error.to_string())?;
    Ok((server, user_info))
}

fn decoded(text: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| "its user info is not UTF-8".to_owned())
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
            let problem = Access::parse(mixed, Login::Anonymous).unwrap_err();
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
    fn a_url_that_cannot_work_is_refused_without_quoting_it() {
        for bad in [
            "",
            "nats://",
            "http://u:sekret@h",
            "nats://h:99999",
            "nats://h/x",
            "nats://u:sekret@h:1,nats://u:other@h:2",
            "nats://a,,nats://b",
            "nats://h?sekret=1",
            "wss://",
            "wss://u:sekret@h/path",
            "ws://u:sekret@h,nats://h",
        ] {
            let problem = Access::parse(bad, Login::Anonymous).unwrap_err();
            assert!(!problem.contains("sekret"), "{problem}");
        }
    }
}
