//! What an operator does beside the provider with `examples/lattice`. The tests
//! run the program itself.

use crate::support;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::support::eventually;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::jwt::Operator;
use crate::support::nats::NatsServer;
use crate::support::operator::accepted;
use crate::support::provider::{Identity, Provider};
use crate::support::secrets::{found_in, plant};
use crate::support::world::{World, ctx};
use lattice_controller::internals::credentials::vault::bucket;
use nkeys::{KeyPair, KeyPairType, XKey};
use serde_json::{Value, json};
use wasmcloud_interface_lattice_control::*;

const KEPT: &str = "credentials are kept in JetStream";

/// The output of the program, and its exit code.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Prepares the program with the environment that names this provider.
struct Cli {
    env: Vec<(&'static str, String)>,
}

impl Cli {
    fn of(nats: &NatsServer, identity: &Identity) -> Self {
        let mut cli = Self { env: Vec::new() };
        cli.set("LATTICE_NATS_URL", nats.url());
        cli.set("LATTICE_HOME", &identity.lattice);
        cli.set("LATTICE_PROVIDER", &identity.provider_key);
        cli.set("LATTICE_LINK_NAME", &identity.link_name);
        cli.set("LATTICE_ACTOR", &identity.actor);
        cli.set("WASMCLOUD_CLUSTER_SEED", identity.cluster.seed().unwrap());
        cli
    }

    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.into()));
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs it with this on standard input. It must print no planted secret.
    fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = Command::new(support::example("lattice"))
            .args(arguments)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Where it reads nothing, it may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            code: status.code(),
            out: text(stdout),
            err: text(stderr),
        };
        for text in [&ran.out, &ran.err] {
            assert_eq!(found_in(text), None, "{text}");
        }
        ran
    }

    /// Runs it, which must succeed, and returns what it printed.
    fn prints(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs it, which must fail, and returns its message.
    fn refuses(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        ran.err
    }

    /// Returns the words of a lattice's line in the list.
    fn binding(&self, lattice: &str) -> Vec<String> {
        let list = self.prints(&["bindings"]);
        let mut lines = list.lines().map(|line| {
            let words = line.split_whitespace();
            words.map(str::to_owned).collect::<Vec<_>>()
        });
        let line = lines.find(|words| words.first().is_some_and(|word| word == lattice));
        line.unwrap_or_else(|| panic!("no {lattice:?}:\n{list}"))
    }
}

