//! Floods of calls that are refused, or that hang, and beside them an actor that
//! must not notice: it finds a place, and its refusals are in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::overload::{another, with_silent};
use crate::support;
use crate::support::actor::Actor;
use crate::support::invocation::{bytes, mint, mint_by, send};
use crate::support::nats::NatsServer;
use crate::support::operator::refused;
use crate::support::time::assert_under;
use crate::support::world::{World, ctx, hosts};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use wasmbus_rpc::core::{Invocation, InvocationResponse};
use wasmcloud_interface_lattice_control::*;

/// How many calls of a flood are in flight.
const AT_ONCE: usize = 64;

/// Calls that come again and again until this is dropped.
struct Flood {
    ends: Arc<AtomicBool>,
    callers: Vec<JoinHandle<usize>>,
}

impl Flood {
    /// Sends these calls, each again as soon as it is answered.
    async fn of(world: &World, calls: Vec<Vec<u8>>) -> Self {
        let (nats, ends) = (world.nats.client().await, Arc::<AtomicBool>::default());
        let callers = (0..AT_ONCE).map(|caller| {
            let (nats, ends, identity) = (nats.clone(), ends.clone(), world.identity.clone());
            let mut call = calls.clone().into_iter().cycle().skip(caller);
            tokio::spawn(async move {
                let mut sent = 0;
                while !ends.load(Ordering::Relaxed) {
                    send(&nats, &identity, call.next().unwrap()).await;
                    sent += 1;
                }
                sent
            })
        });
        let callers = callers.collect();
        Self { ends, callers }
    }

    /// Ends it, and returns how many calls were answered.
    async fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        let sent = join_all(self.callers).await.into_iter().map(Result::unwrap);
        sent.sum()
    }
}

/// Makes a call of this actor that hangs in the lattice `silent`.
fn hanging(world: &World, actor: &str) -> Invocation {
    mint_by(&world.identity, actor, "GetHosts", &"silent", |_| {})
}

/// Sends so many calls that hang.
async fn hang(world: &World, actor: &str, calls: usize) -> JoinHandle<Vec<InvocationResponse>> {
    let nats = world.nats.client().await;
    let calls = (0..calls).map(|_| {
        let (nats, call) = (nats.clone(), bytes(&hanging(world, actor)));
        let identity = world.identity.clone();
        async move { send(&nats, &identity, call).await }
    });
    tokio::spawn(join_all(calls.collect::<Vec<_>>()))
}

/// Returns how many of these answers have an error with this text.
fn with_error(answers: &[InvocationResponse], text: &str) -> usize {
    let errors = answers.iter().filter_map(|answer| answer.error.as_ref());
    errors.filter(|error| error.contains(text)).count()
}

#[tokio::test]
async fn two_guilty_actors_that_take_all_they_can_leave_places_for_a_third() {
    let settings = json!({ "max_calls": 16, "max_lattice_calls": 16, "gather_limit_ms": 2500 });
    let (world, mut silent) = with_silent(settings, 4000).await;
    let (first, second) = (another(&world).await, another(&world).await);
    let mut floods = Vec::new();
    for guilty in [&first, &second] {
        floods.push(hang(&world, guilty.public_key(), 30).await);
        silent.next().await.unwrap();
        let busy = |line: &str| line.contains("as busy") && line.contains(guilty.public_key());
        support::eventually("a line for each", || async {
            world.provider.log().lines().any(busy).then_some(())
        })
        .await;
    }
    for _ in 0..20 {
        assert!(world.hosts("other").await.unwrap().is_empty());
    }
    let mut carried_out = Vec::new();
    for flood in floods {
        let answers = flood.await.unwrap();
        assert_eq!(
            with_error(&answers, "is busy"),
            answers.iter().filter(|a| a.error.is_some()).count()
        );
        carried_out.push(
            answers
                .iter()
                .filter(|answer| answer.error.is_none())
                .count(),
        );
    }
    assert!((8..=10).contains(&carried_out[0]), "{carried_out:?}");
    assert!((3..=8).contains(&carried_out[1]), "{carried_out:?}");
}

#[tokio::test]
async fn an_actor_whose_calls_hang_in_a_lattice_leaves_places_there_to_others() {
    let settings = json!({ "max_calls": 256, "max_lattice_calls": 32, "gather_limit_ms": 1000 });
    let (world, mut silent) = with_silent(settings, 4000).await;
    let guilty = another(&world).await;
    let flood = hang(&world, guilty.public_key(), 60).await;
    silent.next().await.unwrap();
    world.provider.logged("calls are refused as busy").await;
    assert!(world.hosts("silent").await.unwrap().is_empty());
    let answers = flood.await.unwrap();
    assert!(with_error(&answers, "(max_lattice_calls)") >= 10);
}

#[tokio::test]
async fn forged_calls_in_the_name_of_an_actor_take_none_of_its_places() {
    let settings = json!({ "max_calls": 4, "max_actor_calls": 1 });
    let (world, _silent) = with_silent(settings, 4000).await;
    let forged = (0..AT_ONCE).map(|_| {
        let mut call = mint(&world.identity, "GetHosts", &"silent", |_| {});
        let other = mint(&world.identity, "GetHosts", &"silent", |_| {}).encoded_claims;
        let (text, _) = call.encoded_claims.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        call.encoded_claims = format!("{text}.{signature}");
        bytes(&call)
    });
    let flood = Flood::of(&world, forged.collect()).await;
    world.provider.logged("invalid signature").await;
    for _ in 0..50 {
        assert!(world.hosts("other").await.unwrap().is_empty());
    }
    assert!(flood.end().await > AT_ONCE);
}

