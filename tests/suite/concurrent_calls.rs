//! Calls that arrive together are read and verified as a batch, and one that
//! fails takes none of the others with it.

use crate::support;
use std::time::{Duration, Instant};

use crate::support::drill::start_actor;
use crate::support::host::Generation;
use crate::support::invocation::{ack, bytes, is_accepted, mint};
use crate::support::operator::{LATTICE, Operated};
use crate::support::provider::{Identity, Provider, serve_here, signing_key};
use crate::support::time::timeout;
use futures::StreamExt as _;
use lattice_controller::internals::contract::{Request, Response};
use lattice_controller::internals::error::Error;
use lattice_controller::internals::serve::{Call, Operations};
use serde_json::{Value, json};
use wasmbus_rpc::core::{Invocation, InvocationResponse};

/// Sends these calls at once, and returns the answer to each and when it came.
async fn send_together(
    nats: &async_nats::Client,
    identity: &Identity,
    calls: Vec<Vec<u8>>,
) -> Vec<(InvocationResponse, Duration)> {
    let inbox = nats.new_inbox();
    let mut replies = nats.subscribe(format!("{inbox}.*")).await.unwrap();
    support::fence(nats).await;
    let started = Instant::now();
    let count = calls.len();
    for (number, call) in calls.into_iter().enumerate() {
        let (to, reply) = (identity.subject(""), format!("{inbox}.{number}"));
        let sent = nats.publish_with_reply(to, reply, call.into());
        sent.await.unwrap();
    }
    let mut answers = std::iter::repeat_with(|| None)
        .take(count)
        .collect::<Vec<_>>();
    for _ in 0..count {
        let reply = timeout(Duration::from_secs(5), replies.next()).await;
        let reply = reply.expect("an answer to each").unwrap();
        let number: usize = reply.subject[inbox.len() + 1..].parse().unwrap();
        let response = rmp_serde::from_slice(&reply.payload).unwrap();
        let before = answers[number].replace((response, started.elapsed()));
        assert!(before.is_none(), "answered twice");
    }
    answers.into_iter().map(Option::unwrap).collect()
}

/// Makes a call that starts an actor; `change` may change its claims before
/// they are signed.
fn order(identity: &Identity, host: &str, change: impl FnOnce(&mut Value)) -> Invocation {
    mint(identity, "StartActor", &start_actor(LATTICE, host), change)
}

#[tokio::test]
async fn each_of_many_calls_gets_its_own_answer_whatever_comes_beside_it() {
    let lattice = Operated::one(Generation::G1b).await;
    let (world, host) = (&lattice.world, &lattice.hosts[0]);
    lattice.get_hosts().await.unwrap();
    let mut stranger = world.identity.clone();
    stranger.cluster = signing_key(nkeys::KeyPairType::Cluster).into();
    let nats = world.nats.client().await;
    let repeated = order(&world.identity, &host.id, |_| {});
    let answers = send_together(&nats, &world.identity, vec![bytes(&repeated)]).await;
    assert!(is_accepted(&answers[0].0), "{:?}", answers[0].0);
    let mut calls = Vec::new();
    for number in 0..64 {
        let (call, expected) = match number % 8 {
            0 => {
                let mut forged = order(&world.identity, &host.id, |_| {});
                let (text, _) = forged.encoded_claims.rsplit_once('.').unwrap();
                let other = order(&world.identity, &host.id, |_| {}).encoded_claims;
                let (_, signature) = other.rsplit_once('.').unwrap();
                forged.encoded_claims = format!("{text}.{signature}");
                (forged, "invalid signature")
            }
            1 => (order(&stranger, &host.id, |_| {}), "issuer"),
            2 => {
                let expired = |claims: &mut Value| claims["exp"] = 5.into();
                (order(&world.identity, &host.id, expired), "expired")
            }
            3 => (repeated.clone(), "taken before"),
            4 => {
                let mut changed = order(&world.identity, &host.id, |_| {});
                changed.msg.push(0);
                (changed, "body is not the one")
            }
            5 if number % 16 == 5 => {
                let mut renamed = order(&world.identity, &host.id, |_| {});
                renamed.id = format!("call {number}");
                (renamed, "id is not the one")
            }
            5 => (
                mint(&world.identity, "GetHosts", &LATTICE, |_| {}),
                "question",
            ),
            _ => (order(&world.identity, &host.id, |_| {}), ""),
        };
        let bytes = match number % 16 {
            15 => rmp_serde::to_vec_named(&json!({ "id": call.id, "operation": 5 })).unwrap(),
            _ => bytes(&call),
        };
        let expected = if number % 16 == 15 {
            "deserialization"
        } else {
            expected
        };
        calls.push((call.id, expected, bytes));
    }
    let orders = calls
        .iter()
        .filter(|(_, expected, _)| expected.is_empty())
        .count();
    let (told, sent): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .map(|(id, expected, bytes)| ((id, expected), bytes))
        .unzip();
    let answers = send_together(&nats, &world.identity, sent).await;
    for ((id, expected), (answer, _)) in told.iter().zip(&answers) {
        assert_eq!(&answer.invocation_id, id);
        match *expected {
            "" => assert!(is_accepted(answer), "{id}: {answer:?}"),
            "question" => assert!(
                answer.error.is_none() && !answer.msg.is_empty(),
                "{answer:?}"
            ),
            problem => {
                let error = answer.error.as_deref().unwrap_or_default();
                assert!(
                    error.contains(problem),
                    "{id}: {problem:?} is not in {error:?}"
                );
            }
        }
    }
    assert_eq!(host.received_on(".la").len(), orders + 1);
    several_came_together(&world.provider).await;
}

