//! Reads the URL of one server, as people write it.

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

/// What stands before the `@` of a URL: a user and a password, or a token alone.
pub(super) type UserInfo = (Zeroizing<String>, Option<Zeroizing<String>>);

/// Why a URL cannot be used. Quotes nothing of it: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// There is no text.
    #[error("it is empty")]
    Empty,
    /// It is no URL.
    #[error("not a URL: {0}")]
    NoUrl(#[from] ::url::ParseError),
    /// It has another scheme.
    #[error("the scheme must be nats, tls, ws or wss")]
    Scheme,
    /// It has no host.
    #[error("it names no host")]
    NoHost,
    /// It has a path, and is not that of a websocket.
    #[error("it must end after host and port; only websockets have a path")]
    Path,
    /// It has a query or a fragment.
    #[error("it must end before ? and #")]
    Query,
    /// What stands before the `@` decodes to something else than text.
    #[error("its user info is not UTF-8")]
    UserInfo,
    /// URLs of its kind have no user info.
    #[error("it cannot hold user info")]
    NoUserInfo,
    /// The client does not take it as a server.
    #[error("{0}")]
    NoServer(#[from] std::io::Error),
    /// TLS is asked for, and its scheme has none.
    #[error("ws:// has no TLS, and TLS is asked for: write wss://")]
    NoTls,
    /// TLS is asked for, and its scheme cannot be replaced by one that has it.
    #[error("it cannot be spoken to over TLS")]
    NeverTls,
}

/// Reads a URL and takes the user info out of it. Without a scheme, it is `nats://`.
pub(super) fn server(text: &str) -> Result<(ServerAddr, Option<UserInfo>), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    let text = Zeroizing::new(if text.contains("://") {
        text.to_owned()
    } else {
        format!("nats://{text}")
    });
    let mut url = Url::parse(&text)?;
    let is_websocket = match url.scheme() {
        "nats" | "tls" => false,
        "ws" | "wss" => true,
        _ => return Err(UrlError::Scheme),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(UrlError::NoHost);
    }
    if !is_websocket && !matches!(url.path(), "" | "/") {
        return Err(UrlError::Path);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError::Query);
    }
    let user_info = user_info(&url, &text)?;
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| UrlError::NoUserInfo)?;
    // The buffer of `url` still holds the end of what was cleared.
    let clear = Zeroizing::new(String::from(url));
    let server = ServerAddr::from_url(Url::parse(&clear)?)?;
    Ok((server, user_info))
}

/// Returns the same server, to be spoken to over TLS only.
pub(super) fn with_tls(server: ServerAddr) -> Result<ServerAddr, UrlError> {
    match server.scheme() {
        "tls" | "wss" => Ok(server),
        "ws" => Err(UrlError::NoTls),
        _ => {
            let mut url = server.into_inner();
            url.set_scheme("tls").map_err(|()| UrlError::NeverTls)?;
            Ok(ServerAddr::from_url(url)?)
        }
    }
}

fn user_info(url: &Url, text: &str) -> Result<Option<UserInfo>, UrlError> {
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) => Ok(Some((decoded(user)?, Some(decoded(password)?)))),
        // The crate `url` reports an empty password as none. Servers tell a user with
        // an empty password from a token.
        (user, None) if has_colon(text) => Ok(Some((decoded(user)?, Some(Zeroizing::default())))),
        (token, None) => Ok(Some((decoded(token)?, None))),
    }
}

/// Returns whether there is a colon before the `@` of a URL.
fn has_colon(text: &str) -> bool {
    let slash = |c| matches!(c, '/' | '\\');
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.trim_start_matches(slash);
    let authority = rest.split(slash).next().unwrap_or(rest);
    let user_info = authority.rsplit_once('@').map_or("", |(info, _)| info);
    user_info.contains(':')
}

fn decoded(text: &str) -> Result<Zeroizing<String>, UrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| Zeroizing::new(text.into_owned()))
        .map_err(|_| UrlError::UserInfo)
}
