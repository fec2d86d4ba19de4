//! The provider's process: reads host data, starts the log, serves calls, and ends with an
//! exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lattice_controller::{Controller, HostData, Lines, ProviderSettings, Rules};
use secrecy::ExposeSecret as _;
use tracing::error;

const USAGE: &str = "\
lattice-controller: wasmCloud capability provider for wasmcloud:latticecontrol

A wasmCloud host starts this program and writes host data to its standard
input: one line of base64 JSON. It takes no arguments.

  --help       this text
  --version    its version";

/// How long the process waits at its end for somebody to read the last lines of the log.
const LAST_LINES: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--help" | "-h") => return say(USAGE),
        Some("--version" | "-V") => {
            return say(concat!("lattice-controller ", env!("CARGO_PKG_VERSION")));
        }
        Some(_) => {
            // If standard error is closed, nobody wants to know.
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            return ExitCode::from(64);
        }
    }
    let log = match Lines::to_standard_error() {
        Ok(log) => log,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lattice-controller: no log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = run(&log);
    if let Err(error) = &ended {
        log.push(format!("lattice-controller: {error:#}\n").as_bytes());
    }
    log.flush(LAST_LINES);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes what was asked for to standard output.
fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(log: &Lines) -> anyhow::Result<()> {
    // A message has the text of its source: `{error:#}` would say it twice.
    let mut host = HostData::read(std::io::stdin()).map_err(|error| anyhow!("{error}"))?;
    lattice_controller::start_log(log, host.log_level.as_deref(), host.structured_logging);
    let config = host.config_json.as_ref().map(|text| text.expose_secret());
    let settings = ProviderSettings::parse(config);
    host.access = host.access.with_tls(ProviderSettings::tls_at_least(config));
    if let Err(problem) = &settings {
        error!(%problem, "the configuration is wrong: every call is refused");
    }
    let rules = Rules::of(&settings);
    let name = format!("lattice-controller {} for lattices", host.provider_key);
    let cluster_seed = host.cluster_seed.take();
    let controller = Controller::new(settings.unwrap_or_default(), name, cluster_seed.as_ref());
    let controller = controller.map_err(|error| anyhow!("{error}"))?;
    // It could sign as any actor, and is needed no more.
    drop(cluster_seed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let result = runtime.block_on(lattice_controller::serve_wasmbus(host, rules, controller));
    runtime.shutdown_timeout(Duration::from_millis(50));
    result
}
