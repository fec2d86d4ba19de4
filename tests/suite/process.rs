//! The provider as a process: how a host starts it, asks for its health and
//! reads its log. See also `linked_actors.rs` and `shutdown.rs`.

use crate::support;
use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::actor::Actor;
use crate::support::eventually;
use crate::support::invocation::{bytes, mint};
use crate::support::nats::NatsServer;
use crate::support::operator::refused;
use crate::support::provider::{Identity, Provider, answers_health, health};
use crate::support::time::{assert_under, timeout};
use crate::support::world::{World, ctx};
use data_encoding::BASE64;
use futures::StreamExt as _;
use serde_json::{Value, json};
use wasmbus_rpc::core::HealthCheckResponse;
use wasmcloud_interface_lattice_control::*;

fn line(host_data: &Value) -> String {
    BASE64.encode(host_data.to_string().as_bytes())
}

async fn serves_calls(url: &str, identity: &Identity) {
    let actor = Actor::connect(url, identity).await;
    let error = actor.lattice().get_hosts(&ctx(), "x").await.unwrap_err();
    assert!(error.to_string().contains("is unknown"), "{error}");
}

#[tokio::test]
async fn every_form_of_host_data_starts_it() {
    let nats = NatsServer::start();
    for form in 0..5 {
        let identity = Identity::new();
        let mut data = identity.host_data(&nats.url());
        let text = match form {
            // As Rust hosts write it.
            0 => format!("{}\r\n", line(&data)),
            // As OTP hosts write it: no scheme, an empty configuration, log
            // levels of Erlang.
            1 => {
                data["lattice_rpc_url"] = nats.address().into();
                data["config_json"] = "".into();
                data["log_level"] = "warning".into();
                data["lattice_rpc_tls"] = 0.into();
                data["js_domain"] = Value::Null;
                format!("{}\n", line(&data))
            }
            // As the test harness writes it: base64 without padding.
            2 => format!("{}\r\n", line(&data).trim_end_matches('=')),
            // With members that are null, missing and unknown.
            3 => {
                data["lattice_rpc_user_jwt"] = Value::Null;
                data["structured_logging"] = Value::Null;
                data["future"] = json!({ "x": [1] });
                data.as_object_mut().unwrap().remove("env_values");
                data.as_object_mut()
                    .unwrap()
                    .remove("default_rpc_timeout_ms");
                format!("{}\n", line(&data))
            }
            // Without a line end.
            _ => line(&data),
        };
        let provider = Provider::start_with(&text, &[]);
        let client = nats.client().await;
        let healthy = eventually("health", || async {
            let reply = client.request(identity.subject("health"), "".into()).await;
            rmp_serde::from_slice::<HealthCheckResponse>(&reply.ok()?.payload).ok()
        });
        assert!(healthy.await.healthy, "{form}");
        serves_calls(&nats.url(), &identity).await;
        drop(provider);
    }
}

#[tokio::test]
async fn unreadable_host_data_ends_it_with_a_reason_and_no_secret() {
    let seed = support::secrets::plant("SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ");
    let mut data = Identity::new().host_data("nats://127.0.0.1:1");
    data["lattice_rpc_user_seed"] = seed.clone().into();
    data["lattice_rpc_user_jwt"] = "x".into();
    let mut wrong_type = Identity::new().host_data("nats://127.0.0.1:1");
    wrong_type["link_name"] = json!({ "seed": seed });
    for text in [
        "",
        "\n",
        "!!!\n",
        &line(&json!([seed])),
        &line(&data),
        &line(&wrong_type),
    ] {
        let mut provider = Provider::start_with(text, &[]);
        assert_eq!(provider.ended().await.code(), Some(1), "{text}");
        provider.logged("host data").await;
    }
}

#[tokio::test]
async fn help_and_version_need_no_host() {
    let binary = env!("CARGO_BIN_EXE_lattice-controller");
    for (argument, text, code) in [
        ("--version", env!("CARGO_PKG_VERSION"), 0),
        ("--help", "wasmcloud:latticecontrol", 0),
        ("--nope", "It takes no arguments", 64),
    ] {
        let command = std::process::Command::new(binary)
            .arg(argument)
            .output()
            .unwrap();
        let output = [command.stdout, command.stderr].concat();
        assert!(
            String::from_utf8_lossy(&output).contains(text),
            "{argument}"
        );
        assert_eq!(command.status.code(), Some(code), "{argument}");
    }
}