/// Waits until the log says that the provider has read several calls as a
/// batch.
async fn several_came_together(provider: &Provider) {
    support::eventually("calls that came together", || async {
        let log = provider.log();
        let counts = log
            .lines()
            .filter_map(|line| line.split_once(" together calls="));
        let mut counts = counts.map(|(_, count)| count.trim().parse::<usize>().unwrap());
        counts.any(|count| count > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn orders_beyond_the_places_are_refused_and_the_places_are_free_afterwards() {
    let settings = json!({ "max_calls": 8, "max_actor_calls": 8, "max_lattice_calls": 8 });
    let lattice = Operated::configured(&[(Generation::G1b, &[])], settings).await;
    let (world, host) = (&lattice.world, &lattice.hosts[0]);
    lattice.get_hosts().await.unwrap();
    host.fall_silent_on(".la");
    let nats = world.nats.client().await;
    let calls = (0..30).map(|_| bytes(&order(&world.identity, &host.id, |_| {})));
    let answers = send_together(&nats, &world.identity, calls.collect()).await;
    let (busy, sent): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(answer, _)| {
        ack(answer).is_some_and(|ack| !ack.accepted && ack.error.contains("busy"))
    });
    assert_eq!((busy.len(), sent.len()), (22, 8));
    // A call waits 100 ms for a place.
    assert!(
        busy.iter()
            .all(|(_, after)| *after < Duration::from_millis(900))
    );
    for (answer, _) in sent {
        let error = answer.error.unwrap();
        assert!(error.contains("did not answer in time"), "{error}");
    }
    assert_eq!(host.received_on(".la").len(), 8);
    host.speak_again();
    let calls = (0..8).map(|_| bytes(&order(&world.identity, &host.id, |_| {})));
    let answers = send_together(&nats, &world.identity, calls.collect()).await;
    assert!(
        answers.iter().all(|(answer, _)| is_accepted(answer)),
        "{answers:?}"
    );
}

#[tokio::test]
async fn orders_in_flight_together_are_all_answered_when_the_host_ends_the_provider() {
    let mut lattice = Operated::one(Generation::G1b).await;
    lattice.get_hosts().await.unwrap();
    let host = lattice.hosts[0].id.clone();
    lattice.hosts[0].fall_silent_on(".la");
    let identity = lattice.world.identity.clone();
    let nats = lattice.world.nats.client().await;
    let calls: Vec<_> = (0..8)
        .map(|_| bytes(&order(&identity, &host, |_| {})))
        .collect();
    let (stop, told) = (nats.clone(), identity.clone());
    let in_flight = || async { (lattice.hosts[0].received_on(".la").len() == 8).then_some(()) };
    let stopping = async {
        support::eventually("all orders at the host", in_flight).await;
        let order = json!({ "host_id": told.host_id }).to_string();
        let ack = stop.request(told.subject("shutdown"), order.into());
        ack.await.unwrap();
    };
    let (answers, ()) = futures::join!(send_together(&nats, &identity, calls), stopping);
    for (answer, _) in answers {
        let error = answer.error.unwrap();
        assert!(error.contains("the provider stopped"), "{error}");
    }
    // They came as a batch whose signatures are valid.
    several_came_together(&lattice.world.provider).await;
    assert_eq!(lattice.world.provider.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_silent_host_keeps_no_order_beside_it_waiting() {
    let lattice = Operated::with(&[(Generation::G1b, &[]), (Generation::G1b, &[])]).await;
    let (world, [silent, well]) = (&lattice.world, &lattice.hosts[..]) else {
        panic!("not two hosts");
    };
    lattice.get_hosts().await.unwrap();
    silent.fall_silent_on(".la");
    let calls = (0..30).map(|number| {
        let host = if number % 3 == 0 { silent } else { well };
        bytes(&order(&world.identity, &host.id, |_| {}))
    });
    let nats = world.nats.client().await;
    let answers = send_together(&nats, &world.identity, calls.collect()).await;
    for (number, (answer, after)) in answers.iter().enumerate() {
        if number % 3 == 0 {
            let error = answer.error.as_deref().unwrap_or_default();
            assert!(error.contains("did not answer in time"), "{error}");
        } else {
            assert!(is_accepted(answer), "{answer:?}");
            // That is far from the 1.8 s that the others wait.
            assert!(*after < Duration::from_millis(900), "{after:?}");
        }
    }
    several_came_together(&world.provider).await;
}

/// An empty list of hosts in MessagePack.
const NO_HOSTS: [u8; 1] = [0x90];

/// Operations that fail in the way a call asks for.
struct Faulty;

impl Operations for Faulty {
    async fn carry_out(&self, _: &Call<'_>, request: Request) -> Result<Response, Error> {
        assert!(
            !matches!(request, Request::GetHosts(lattice) if lattice == "panic"),
            "as the test asks"
        );
        Ok(Response::Hosts(Vec::new()))
    }
}

#[tokio::test]
async fn a_panic_in_one_call_takes_no_answer_of_another() {
    let (nats, identity) = serve_here(Faulty, "").await;
    let client = nats.client().await;
    let calls = (0..30).map(|number| {
        let lattice = if number % 3 == 0 { "panic" } else { "fine" };
        bytes(&mint(&identity, "GetHosts", &lattice, |_| {}))
    });
    let answers = send_together(&client, &identity, calls.collect()).await;
    for (number, (answer, _)) in answers.iter().enumerate() {
        if number % 3 == 0 {
            let error = answer.error.as_deref().unwrap_or_default();
            assert!(error.contains("the provider failed"), "{error}");
        } else {
            assert_eq!(answer.msg, NO_HOSTS);
        }
    }
}
