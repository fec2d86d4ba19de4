//! The provider as a process: how a host starts it, links actors to it, asks
//! for its health and ends it.

mod support;

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use futures::StreamExt as _;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::actor::Actor;
use support::eventually;
use support::host::lattice::SimLattice;
use support::host::{Generation, SimHost};
use support::nats::NatsServer;
use support::provider::{Identity, Provider};
use support::world::{World, ctx};
use wasmbus_rpc::core::{HealthCheckResponse, LinkDefinition};
use wasmcloud_interface_lattice_control::*;

fn line(host_data: &Value) -> String {
    BASE64.encode(host_data.to_string().as_bytes())
}

/// Asks for health, in MessagePack.
async fn health(nats: &async_nats::Client, identity: &Identity) -> HealthCheckResponse {
    let request = nats.request(identity.subject("health"), "".into());
    let reply = tokio::time::timeout(Duration::from_secs(5), request);
    rmp_serde::from_slice(&reply.await.unwrap().unwrap().payload).unwrap()
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
            // Rust hosts.
            0 => format!("{}\r\n", line(&data)),
            // OTP hosts: no scheme, an empty configuration, levels of Erlang.
            1 => {
                data["lattice_rpc_url"] = nats.address().into();
                data["config_json"] = "".into();
                data["log_level"] = "warning".into();
                data["lattice_rpc_tls"] = 0.into();
                data["js_domain"] = Value::Null;
                format!("{}\n", line(&data))
            }
            // The test harness: no padding.
            2 => format!("{}\r\n", line(&data).trim_end_matches('=')),
            // Members that are null, missing and unknown.
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
            // No line end at all.
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
    let ack = world
        .try_set_lattice("default", &world.nats.url())
        .await
        .unwrap();
    assert!(
        !ack.accepted && ack.error.contains("bogus"),
        "{}",
        ack.error
    );
    let error = world
        .actor
        .lattice()
        .get_hosts(&ctx(), "default")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("bogus"), "{error}");
}

#[tokio::test]
async fn nats_that_comes_3_seconds_late_is_waited_for() {
    let port = NatsServer::free_port();
    let identity = Identity::new();
    let mut provider = Provider::start(&identity.host_data(&format!("nats://127.0.0.1:{port}")));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(provider.running());
    let nats = NatsServer::on_port(port);
    provider.ready().await;
    serves_calls(&nats.url(), &identity).await;
}

// --- links ---

async fn publish_link(world: &World, kind: &str, actor: &str, values: Value) {
    let mut link = LinkDefinition::default();
    link.actor_id = actor.into();
    link.provider_id = world.identity.provider_key.clone();
    link.link_name = world.identity.link_name.clone();
    link.contract_id = "wasmcloud:latticecontrol".into();
    link.values = serde_json::from_value(values).unwrap();
    let nats = world.nats.client().await;
    let body = rmp_serde::to_vec_named(&link).unwrap();
    nats.publish(world.identity.subject(kind), body.into())
        .await
        .unwrap();
    nats.flush().await.unwrap();
}