#[tokio::test]
async fn copies_of_a_recorded_call_leave_places_to_its_actors_other_calls() {
    let settings = json!({ "max_calls": 16, "max_actor_calls": 8, "gather_limit_ms": 1500 });
    let (world, mut silent) = with_silent(settings, 4000).await;
    let order = StopHostCommand {
        lattice_id: "silent".into(),
        host_id: world.identity.host_id.clone(),
        timeout: None,
    };
    // Each recorded query counts as one; further copies of both count together.
    let query = || bytes(&hanging(&world, &world.identity.actor));
    let (query, another) = (query(), query());
    let command = bytes(&mint(&world.identity, "StopHost", &order, |_| {}));
    let nats = world.nats.client().await;
    send(&nats, &world.identity, command.clone()).await;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(1), silent.next()).await {}
    // The query hangs, and its copies come meanwhile.
    let flood = Flood::of(&world, vec![query, another, command]).await;
    silent.next().await.unwrap();
    for _ in 0..50 {
        assert!(world.hosts("other").await.unwrap().is_empty());
    }
    assert!(flood.end().await > AT_ONCE);
}

#[tokio::test]
async fn bodies_that_never_come_keep_only_their_actors_calls_waiting() {
    let world = World::start_on(NatsServer::without_jetstream(), |data| {
        data["log_level"] = "info".into();
    })
    .await;
    world.set_lattice("other", &world.nats.url()).await;
    let guilty = another(&world).await;
    // The object store does not answer.
    let nats = world.nats.client().await;
    let store = format!("$JS.API.STREAM.INFO.OBJ_{}", world.identity.lattice);
    let mut asked = nats.subscribe(store).await.unwrap();
    support::fence(&nats).await;
    let large = |actor: &str| {
        let mut call = mint_by(&world.identity, actor, "GetHosts", &"other", |_| {});
        call.msg.clear();
        call.content_length = Some(1_000_000);
        send(&nats, &world.identity, bytes(&call))
    };
    let started = Instant::now();
    let calls: Vec<_> = (0..40).map(|_| large(guilty.public_key())).collect();
    let innocent = async {
        asked.next().await.unwrap();
        support::eventually("busy", || async {
            world.provider.log().contains("as busy").then_some(())
        })
        .await;
        // A large call of another actor is not refused, though it waits for the store.
        let large = large(world.actor.public_key());
        let small = async {
            for _ in 0..20 {
                assert!(world.hosts("other").await.unwrap().is_empty());
            }
        };
        futures::join!(large, small).0
    };
    let (answers, large) = futures::join!(join_all(calls), innocent);
    assert_under(Duration::from_secs(4), started.elapsed());
    assert!(large.error.unwrap().contains("not to be had in time"));
    let late = with_error(&answers, "not to be had in time");
    assert!((1..=12).contains(&late), "{late}");
    assert_eq!(with_error(&answers, "bodies over 900 KiB"), 40 - late);
}

/// Has an actor try something that its link does not allow.
async fn denied(actor: &Actor) {
    let order = StopHostCommand {
        lattice_id: "other".into(),
        host_id: nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key(),
        timeout: None,
    };
    let ack = actor.lattice().stop_host(&ctx(), &order).await;
    refused(ack, "(default_operations)");
}

#[tokio::test]
async fn the_refusals_of_a_guilty_actor_do_not_silence_those_of_another() {
    let (world, _silent) = with_silent(
        json!({ "default_operations": "read,SetLatticeCredentials" }),
        4000,
    )
    .await;
    let (guilty, innocent) = (another(&world).await, another(&world).await);
    let lines = |actor: &Actor| {
        let of_actor =
            |line: &&str| line.contains("::security") && line.contains(actor.public_key());
        // A link may take its time, and such a call is refused for that.
        let log = world.provider.log();
        let lines = log.lines().filter(of_actor);
        lines
            .filter(|line| line.contains("cause=\"operation\""))
            .count()
    };
    for _ in 0..10 {
        let calls = (0..50).map(|_| denied(&guilty));
        join_all(calls).await;
    }
    denied(&innocent).await;
    support::eventually("a line of the innocent", || async {
        (lines(&innocent) > 0).then_some(())
    })
    .await;
    assert!((20..40).contains(&lines(&guilty)), "{}", lines(&guilty));
}

#[tokio::test]
async fn names_that_nobody_proved_do_not_fill_the_log() {
    let (world, _silent) = with_silent(json!({}), 4000).await;
    let nats = world.nats.client().await;
    let call = |name: usize| {
        let mut call = mint_by(
            &world.identity,
            &format!("M{name}"),
            "GetHosts",
            &"x",
            |_| {},
        );
        if name.is_multiple_of(2) {
            // An issuer that is none, in the name of somebody new.
            call.encoded_claims = call.encoded_claims.replace('.', "..");
        }
        send(&nats, &world.identity, bytes(&call))
    };
    let before = world.provider.resident();
    for round in 0..20 {
        let answers = join_all((0..100).map(|name| call(round * 100 + name))).await;
        assert!(answers.iter().all(|answer| answer.error.is_some()));
    }
    let log = world.provider.log();
    let lines = log.lines().filter(|line| line.contains("::security"));
    let lines = lines.count();
    assert!((40..80).contains(&lines), "{lines} lines");
    let grown = world.provider.resident() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
    // The links of others still count.
    assert!(hosts(&world.actor, "other").await.unwrap().is_empty());
}
