//! The statements of `docs/` are true: settings are accepted, configurations of
//! nats-server are started and used, commands exist, and messages are those of
//! the code.

use crate::support;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::every_operation::{ORDERS, every_operation};
use crate::support::host::Generation;
use crate::support::host::lattice::SimLattice;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use lattice_controller::internals::settings::{LinkSettings, ProviderSettings};

use Generation::{G1b, G2a, G2b, G3b};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns every page with its path.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let mut paths: Vec<_> = docs.map(|entry| entry.unwrap().path()).collect();
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "examples/autoscaler/README.md",
        "examples/component/README.md",
    ] {
        paths.push(root().join(page));
    }
    paths.retain(|path| path.extension().is_some_and(|end| end == "md"));
    assert!(paths.len() > 10, "{paths:?}");
    let pages = paths.into_iter();
    pages.map(|path| (path.clone(), read(&path))).collect()
}

/// A block of code in a page.
struct Block {
    page: String,
    /// The text behind the fence.
    info: String,
    /// The last line with text above the block.
    above: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for (path, text) in pages() {
        let page = path.display().to_string();
        let (mut above, mut open) = (String::new(), None::<Block>);
        for line in text.lines() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(info)) => {
                    open = Some(Block {
                        page: page.clone(),
                        info: info.to_owned(),
                        above: above.clone(),
                        text: String::new(),
                    });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) if !line.trim().is_empty() => above = line.trim().to_owned(),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{page}: a block without end");
    }
    blocks
}

/// Returns the only block with this text behind its fence.
pub fn block(info: &str) -> String {
    let mut found = blocks().into_iter().filter(|block| block.info == info);
    let block = found.next().unwrap_or_else(|| panic!("no block {info:?}"));
    assert!(found.next().is_none(), "two blocks {info:?}");
    block.text
}

/// Returns whether the page says that the block is not run here.
fn is_set_apart(block: &Block) -> bool {
    [
        "**Needs a real host**",
        "**Needs the wasm32 target**",
        "**Not built here**",
    ]
    .iter()
    .any(|mark| block.above.starts_with(mark))
}

#[test]
fn every_block_is_of_a_kind_that_is_tested_or_set_apart() {
    for block in blocks() {
        let tested = matches!(
            block.info.as_str(),
            "json settings" | "json link" | "rust" | "text" | "sh"
        ) || block.info.starts_with("nats ");
        assert!(
            tested || is_set_apart(&block),
            "{}: {:?}\n{}",
            block.page,
            block.info,
            block.text
        );
        // Doctests come from the README only.
        let readme = root().join("README.md").display().to_string();
        let compiled = block.page == readme;
        assert!(block.info != "rust" || compiled, "{}", block.page);
    }
}

