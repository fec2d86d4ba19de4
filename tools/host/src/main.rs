//! A host of wasmCloud 1.9 for tests: the published library `wasmcloud-host` with
//! options for what a test needs, and with an end that no test can forget.

#![forbid(unsafe_code)]

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use nkeys::KeyPair;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{Level, info};
use wasmcloud_host::url::Url;
use wasmcloud_host::wasmbus::{Host, HostConfig};

/// Runs a host of wasmCloud 1.9. It prints `ready HOST_ID VERSION` when it is up,
/// and logs to standard error.
///
/// It ends, with the providers that it started, when it is stopped with a command,
/// gets SIGTERM or SIGINT, or has its standard input closed. The last happens by
/// itself when the process dies that started it with a pipe.
#[derive(Parser)]
// What hosts of this library call themselves.
#[command(version = &*HostConfig::default().version.leak())]
struct Options {
    /// The NATS server; it needs JetStream.
    #[arg(
        long,
        env = "WASMCLOUD_NATS_URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    nats_url: Url,
    /// The lattice.
    #[arg(long, env = "WASMCLOUD_LATTICE", default_value = "default")]
    lattice: String,
    /// The JetStream domain that has the lattice's buckets.
    #[arg(long, env = "WASMCLOUD_JS_DOMAIN")]
    js_domain: Option<String>,
    /// The seed (SN…) of the key that is the host's id; without it, a new key.
    #[arg(long, env = "WASMCLOUD_HOST_SEED", hide_env_values = true)]
    host_seed: Option<String>,
    /// A label of the host; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Allows components and providers from files (file:///…).
    #[arg(long, env = "WASMCLOUD_ALLOW_FILE_LOAD")]
    allow_file_load: bool,
    /// The registries (HOST:PORT,…) that may be asked by plain HTTP.
    #[arg(long, env = "WASMCLOUD_OCI_ALLOWED_INSECURE", value_delimiter = ',')]
    allowed_insecure: Vec<String>,
    /// Allows images with the tag `latest`.
    #[arg(long, env = "WASMCLOUD_OCI_ALLOW_LATEST")]
    allow_latest: bool,
    /// The seconds from one heartbeat to the next.
    #[arg(long, env = "WASMCLOUD_HEARTBEAT_INTERVAL", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_interval: u64,
    /// What the host and its providers log: error, warn, info, debug or trace.
    #[arg(long, env = "WASMCLOUD_LOG_LEVEL", default_value = "info")]
    log_level: Level,
}

/// Reads a label from the command line.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

impl Options {
    /// Returns the configuration of a host with this key.
    fn config(self, key: Arc<KeyPair>) -> HostConfig {
        let mut config = HostConfig {
            ctl_nats_url: self.nats_url.clone(),
            rpc_nats_url: self.nats_url,
            lattice: self.lattice.into(),
            js_domain: self.js_domain,
            labels: self.labels.into_iter().collect(),
            host_key: Some(key),
            allow_file_load: self.allow_file_load,
            heartbeat_interval: Some(Duration::from_secs(self.heartbeat_interval)),
            log_level: self.log_level.into(),
            // As the released host has it; without, a provider that does not
            // answer is waited for without end.
            provider_shutdown_delay: Some(Duration::from_millis(300)),
            ..HostConfig::default()
        };
        config.oci_opts.allowed_insecure = self.allowed_insecure;
        config.oci_opts.allow_latest = self.allow_latest;
        config
    }
}

/// Waits until this process shall end, and returns why.
async fn told_to_end() -> std::io::Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let (closes, closed) = oneshot::channel();
    // A thread of its own: the runtime waits for the threads that it lends when it
    // ends, and reading cannot be interrupted.
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut [0; 64]), Ok(1..)) {}
        let _ = closes.send(());
    });
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
        _ = closed => "standard input closed",
    })
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_max_level(options.log_level)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = Runtime::new()?;
    let result = runtime.block_on(run(options));
    // Ends the providers, and does not wait for what never yields: the host spins
    // for exports that it cannot subscribe to.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Runs a host until it shall end, and shuts it down.
async fn run(options: Options) -> anyhow::Result<()> {
    let key = match &options.host_seed {
        Some(seed) => KeyPair::from_seed(seed).map_err(|error| anyhow!("host seed: {error}"))?,
        None => KeyPair::new_server(),
    };
    let id = key.public_key();
    let config = options.config(Arc::new(key));
    let version = config.version.clone();
    let end = told_to_end();
    tokio::pin!(end);

    let (host, shut_down) = tokio::select! {
        started = Host::new(config) => started.context("the host did not start")?,
        why = &mut end => {
            info!("ends before it is ready: {}", why?);
            return Ok(());
        }
    };
    println!("ready {id} {version}");
    let deadline = tokio::select! {
        stopped = host.stopped() => stopped?,
        why = end => {
            info!("ends: {}", why?);
            None
        }
    };
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, shut_down)
            .await
            .context("not shut down at the deadline of the stop command")?,
        None => shut_down.await,
    }
}
