//! Seeds, and logins to the NATS servers of the provider's lattice.

use std::path::Path;

use lattice_controller::internals::nats::{Access, Login};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{ProviderOptions, Result};

/// The name of the connections on servers.
const NAME: &str = "lattice (command line)";

/// Reads a seed from a file, else from the environment.
pub fn seed(file: Option<&Path>, variable: &str) -> Result<Option<SecretString>> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
        None => std::env::var(variable).unwrap_or_default(),
    };
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.into()))
}

/// Makes a seed that can seal credentials.
pub fn new_key() -> Result<String> {
    let seed = nkeys::XKey::new().seed();
    seed.map_err(|error| format!("no key: {error}"))
}

/// Splits URLs into servers and the login in them.
fn access(options: &ProviderOptions) -> Result<Access> {
    let is_argument = || std::env::args().any(|argument| argument.ends_with(&options.nats_url));
    if options.nats_url.contains('@') && is_argument() {
        return Err(
            "a login in an argument is seen by everybody on this machine: \
             set LATTICE_NATS_URL, or give --nats-creds"
                .into(),
        );
    }
    Access::parse(&options.nats_url, Login::Anonymous)
        .map_err(|problem| format!("the URL cannot be used: {problem}"))
}

/// Connects for JetStream.
pub async fn connect(options: &ProviderOptions) -> Result<async_nats::Client> {
    let access = access(options)?;
    let mut login = access.options(NAME.into()).max_reconnects(1);
    if let Some(file) = &options.nats_creds {
        let read = login.credentials_file(file).await;
        login = read.map_err(|error| format!("{} cannot be used: {error}", file.display()))?;
    }
    let connected = login.connect(access.servers().to_vec()).await;
    connected.map_err(|error| no_connection(&access, &error))
}

/// Connects for calls: the published client has a NATS client of its own.
pub async fn connect_caller(options: &ProviderOptions) -> Result<wasmbus_rpc::async_nats::Client> {
    use wasmbus_rpc::async_nats::{ConnectOptions, ServerAddr};
    let access = access(options)?;
    let login = match (&options.nats_creds, access.login()) {
        (Some(file), _) => ConnectOptions::with_credentials_file(file.clone())
            .await
            .map_err(|error| format!("{} cannot be used: {error}", file.display()))?,
        (None, Login::Password { user, password }) => ConnectOptions::with_user_and_password(
            user.expose_secret().into(),
            password.expose_secret().into(),
        ),
        (None, Login::Token(token)) => ConnectOptions::with_token(token.expose_secret().into()),
        (None, _) => ConnectOptions::new(),
    };
    let servers = access.servers().iter().map(|server| {
        let url = format!("{}://{}:{}", server.scheme(), server.host(), server.port());
        let server = url.parse::<ServerAddr>();
        server.map_err(|error| format!("the URL cannot be used: {error}"))
    });
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let connected = login.name(NAME).connect(servers).await;
    connected.map_err(|error| no_connection(&access, &error))
}

fn no_connection(access: &Access, error: &dyn std::fmt::Display) -> String {
    format!("no connection to {}: {error}", access.address())
}