/// Waits until calls of the actor are answered with a text.
async fn answers(actor: &Actor, lattice: &str, text: &str) {
    eventually(&format!("an answer with {text:?}"), || async {
        let answer = match actor.lattice().get_hosts(&ctx(), lattice).await {
            Ok(hosts) => format!("{} hosts", hosts.len()),
            Err(error) => error.to_string(),
        };
        answer.contains(text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_linked_actors_may_call() {
    let world = World::with_lattice().await;
    let other = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    let cluster = &world.identity.cluster;
    let actor = Actor::connect_as(&world.nats.url(), &world.identity, &other, cluster).await;
    answers(&actor, "default", "not linked").await;
    publish_link(&world, "linkdefs.put", &other, json!({})).await;
    answers(&actor, "default", "0 hosts").await;
    publish_link(&world, "linkdefs.del", &other, json!({})).await;
    answers(&actor, "default", "not linked").await;
    answers(&world.actor, "default", "0 hosts").await;
}

#[tokio::test]
async fn changed_link_values_take_effect() {
    let world = World::with_lattice().await;
    let actor = &world.identity.actor;
    answers(&world.actor, "default", "0 hosts").await;
    publish_link(
        &world,
        "linkdefs.put",
        actor,
        json!({ "lattices": "other-*" }),
    )
    .await;
    answers(&world.actor, "default", "does not allow lattice").await;
    publish_link(
        &world,
        "linkdefs.put",
        actor,
        json!({ "operations": "StopHost" }),
    )
    .await;
    answers(&world.actor, "default", "does not allow GetHosts").await;
    publish_link(&world, "linkdefs.put", actor, json!({ "bogus": "x" })).await;
    answers(&world.actor, "default", "\"bogus\" is no setting").await;
    publish_link(&world, "linkdefs.put", actor, json!({})).await;
    answers(&world.actor, "default", "0 hosts").await;
}

#[tokio::test]
async fn a_links_own_budget_shortens_its_calls() {
    let world = World::with_lattice().await;
    let sim = SimLattice::without_bucket(world.nats.client().await, "default");
    let host = SimHost::start(&std::sync::Arc::new(sim), Generation::G2b, &[]).await;
    host.fall_silent_on(".stop");
    host.fall_silent_on(".inv");
    publish_link(
        &world,
        "linkdefs.put",
        &world.identity.actor,
        json!({ "call_budget_ms": "100", "lattices": "default" }),
    )
    .await;
    answers(&world.actor, "other", "does not allow lattice").await;
    let request = GetHostInventoryRequest {
        lattice_id: "default".into(),
        host_id: host.id.clone(),
    };
    let started = Instant::now();
    let answer = world
        .actor
        .lattice()
        .get_host_inventory(&ctx(), &request)
        .await;
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .contains("did not answer in time")
    );
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
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
    answers(&actor, "default", "is unknown").await;
}

// --- logging ---

#[tokio::test]
async fn each_call_leaves_one_line_at_debug() {
    let world = World::with_lattice().await;
    world
        .actor
        .lattice()
        .get_hosts(&ctx(), "default")
        .await
        .unwrap();
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
async fn level_and_format_come_from_the_host_else_from_rust_log_else_info() {
    let nats = NatsServer::start();
    for (level, env, structured, expected) in [
        (Some("debug"), "", false, "DEBUG"),
        (Some("warning"), "trace", false, ""),
        (None, "debug", false, "DEBUG"),
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

// --- the end ---

/// A world whose lattice has a host that never answers.
async fn with_silent_host() -> (World, SimHost) {
    let world = World::with_lattice().await;
    let sim = SimLattice::without_bucket(world.nats.client().await, "default");
    let host = SimHost::start(&std::sync::Arc::new(sim), Generation::G2b, &[]).await;
    host.fall_silent_on(".stop");
    host.fall_silent_on(".inv");
    (world, host)
}

/// A call that is in flight when this returns.
async fn call_in_flight(
    world: &World,
    host: &SimHost,
) -> tokio::task::JoinHandle<Result<CtlOperationAck, wasmbus_rpc::error::RpcError>> {
    let actor = world.actor.clone();
    let command = StopHostCommand {
        lattice_id: "default".into(),
        host_id: host.id.clone(),
        timeout: None,
    };
    let call = tokio::spawn(async move { actor.lattice().stop_host(&ctx(), &command).await });
    eventually("the host to hear", || async {
        (!host.received_on(".stop").is_empty()).then_some(())
    })
    .await;
    call
}

#[tokio::test]
async fn the_hosts_order_ends_it_within_250_ms_and_calls_in_flight_are_answered() {
    let (mut world, host) = with_silent_host().await;
    let call = call_in_flight(&world, &host).await;
    let nats = world.nats.client().await;
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let started = Instant::now();
    let ack = nats.request(world.identity.subject("shutdown"), order.into());
    let ack = tokio::time::timeout(Duration::from_secs(2), ack)
        .await
        .unwrap()
        .unwrap();
    let took = started.elapsed();
    assert!(!ack.payload.is_empty());
    assert!(
        took >= Duration::from_millis(190),
        "calls in flight got {took:?}"
    );
    assert!(took < Duration::from_millis(300), "{took:?}");
    // The answer was sent before the acknowledgement.
    let answer = tokio::time::timeout(Duration::from_millis(200), call)
        .await
        .unwrap()
        .unwrap();
    let error = answer.unwrap_err().to_string();
    assert!(
        error.contains("stopped before the call had ended"),
        "{error}"
    );
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_provider_ends_at_once() {
    let mut world = World::with_lattice().await;
    let nats = world.nats.client().await;
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let started = Instant::now();
    nats.request(world.identity.subject("shutdown"), order.into())
        .await
        .unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(150),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_order_without_body_is_for_us() {
    let mut world = World::start().await;
    let nats = world.nats.client().await;
    nats.request(world.identity.subject("shutdown"), "".into())
        .await
        .unwrap();
    assert_eq!(world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn orders_for_others_and_unreadable_ones_are_ignored() {
    let mut world = World::start().await;
    let nats = world.nats.client().await;
    let inbox = nats.new_inbox();
    let mut acks = nats.subscribe(inbox.clone()).await.unwrap();
    for order in [
        r#"{"host_id":"NOTHER"}"#,
        "{}",
        "garbage",
        r#"{"host_id":7}"#,
    ] {
        let subject = world.identity.subject("shutdown");
        nats.publish_with_reply(subject, inbox.clone(), order.into())
            .await
            .unwrap();
    }
    nats.flush().await.unwrap();
    // Health is asked after the orders and answered.
    assert!(health(&nats, &world.identity).await.healthy);
    let ack = tokio::time::timeout(support::provider::SHORTLY, acks.next()).await;
    assert!(ack.is_err(), "{ack:?}");
    assert!(world.provider.running());
}

#[tokio::test]
async fn new_calls_are_refused_at_once_while_it_stops() {
    let (world, host) = with_silent_host().await;
    let call = call_in_flight(&world, &host).await;
    let nats = world.nats.client().await;
    let order = json!({ "host_id": world.identity.host_id }).to_string();
    let subject = world.identity.subject("shutdown");
    let ending = tokio::spawn(async move { nats.request(subject, order.into()).await });
    world.provider.logged("stopping").await;
    let started = Instant::now();
    let answer = world.actor.lattice().get_hosts(&ctx(), "default").await;
    let took = started.elapsed();
    assert!(answer.is_err(), "{}", answer.unwrap().len());
    assert!(took < Duration::from_millis(100), "{took:?}");
    ending.await.unwrap().unwrap();
    drop(call);
}

#[tokio::test]
async fn signals_give_calls_in_flight_2_seconds() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut world, host) = with_silent_host().await;
        let call = call_in_flight(&world, &host).await;
        world.provider.signal(signal);
        // The call ends in its own time, at 1.8 s, not when the signal comes.
        let error = call.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("did not answer in time"), "{error}");
        assert_eq!(world.provider.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_signal_ends_it_also_when_nats_is_away() {
    let identity = Identity::new();
    let mut provider = Provider::start(&identity.host_data("nats://127.0.0.1:1"));
    provider.logged("starting").await;
    provider.signal(Signal::SIGTERM);
    assert_eq!(provider.ended().await.code(), Some(0));
}
