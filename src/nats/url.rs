//! The URL of one server, as people write it.

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

/// What a URL says before the `@`: a user and a password, or a token.
pub(super) type UserInfo = (Zeroizing<String>, Option<Zeroizing<String>>);

/// Reads a URL, `nats://` where there is no scheme, and takes the user info out of
/// it.
///
/// # Errors
/// A sentence that quotes nothing of it.
pub(super) fn server(text: &str) -> Result<(ServerAddr, Option<UserInfo>), String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let text = Zeroizing::new(if text.contains("://") {
        text.to_owned()
    } else {
        format!("nats://{text}")
    });
    let mut url = Url::parse(&text).map_err(|error| format!("not a URL: {error}"))?;
    let is_websocket = match url.scheme() {
        "nats" | "tls" => false,
        "ws" | "wss" => true,
        _ => return Err("the scheme must be nats, tls, ws or wss".into()),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    if !is_websocket && !matches!(url.path(), "" | "/") {
        return Err("it must end after host and port; only websockets have a path".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must end before ? and #".into());
    }
    let user_info = user_info(&url, &text)?;
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| "it cannot hold user info".to_owned())?;
    // What was cleared is still behind the end of the text.
    let clear = Zeroizing::new(String::from(url));
    let server = Url::parse(&clear).map_err(|error| format!("not a URL: {error}"))?;
    let server = ServerAddr::from_url(server).map_err(|error| error.to_string())?;
    Ok((server, user_info))
}

/// The same server, spoken to over TLS only.
///
/// # Errors
/// A sentence, where that cannot be.
pub(super) fn with_tls(server: ServerAddr) -> Result<ServerAddr, String> {
    match server.scheme() {
        "tls" | "wss" => Ok(server),
        "ws" => Err("ws:// has no TLS, and TLS is asked for: write wss://".into()),
        _ => {
            let mut url = server.into_inner();
            url.set_scheme("tls")
                .map_err(|()| "it cannot be spoken to over TLS".to_owned())?;
            ServerAddr::from_url(url).map_err(|error| error.to_string())
        }
    }
}

fn user_info(url: &Url, text: &str) -> Result<Option<UserInfo>, String> {
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) => Ok(Some((decoded(user)?, Some(decoded(password)?)))),
        // For `url`, an empty password is none, and for servers a token is no
        // user.
        (user, None) if has_colon(text) => Ok(Some((decoded(user)?, Some(Zeroizing::default())))),
        (token, None) => Ok(Some((decoded(token)?, None))),
    }
}

/// Whether there is a colon in what a URL says before the `@`.
fn has_colon(text: &str) -> bool {
    let slash = |c| matches!(c, '/' | '\\');
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.trim_start_matches(slash);
    let authority = rest.split(slash).next().unwrap_or(rest);
    let user_info = authority.rsplit_once('@').map_or("", |(info, _)| info);
    user_info.contains(':')
}

fn decoded(text: &str) -> Result<Zeroizing<String>, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| Zeroizing::new(text.into_owned()))
        .map_err(|_| "its user info is not UTF-8".to_owned())
}