/// Returns the fingerprint that the provider logs when credentials are set.
async fn logged_fingerprint(provider: &Provider, lattice: &str) -> String {
    let set = format!("credentials set lattice={lattice} ");
    provider.logged(&set).await;
    let log = provider.log();
    let line = log.lines().find(|line| line.contains(&set)).unwrap();
    let (_, rest) = line.split_once(" fingerprint=").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Starts a provider that stores its credentials, and prepares the program for
/// it.
async fn start() -> (World, Cli) {
    let world = World::start().await;
    world.provider.logged(KEPT).await;
    let cli = Cli::of(&world.nats, &world.identity);
    (world, cli)
}

#[tokio::test]
async fn the_list_shows_what_the_provider_logs_and_no_secret() {
    let (world, cli) = start().await;
    let password = plant("pass-w0rd-for-the-list");
    let address = "10.1.2.3:4222";
    world
        .set_lattice("by-password", &format!("nats://bob:{password}@{address}"))
        .await;
    world.set_lattice("anonymous", &world.nats.url()).await;
    let user = Operator::new().user(0);
    let request = SetLatticeCredentialsRequest {
        lattice_id: "by-jwt".into(),
        nats_url: Some("tls://nats.example,tls://second.example:4333".into()),
        user_jwt: Some(user.jwt.clone()),
        user_seed: Some(user.seed.clone()),
        js_domain: None,
    };
    let set = world.actor.lattice();
    accepted(set.set_lattice_credentials(&ctx(), &request).await);

    let here = world.nats.address();
    for (lattice, server, login) in [
        ("by-password", address, &["user", "and", "password"][..]),
        ("anonymous", here.as_str(), &["anonymous"]),
        ("by-jwt", "nats.example:4222,second.example:4333", &["jwt"]),
    ] {
        let line = cli.binding(lattice);
        assert_eq!(line[1], server, "{line:?}");
        assert_eq!(line[2..2 + login.len()], *login, "{line:?}");
        let rest = &line[2 + login.len()..];
        let fingerprint = logged_fingerprint(&world.provider, lattice).await;
        assert_eq!(rest[..2], [fingerprint, world.identity.actor.clone()]);
        let age: u64 = rest[2].parse().unwrap();
        assert!(age < 60 && rest[3] == "s", "{line:?}");
    }
    assert!(!cli.prints(&["bindings"]).contains("bob"));
    // The list leaves out entries of another link name.
    let mut other = Cli::of(&world.nats, &world.identity);
    other.set("LATTICE_LINK_NAME", "other");
    assert!(!other.prints(&["bindings"]).contains("by-password"));
}

#[tokio::test]
async fn a_set_key_opens_what_it_sealed_and_may_come_from_a_file() {
    let key = plant(XKey::new().seed().unwrap());
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = json!({ "credentials_key": key }).to_string().into();
    })
    .await;
    world.provider.logged(KEPT).await;
    world.set_lattice("x", &world.nats.url()).await;
    let fingerprint = logged_fingerprint(&world.provider, "x").await;
    let mut cli = Cli::of(&world.nats, &world.identity);
    assert!(cli.binding("x").contains(&"cannot".to_owned()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{key}\n")).unwrap();
    let file = file.path().to_str().unwrap();
    let list = cli.prints(&["bindings", "--credentials-key-file", file]);
    assert!(list.contains(&fingerprint), "{list}");
    // This key is used in the place of the cluster's, as in the provider.
    cli.set("LATTICE_CREDENTIALS_KEY", &key);
    assert!(cli.binding("x").contains(&fingerprint));
}

#[tokio::test]
async fn entries_of_another_key_are_listed_as_such() {
    let (world, mut cli) = start().await;
    for lattice in ["x", "y"] {
        world.set_lattice(lattice, &world.nats.url()).await;
    }
    cli.set("LATTICE_CREDENTIALS_KEY", XKey::new().seed().unwrap());
    for lattice in ["x", "y"] {
        let line = cli.binding(lattice).join(" ");
        assert!(
            line.contains("cannot be opened: sealed with another key"),
            "{line}"
        );
        assert!(line.ends_with(" s"), "its age: {line}");
        assert!(!line.contains(&world.nats.address()), "{line}");
    }
}

#[tokio::test]
async fn keys_that_are_none_are_refused_and_secret_ones_not_shown() {
    let (_world, mut cli) = start().await;
    let odd = plant("SXANOKEYATALL");
    cli.set("LATTICE_CREDENTIALS_KEY", &odd);
    assert!(cli.refuses(&["bindings"]).contains("credentials key"));
    cli.set("LATTICE_CREDENTIALS_KEY", "");
    for odd in [odd, plant(XKey::new().seed().unwrap())] {
        cli.set("WASMCLOUD_CLUSTER_SEED", odd);
        assert!(cli.refuses(&["bindings"]).contains("cluster seed"));
    }
    cli.set("WASMCLOUD_CLUSTER_SEED", "");
    assert!(cli.refuses(&["bindings"]).contains("no key"));
    let mistyped = cli.refuses(&["purge", "x", "--provider", "VMISTYPED"]);
    assert!(mistyped.contains("provider id"), "{mistyped}");
    let file = &["bindings", "--credentials-key-file", "/nowhere/key"];
    assert!(cli.refuses(file).contains("/nowhere/key"));
}

#[tokio::test]
async fn a_purged_lattice_is_unknown_and_purged_once() {
    let (world, mut cli) = start().await;
    for lattice in ["x", "y"] {
        world.set_lattice(lattice, &world.nats.url()).await;
    }
    // This command needs no key.
    cli.set("WASMCLOUD_CLUSTER_SEED", "");
    assert!(cli.prints(&["purge", "x"]).contains("every instance"));
    let gone = || async {
        let hosts = world.actor.lattice().get_hosts(&ctx(), "x").await;
        let error = hosts.err()?.to_string();
        error.contains("is unknown").then_some(())
    };
    eventually("the lattice to be unknown", gone).await;
    assert!(world.actor.lattice().get_hosts(&ctx(), "y").await.is_ok());
    for none in ["x", "z", "a.b"] {
        let why = cli.refuses(&["purge", none]);
        assert!(why.contains("lattice"), "{why}");
    }
    let cli = Cli::of(&world.nats, &world.identity);
    assert!(!cli.prints(&["bindings"]).contains("\n x "));
    cli.binding("y");
}

#[tokio::test]
async fn no_bucket_is_made_by_looking_for_one() {
    let nats = NatsServer::start();
    let identity = Identity::new();
    let cli = Cli::of(&nats, &identity);
    let bucket = bucket::name(&identity.lattice);
    for command in [&["bindings"][..], &["purge", "x"]] {
        let why = cli.refuses(command);
        let missing = format!("there is no bucket {bucket}");
        assert!(why.contains(&missing), "{why}");
    }
    assert_eq!(nats.monitoring("/jsz")["streams"], 0);
    drop(nats);
    let without = NatsServer::without_jetstream();
    let cli = Cli::of(&without, &Identity::new());
    let why = cli.refuses(&["bindings"]);
    assert!(why.contains("cannot be opened"), "{why}");
}

// The simulated host answers in this process while the program runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_called_as_a_linked_actor_calls_them() {
    let (world, cli) = start().await;
    let sim = SimLattice::with_bucket(world.nats.client().await, "default").await;
    let host = SimHost::start(
        &std::sync::Arc::new(sim),
        Generation::G2b,
        &[("zone", "eu")],
    )
    .await;
    // Arguments with secrets are read from standard input.
    let credentials = json!({ "latticeId": "default", "natsUrl": world.nats.url() }).to_string();
    let ran = cli.run_with(&["call", "SetLatticeCredentials", "-"], &credentials);
    let answer: Value = serde_json::from_str(&ran.out).expect(&ran.err);
    assert_eq!((ran.code, &answer["accepted"]), (Some(0), &json!(true)));
    let why = cli.refuses(&["call", "SetLatticeCredentials", &credentials]);
    assert!(why.contains("standard input"), "{why}");

    let hosts: Value = serde_json::from_str(&cli.prints(&["call", "GetHosts", "default"])).unwrap();
    assert_eq!(hosts[0]["id"], host.id.as_str());
    assert_eq!(hosts[0]["labels"]["zone"], "eu");
    let members = json!({ "latticeId": "default", "hostId": host.id }).to_string();
    let inventory = cli.prints(&["call", "GetHostInventory", &members]);
    assert!(inventory.contains("\"hostId\""), "{inventory}");
    assert_eq!(
        cli.prints(&["call", "GetLinks", "default"]).trim(),
        "{\n  \"links\": []\n}"
    );

    // A command that is refused is a failure.
    let ran = cli.run(&["call", "StopHost", r#"{"latticeId":"nope","hostId":"x"}"#]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("\"accepted\": false"), "{}", ran.err);
    assert!(
        cli.refuses(&["call", "GetHosts", "nope"])
            .contains("is unknown")
    );
}

#[tokio::test]
async fn what_was_mistyped_or_left_out_is_not_sent() {
    let (world, mut cli) = start().await;
    world.set_lattice("default", &world.nats.url()).await;
    let id = |kind| KeyPair::new(kind).public_key();
    let stop = json!({
        "latticeId": "default", "hostId": id(KeyPairType::Server),
        "actorId": id(KeyPairType::Module), "anotations": { "a": "b" }, "count": 1,
    });
    let why = cli.refuses(&["call", "StopActor", &stop.to_string()]);
    assert!(why.contains("anotations"), "{why}");
    // 0 would stop all instances.
    let mut stop = stop;
    stop.as_object_mut()
        .unwrap()
        .retain(|name, _| name != "anotations" && name != "count");
    let why = cli.refuses(&["call", "StopActor", &stop.to_string()]);
    assert!(why.contains("count"), "{why}");
    let secret = plant("a-secret-that-is-no-json");
    for odd in [format!("{{\"userSeed\": [\"{secret}\"]}}"), secret] {
        let ran = cli.run_with(&["call", "SetLatticeCredentials", "-"], &odd);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
    }
    assert!(cli.refuses(&["call", "Nope", "{}"]).contains("Nope"));
    // Nothing is sent without a key that proves the caller either.
    cli.set("WASMCLOUD_CLUSTER_SEED", "");
    assert!(
        cli.refuses(&["call", "GetHosts", "default"])
            .contains("no cluster seed")
    );
}

#[tokio::test]
async fn a_login_comes_from_the_environment_or_a_file_and_not_from_an_argument() {
    let password = plant("pass-w0rd-of-operators");
    let nats = NatsServer::with_config(&format!(
        "authorization {{ users: [ {{ user: op, password: \"{password}\" }} ] }}"
    ));
    let url = format!("nats://op:{password}@{}", nats.address());
    let identity = Identity::new();
    let provider = Provider::start(&identity.host_data(&url));
    provider.logged(KEPT).await;
    let mut cli = Cli::of(&nats, &identity);
    assert!(cli.refuses(&["bindings"]).contains("no connection"));
    assert!(
        cli.refuses(&["call", "GetHosts", "x"])
            .contains("no connection")
    );
    let why = cli.refuses(&["bindings", "--nats-url", &url]);
    assert!(why.contains("everybody on this machine"), "{why}");
    cli.set("LATTICE_NATS_URL", &url);
    cli.prints(&["bindings"]);
    assert!(
        cli.refuses(&["call", "GetHosts", "x"])
            .contains("is unknown")
    );
    // The help does not show it as the default of an option either.
    for command in ["call", "bindings", "purge"] {
        cli.prints(&[command, "--help"]);
    }

    let operator = Operator::new();
    let nats = NatsServer::with_config_without_jetstream(&operator.server_config());
    let user = operator.user(0);
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.jwt, user.seed
    );
    std::fs::write(file.path(), text).unwrap();
    let mut cli = Cli::of(&nats, &identity);
    assert!(cli.refuses(&["bindings"]).contains("no connection"));
    cli.set("LATTICE_NATS_CREDS", file.path().to_str().unwrap());
    // The login succeeds, and there is nothing to list.
    assert!(cli.refuses(&["bindings"]).contains("cannot be opened"));
    let called = cli.refuses(&["call", "GetHosts", "x"]);
    assert!(!called.contains("no connection"), "{called}");
}

#[tokio::test]
async fn a_new_key_is_one_that_the_provider_takes() {
    let cli = Cli { env: Vec::new() };
    let (one, two) = (cli.prints(&["key"]), cli.prints(&["key"]));
    assert_ne!(one, two);
    let settings = json!({ "credentials_key": one.trim() }).to_string();
    lattice_controller::internals::settings::ProviderSettings::parse(Some(&settings)).unwrap();
}
