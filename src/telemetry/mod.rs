//! What the provider tells its operators: the log, on standard error, at the level that
//! the host asks for; limits of its lines; and a count of what was refused.

mod limiter;
mod lines;
mod party_limiter;
pub mod security;

pub use limiter::LogLimiter;
pub use lines::Lines;
pub use party_limiter::PartyLimiter;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// The target of the provider's own lines.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Starts logging.
///
/// The level is the host's, else that of `RUST_LOG`, else info. It applies to the
/// provider's own lines. Libraries log at warn unless `RUST_LOG` names them, because at
/// lower levels they show the data that passes through them. The connector of
/// async-nats is silent: it logs an error for each attempt, and the provider logs the
/// same with the name of the server.
pub fn start_log(lines: &Lines, host_level: Option<&str>, structured: bool) {
    let env = std::env::var("RUST_LOG").unwrap_or_default();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter(host_level, &env))
        .with_writer(lines.clone())
        // It would write those to standard error directly, which may panic.
        .log_internal_errors(false)
        .with_ansi(false);
    // Where a logger is set already, as in tests, it stays.
    let _ = if structured {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.try_init()
    };
    std::panic::set_hook(Box::new(|panic| {
        // A formatted message may quote a secret; a literal cannot.
        let message = panic.payload().downcast_ref::<&'static str>();
        let location = panic.location().map(ToString::to_string);
        tracing::error!(message, location, "panic");
    }));
}

fn filter(host_level: Option<&str>, env: &str) -> EnvFilter {
    let parts = || {
        env.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
    };
    let bare = parts().filter_map(level).next_back();
    let host = host_level.and_then(level);
    // A later directive replaces an earlier one for the same target.
    let mut directives = vec!["warn".to_owned(), "async_nats::connector=off".to_owned()];
    directives.push(format!("{OWN}={}", bare.unwrap_or(LevelFilter::INFO)));
    directives.extend(
        parts()
            .filter(|part| level(part).is_none())
            .map(str::to_owned),
    );
    directives.extend(host.map(|level| format!("{OWN}={level}")));
    directives
        .iter()
        .filter_map(|directive| directive.parse::<Directive>().ok())
        .fold(EnvFilter::default(), EnvFilter::add_directive)
}

/// Reads the name of a level: Rust's names, and Erlang's, which OTP hosts send.
fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "off" | "none" => LevelFilter::OFF,
        "emergency" | "alert" | "critical" | "error" => LevelFilter::ERROR,
        "warning" | "warn" => LevelFilter::WARN,
        "notice" | "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "all" | "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_name_of_hosts_is_known() {
        for (name, expected) in [
            ("error", "error"),
            ("warning", "warn"),
            ("warn", "warn"),
            ("Notice", "info"),
            ("info", "info"),
            ("debug", "debug"),
            ("trace", "trace"),
            ("all", "trace"),
            ("none", "off"),
            ("critical", "error"),
        ] {
            let shown = filter(Some(name), "").to_string();
            assert!(
                shown.contains(&format!("{OWN}={expected}")),
                "{name}: {shown}"
            );
        }
    }

    #[test]
    fn a_bare_level_is_ours_and_libraries_stay_quiet() {
        let shown = filter(None, "trace").to_string();
        assert!(shown.contains(&format!("{OWN}=trace")), "{shown}");
        assert!(shown.split(',').any(|part| part == "warn"), "{shown}");
        let shown = filter(Some("debug"), "info,async_nats=trace").to_string();
        assert!(shown.contains("async_nats=trace"), "{shown}");
        assert!(shown.contains(&format!("{OWN}=debug")), "{shown}");
    }

    #[test]
    fn rust_log_may_name_the_provider() {
        let shown = filter(None, "lattice_controller=debug").to_string();
        assert!(shown.contains(&format!("{OWN}=debug")), "{shown}");
        let shown = filter(Some("warn"), "lattice_controller=trace").to_string();
        assert!(shown.contains(&format!("{OWN}=warn")), "{shown}");
        assert!(!shown.contains("trace"), "{shown}");
    }

    #[test]
    fn an_unknown_level_leaves_info() {
        let shown = filter(Some("loud"), "").to_string();
        assert!(shown.contains(&format!("{OWN}=info")), "{shown}");
    }
}