#[tokio::test]
async fn a_wrong_configuration_leaves_it_up_unhealthy_and_refusing() {
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = r#"{"bogus":1,"max_calls":"x"}"#.into();
    })
    .await;
    let health = health(&world.nats.client().await, &world.identity).await;
    let message = health.message.unwrap();
    assert!(
        !health.healthy && message.contains("bogus") && message.contains("max_calls"),
        "{message}"
    );
    refused(
        world.try_set_lattice("default", &world.nats.url()).await,
        "bogus",
    );
    let error = world.hosts("default").await.unwrap_err();
    assert!(error.contains("bogus"), "{error}");
}

#[tokio::test]
async fn nats_that_comes_late_is_waited_for() {
    let port = NatsServer::free_port();
    let identity = Identity::new();
    let mut provider = Provider::start(&identity.host_data(&format!("nats://127.0.0.1:{port}")));
    // The provider has tried to connect without success.
    provider.logged("no connection to our lattice").await;
    assert!(provider.running());
    let nats = NatsServer::on_port(port);
    provider.ready().await;
    serves_calls(&nats.url(), &identity).await;
}

#[tokio::test]
async fn test_mode_speaks_json() {
    let world = World::start_on(NatsServer::start(), |data| {
        data["host_id"] = "_TEST_".into();
        data["invocation_seed"] = "".into();
    })
    .await;
    let nats = world.nats.client().await;
    let reply = nats
        .request(world.identity.subject("health"), "{}".into())
        .await
        .unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(reply["healthy"], true);
    let other = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    let link = world.identity.link(&other, json!({})).to_string();
    nats.publish(world.identity.subject("linkdefs.put"), link.into())
        .await
        .unwrap();
    let cluster = &world.identity.cluster;
    let actor = Actor::connect_as(&world.nats.url(), &world.identity, &other, cluster).await;
    eventually("the link", || async {
        let error = actor
            .lattice()
            .get_hosts(&ctx(), "default")
            .await
            .unwrap_err();
        error.to_string().contains("is unknown").then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_call_leaves_one_line_at_debug() {
    let world = World::with_lattice().await;
    world.hosts("default").await.unwrap();
    world.provider.logged("LatticeController.GetHosts").await;
    let log = world.provider.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("LatticeController.GetHosts"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "DEBUG",
        "lattice=\"default\"",
        "outcome=\"ok\"",
        "ms=",
        &world.identity.actor,
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}

#[tokio::test]
async fn a_log_that_nobody_can_read_any_more_ends_nothing() {
    let (nats, identity) = (NatsServer::start(), Identity::new());
    let client = nats.client().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut provider = Provider::start_into(&identity.host_data(&nats.url()), writer);
    answers_health(&client, &identity).await;
    drop(reader);
    // Each call leaves some lines in the log.
    for _ in 0..10 {
        serves_calls(&nats.url(), &identity).await;
    }
    assert!(provider.running());
    let order = json!({ "host_id": identity.host_id }).to_string();
    let stopped = client.request(identity.subject("shutdown"), order.into());
    stopped.await.unwrap();
    assert_eq!(provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_keeps_no_call_waiting_and_says_what_it_lost() {
    let (nats, identity) = (NatsServer::start(), Identity::new());
    let client = nats.client().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut provider = Provider::start_into(&identity.host_data(&nats.url()), writer);
    answers_health(&client, &identity).await;
    // This makes more lines than a pipe and the provider hold. A query may be
    // sent again unchanged.
    let call = mint(&identity, "GetHosts", &"unknown", |_| {});
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    for _ in 0..60 {
        for _ in 0..100 {
            let sent =
                client.publish_with_reply(identity.subject(""), inbox.clone(), bytes(&call).into());
            sent.await.unwrap();
        }
        for _ in 0..100 {
            let answer = timeout(Duration::from_secs(5), answers.next()).await;
            answer.expect("an answer").unwrap();
        }
    }
    // Once the log is read, it says what it lost, and its last line arrives.
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let read = lines.clone();
    let reader = std::thread::spawn(move || {
        let lines = std::io::BufReader::new(reader).lines();
        lines.for_each(|line| read.lock().unwrap().push(line.unwrap()));
    });
    let told = |line: &&String| line.contains("the log lost lines");
    eventually("the log to say it", || async {
        lines.lock().unwrap().iter().find(told).cloned()
    })
    .await;
    let order = json!({ "host_id": identity.host_id }).to_string();
    let stopped = client.request(identity.subject("shutdown"), order.into());
    stopped.await.unwrap();
    assert_eq!(provider.ended().await.code(), Some(0));
    reader.join().unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.iter().filter(told).count(), 1);
    assert!(lines.last().unwrap().contains("stopped"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_log_that_nobody_reads() {
    let (nats, identity) = (NatsServer::start(), Identity::new());
    let client = nats.client().await;
    let (reader, mut writer) = std::io::pipe().unwrap();
    // The pipe is full before the provider starts.
    writer.write_all(&[b'\n'; 65536]).unwrap();
    let mut provider = Provider::start_into(&identity.host_data(&nats.url()), writer);
    answers_health(&client, &identity).await;
    let order = json!({ "host_id": identity.host_id }).to_string();
    let stopped = client.request(identity.subject("shutdown"), order.into());
    stopped.await.unwrap();
    let started = Instant::now();
    assert_eq!(provider.ended().await.code(), Some(0));
    assert_under(Duration::from_secs(1), started.elapsed());
    drop(reader);
}

/// Returns the log lines of calls with this outcome.
fn calls(log: &str, outcome: &str) -> usize {
    let outcome = format!("outcome=\"{outcome}\"");
    log.lines()
        .filter(|line| line.contains(" call") && line.contains(&outcome))
        .count()
}

#[tokio::test]
async fn calls_that_fail_leave_their_line_too() {
    let world = World::with_lattice().await;
    let client = world.actor.lattice();
    client.get_hosts(&ctx(), "unknown").await.unwrap_err();
    client.get_hosts(&ctx(), "a b").await.unwrap_err();
    world
        .actor
        .call_raw("LatticeController.Nope", vec![])
        .await
        .unwrap_err();
    world
        .actor
        .call_raw("LatticeController.StopHost", vec![])
        .await
        .unwrap_err();
    let stranger = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    let cluster = &world.identity.cluster;
    let stranger = Actor::connect_as(&world.nats.url(), &world.identity, &stranger, cluster).await;
    stranger
        .lattice()
        .get_hosts(&ctx(), "default")
        .await
        .unwrap_err();
    for outcome in [
        "unknown_lattice",
        "invalid",
        "unknown_operation",
        "undecodable",
        "unlinked",
    ] {
        world
            .provider
            .logged(&format!("outcome=\"{outcome}\""))
            .await;
        assert_eq!(calls(&world.provider.log(), outcome), 1, "{outcome}");
    }
}

#[tokio::test]
async fn level_and_format_come_from_the_host_else_from_rust_log_else_info() {
    let nats = NatsServer::start();
    for (level, env, structured, expected) in [
        (Some("debug"), "", false, "DEBUG"),
        (Some("warning"), "trace", false, ""),
        (None, "debug", false, "DEBUG"),
        (None, "lattice_controller=debug", false, "DEBUG"),
        (None, "", false, "INFO"),
        (Some("notice"), "debug", true, "\"level\":\"INFO\""),
    ] {
        let identity = Identity::new();
        let mut data = identity.host_data(&nats.url());
        data["structured_logging"] = structured.into();
        match level {
            Some(level) => data["log_level"] = level.into(),
            None => drop(data.as_object_mut().unwrap().remove("log_level")),
        }
        let provider = Provider::start_with(&format!("{}\n", line(&data)), &[("RUST_LOG", env)]);
        let client = nats.client().await;
        eventually("health", || async {
            client
                .request(identity.subject("health"), "".into())
                .await
                .ok()
        })
        .await;
        serves_calls(&nats.url(), &identity).await;
        if expected.is_empty() {
            assert_eq!(provider.log(), "", "{level:?}");
        } else {
            provider.logged(expected).await;
            let debug = provider.log().contains("DEBUG");
            assert_eq!(debug, expected == "DEBUG", "{level:?} {env}");
        }
    }
}