#[test]
fn commands_are_make_targets_that_exist_or_set_apart() {
    let makefile = read(&root().join("Makefile"));
    let mut seen = 0;
    for block in blocks().iter().filter(|block| block.info == "sh") {
        if is_set_apart(block) {
            continue;
        }
        for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
            // `make test` runs the tests of the whole workspace.
            if line.starts_with("cargo test --locked") {
                continue;
            }
            if let Some(arguments) = line.strip_prefix("cargo run --locked --example lattice -- ") {
                has_these_arguments(arguments);
                seen += 1;
                continue;
            }
            let words = line.split('#').next().unwrap().split_whitespace();
            let words: Vec<&str> = words.filter(|word| !word.contains('=')).collect();
            let ["make", targets @ ..] = words.as_slice() else {
                panic!("{}: {line:?} is no make target, nor set apart", block.page);
            };
            for target in targets {
                assert!(
                    makefile.contains(&format!("\n{target}:")),
                    "{}: {line}",
                    block.page
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 3);
}

/// Asserts that the example's command line has these arguments.
fn has_these_arguments(line: &str) {
    let words = line.split('#').next().unwrap().split_whitespace();
    // An unknown argument is reported before the help.
    let ran = std::process::Command::new(support::example("lattice"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{line:?}: {problem}");
}

#[test]
fn settings_and_link_values_are_read() {
    let certs = support::certs::Certs::new();
    let (mut settings, mut links) = (0, 0);
    for block in blocks() {
        match block.info.as_str() {
            "json settings" => {
                let text = certs.in_place_of_documented(&block.text);
                // The page shows no key that somebody might copy, so a test
                // puts one in.
                let text = text.replace("SX…", &nkeys::XKey::new().seed().unwrap());
                let read = ProviderSettings::parse(Some(&text));
                read.unwrap_or_else(|error| panic!("{}: {error}", block.page));
                settings += 1;
            }
            "json link" => {
                let values = serde_json::from_str(&block.text).unwrap();
                let read = LinkSettings::parse(&values);
                read.unwrap_or_else(|error| panic!("{}: {error}", block.page));
                links += 1;
            }
            _ => {}
        }
    }
    assert!(settings > 0 && links > 0);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    for (path, text) in pages() {
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !place.is_empty() {
                let text = read(&file);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|h| anchor(h) == place),
                    "{}: {target}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_test_that_pages_name_exists() {
    let is_test = |part: &str| part.starts_with("tests/") && part.ends_with(".rs");
    let mut pages = pages();
    for page in ["SECURITY.md", "CONTRIBUTING.md"] {
        let path = root().join(page);
        pages.push((path.clone(), read(&path)));
    }
    let mut named = 0;
    for (page, text) in pages {
        for path in text.split('`').filter(|part| is_test(part)) {
            assert!(root().join(path).exists(), "{}: {path}", page.display());
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn every_message_of_the_troubleshooting_page_is_one_of_the_code() {
    let mut code = String::new();
    let mut folders = vec![root().join("src"), root().join("tools/par/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => code.push_str(&read(&path)),
            }
        }
    }
    // Strings are joined as the compiler does it: a line that ends with \
    // continues behind the blanks of the next one.
    let mut joined = String::new();
    for part in code.split("\\\n") {
        joined.push_str(part.trim_start());
    }
    let joined = joined.replace("\\\"", "\"");
    let text = read(&root().join("docs/troubleshooting.md"));
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let mut messages = 0;
    for row in rows {
        let message = row.split('`').nth(1).unwrap();
        for part in message
            .split('…')
            .map(str::trim)
            .filter(|part| part.len() > 2)
        {
            assert!(
                joined.contains(part),
                "{message:?}: no {part:?} in the code"
            );
        }
        messages += 1;
    }
    assert!(messages > 80, "{messages}");
}

#[tokio::test]
async fn permissions_allow_what_they_are_said_to_allow_and_nothing_else() {
    let scheduler: Vec<&str> = ORDERS
        .into_iter()
        .filter(|name| !["StartActor", "ScaleActor", "StopActor"].contains(name))
        .collect();
    for (name, refused) in [
        ("all", &[][..]),
        ("read", &ORDERS),
        ("scheduler", &scheduler),
    ] {
        let config = block(&format!("nats permissions={name}"));
        for generation in [G1b, G2a, G2b, G3b] {
            let lattice =
                Operated::with_user(&config, &[(generation, &[]), (generation, &[])]).await;
            let host = &lattice.hosts[1].id;
            if name == "read" {
                // Something runs, so that commands would have an effect.
                let nats = lattice.world.nats.client().await;
                let verb = if generation == G3b { "scale" } else { "la" };
                let body = serde_json::json!({ "actor_ref": ACTOR_REF, "count": 1,
                    "annotations": {} });
                let subject = format!("wasmbus.ctl.default.cmd.{host}.{verb}");
                nats.request(subject, body.to_string().into())
                    .await
                    .unwrap();
            }
            for (operation, outcome) in every_operation(&lattice, host).await {
                let why = outcome.unwrap_or_default();
                if !refused.contains(&operation) {
                    // An operation that depends on a refused command may find
                    // nothing.
                    let fine = why.is_empty() || name != "all" && !why.contains("may not");
                    assert!(fine, "{name} {generation:?} {operation}: {why}");
                } else if operation != "StopProvider" {
                    let named = why.contains("may not publish to");
                    assert!(named, "{name} {generation:?} {operation}: {why}");
                }
            }
            if refused.contains(&"StopProvider") {
                // There must be a provider that could be stopped.
                let nats = lattice.world.nats.client().await;
                let body = serde_json::json!({ "provider_ref": PROVIDER_REF,
                    "link_name": "default" });
                let subject = format!("wasmbus.ctl.default.cmd.{host}.lp");
                nats.request(subject, body.to_string().into())
                    .await
                    .unwrap();
                let stopped = lattice.stop_provider(host, &Annotations::new()).await;
                support::operator::refused(stopped, "may not publish to");
            }
            // The permission for events is optional and given: hosts that start
            // are noticed.
            let log = lattice.world.provider.log();
            assert!(
                !log.contains("wasmbus.evt.default\""),
                "{name}: events are refused"
            );
        }
    }
}

#[tokio::test]
async fn a_large_bucket_is_read_with_these_permissions() {
    let config = block("nats permissions=read");
    let lattice = Operated::with_user(&config, &[(G2b, &[])]).await;
    let values = serde_json::json!({ "x": "y".repeat(100_000) });
    lattice.sim.put_links(30, &values).await;
    // This is over 1 MB, where JetStream asks whether it may go on.
    assert_eq!(lattice.links().await.unwrap().len(), 30);
}

#[tokio::test]
async fn the_providers_own_user_needs_no_more_than_it_is_said_to() {
    let nats = NatsServer::with_config(&block("nats provider"));
    let url = format!("nats://provider:pw@{}", nats.address());
    let (home, lattice) = (nats.url(), NatsServer::start());
    let identity = support::provider::Identity {
        lattice: "default".into(),
        ..support::provider::Identity::new()
    };
    let mut provider = support::provider::Provider::start(&identity.host_data(&url));
    provider.ready().await;
    let client = nats.client().await;
    assert!(support::provider::health(&client, &identity).await.healthy);
    let actor = support::actor::Actor::connect(&home, &identity).await;
    let request = wasmcloud_interface_lattice_control::SetLatticeCredentialsRequest {
        lattice_id: LATTICE.into(),
        nats_url: Some(lattice.url()),
        ..Default::default()
    };
    use wasmcloud_interface_lattice_control::LatticeController as _;
    let calls = actor.lattice();
    let ctx = support::world::ctx();
    accepted(calls.set_lattice_credentials(&ctx, &request).await);
    // Credentials are stored, unknown ones are looked for, and stored ones are
    // there after a restart.
    let error = calls.get_hosts(&ctx, "other").await.unwrap_err();
    assert!(error.to_string().contains("is unknown"), "{error}");
    provider.logged("credentials are kept in JetStream").await;
    provider.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(provider.ended().await.success());
    let first = provider.log();
    let mut provider = support::provider::Provider::start(&identity.host_data(&url));
    provider.logged("credentials are kept in JetStream").await;
    // Answers and calls over 900 KiB go through the object store.
    let sim = SimLattice::with_bucket(lattice.client().await, LATTICE).await;
    let values = serde_json::json!({ "x": "y".repeat(100_000) });
    sim.put_links(12, &values).await;
    for _ in 0..2 {
        let links = calls.get_links(&ctx, LATTICE).await.unwrap().links;
        assert_eq!(links.len(), 12);
    }
    let command = wasmcloud_interface_lattice_control::StartProviderCommand {
        lattice_id: LATTICE.into(),
        host_id: identity.host_id.clone(),
        provider_ref: "x".into(),
        link_name: "default".into(),
        annotations: None,
        configuration: Some("x".repeat(1_200_000)),
    };
    let ack = calls.start_provider(&ctx, &command).await.unwrap();
    assert!(ack.error.contains("1200000 bytes"), "{}", ack.error);
    let order = serde_json::json!({ "host_id": identity.host_id }).to_string();
    let stopped = client.request(identity.subject("shutdown"), order.into());
    assert!(stopped.await.is_ok());
    assert!(provider.ended().await.success());
    for log in [first, provider.log()] {
        let refused = log.to_lowercase().contains("permissions violation");
        assert!(!refused, "{log}");
    }
}

#[tokio::test]
async fn across_accounts_every_host_is_heard() {
    let config = block("nats cross-account");
    let hosts: [(Generation, &[(&str, &str)]); 5] = [(G2b, &[]); 5];
    let lattice = Operated::with_user(&config, &hosts).await;
    let found: BTreeSet<_> = lattice
        .get_hosts()
        .await
        .unwrap()
        .into_iter()
        .map(|h| h.id)
        .collect();
    assert_eq!(found.len(), 5);
    assert_eq!(lattice.auction_actor(&[]).await.unwrap().len(), 5);
    accepted(
        lattice
            .start_actor(&lattice.hosts[3].id, 1, &Annotations::new())
            .await,
    );
    assert!(lattice.links().await.unwrap().is_empty());
    // Without that permission, one answer comes through.
    let without = config.replace(", response_type: stream", "");
    assert_ne!(without, config);
    let lattice = Operated::with_user(&without, &hosts).await;
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 1);
}
