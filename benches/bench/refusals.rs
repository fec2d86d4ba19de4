//! The cost of calls that are refused, beside that of a call that is carried
//! out: a command that a host acknowledges at once.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use wasmbus_rpc::core::Invocation;

use crate::accounting::{Process, micros_each};
use crate::forwarding::calls::{answered, signed};
use crate::forwarding::path::Path;
use crate::support::drill::start_actor;
use crate::support::fast_host::Host;
use crate::support::invocation::{ack, bytes, mint_by};
use crate::support::nats::NatsServer;
use crate::support::operator::LATTICE;
use crate::support::provider::{Identity, signing_key};
use crate::support::world::World;
use crate::table::{Promise, Row, Table, Unit};

const ROUNDS: usize = 7;
/// The kind whose signature is wrong, and nothing else.
const FORGED: &str = "forged";
/// How many calls of a round go many at once.
const CALLS: usize = 4000;
/// For how long calls hang that keep an actor busy.
const LONG_MS: u64 = 300_000;

/// Makes the calls of a kind.
type Make<'a> = Box<dyn Fn(usize) -> Vec<Bytes> + 'a>;

/// Calls that are refused.
struct Kind<'a> {
    name: &'static str,
    /// What the answer says.
    reason: &'static str,
    world: &'a World,
    make: Make<'a>,
}

pub async fn measure(table: &mut Table) {
    let remote = NatsServer::without_jetstream();
    let host = Host::start(remote.client().await, LATTICE).await;
    let world = crate::world().await;
    world.set_lattice(LATTICE, &remote.url()).await;
    let busy = busy_world(&remote).await;
    let identity = &world.identity;
    let (reader, elsewhere) = (key(), key());
    let values = json!({ "operations": "read" });
    world.publish_link("linkdefs.put", &reader, values).await;
    let values = json!({ "lattices": "elsewhere" });
    world.publish_link("linkdefs.put", &elsewhere, values).await;

    let order = |identity: &Identity, actor: &str, change: fn(&mut Value)| {
        let command = start_actor(LATTICE, &host.id);
        mint_by(identity, actor, "StartActor", &command, change)
    };
    let by = |actor: &str, change: fn(&mut Value)| order(identity, actor, change);
    let own = |change: fn(&mut Value)| by(&identity.actor, change);
    let mut stranger = identity.clone();
    stranger.cluster = signing_key(nkeys::KeyPairType::Cluster).into();
    let recorded = Bytes::from(bytes(&own(|_| {})));
    let garbage = Bytes::from_static(b"\xc1garbage");
    let kind = |name, reason, make| Kind {
        name,
        reason,
        world: &world,
        make,
    };
    let of_busy = || order(&busy.identity, &busy.identity.actor, |_| {});
    let nothing = || mint_by(identity, &identity.actor, "Nothing", &"x", |_| {});
    let wrong = || mint_by(identity, &identity.actor, "StartActor", &"x", |_| {});
    let kinds: Vec<Kind<'_>> = vec![
        kind("no invocation", "deserialization", copies(&garbage)),
        kind(
            "of another cluster",
            "issuer",
            each(|| order(&stranger, &identity.actor, |_| {})),
        ),
        kind(
            "expired",
            "expired",
            each(|| own(|claims| claims["exp"] = 5.into())),
        ),
        kind(
            "too old",
            "too old",
            each(|| own(|claims| claims["iat"] = 5.into())),
        ),
        kind(
            "of an actor that is not linked",
            "not linked",
            each(|| by("MX", |_| {})),
        ),
        Kind {
            world: &busy,
            ..kind("of a busy actor", "busy", each(of_busy))
        },
        kind(
            "with another body",
            "not the one that was signed",
            each(|| changed(own(|_| {}))),
        ),
        kind("repeated", "taken before", copies(&recorded)),
        kind(
            "that the link does not allow",
            "(operations)",
            each(|| by(&reader, |_| {})),
        ),
        kind(
            "to another lattice",
            "(lattices)",
            each(|| by(&elsewhere, |_| {})),
        ),
        kind("of no operation", "method not handled", each(nothing)),
        kind("with other arguments", "StartActorCommand", each(wrong)),
        kind(
            FORGED,
            "invalid signature",
            each(|| forged(own(|_| {}), &own(|_| {}))),
        ),
    ];

    let call = path(&world, answered).await;
    call.one_by_one(vec![recorded.clone()]).await;
    let mut rows: Vec<Row> = kinds.iter().map(|kind| row(kind.name)).collect();
    let refused = path(&world, |answer| refusal(answer).is_some()).await;
    let name = "CPU of the provider, a call and a forged one in another name, together";
    let mut beside = Row::new(name, Unit::Micros, Promise::Times(1.1)).over("apart");
    let process = Process::from(&world.provider);
    for round in 0..=ROUNDS {
        // Forged calls have others of their actor cost more for a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let served = signed(identity, &host.id, CALLS);
        let before = process.cpu();
        call.at_once(served).await;
        let served = micros_each(process.cpu() - before, CALLS);
        let mut last = 0.0;
        for (kind, row) in kinds.iter().zip(&mut rows) {
            let refused = path(kind.world, |answer| refusal(answer).is_some()).await;
            if round == 0 {
                let call = (kind.make)(1).remove(0);
                is_refused(&refused, call, kind).await;
            }
            let calls = (kind.make)(CALLS);
            let process = Process::from(&kind.world.provider);
            let before = process.cpu();
            refused.at_once(calls).await;
            let cost = micros_each(process.cpu() - before, CALLS);
            last = cost;
            // The first round warms everything up.
            if round > 0 {
                row.add(served, cost);
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The last kind is that of forged calls.
        let made = signed(identity, &host.id, CALLS);
        let forgeries = (0..CALLS).map(|_| forged(by(&reader, |_| {}), &own(|_| {})));
        let forgeries = forgeries.map(|call| bytes(&call).into()).collect();
        let before = process.cpu();
        tokio::join!(call.at_once(made), refused.at_once(forgeries));
        if round > 0 {
            let together = micros_each(process.cpu() - before, CALLS);
            beside.add(served + last, together);
        }
    }
    table.add(beside);
    for row in rows {
        table.add(row);
    }
}

/// Returns the row of a kind. Nothing but the signature tells a forged call, so
/// that it costs a verification by itself; calls that are carried out are
/// verified in batches.
fn row(kind: &str) -> Row {
    let promise = if kind == FORGED { 1.35 } else { 1.0 };
    let name = format!("CPU of the provider, a refused call {kind}");
    Row::new(&name, Unit::Micros, Promise::Times(promise)).over("a call")
}

async fn path(world: &World, accepted: fn(&[u8]) -> bool) -> Path {
    Path {
        client: world.nats.client().await,
        subject: world.identity.subject("").into(),
        accepted,
    }
}

/// Starts a provider whose actor has its only place taken.
async fn busy_world(remote: &NatsServer) -> World {
    let settings = json!({ "max_actor_calls": 1, "gather_limit_ms": LONG_MS });
    let world = World::start_on(NatsServer::start(), |data| {
        data["log_level"] = "info".into();
        data["default_rpc_timeout_ms"] = LONG_MS.into();
        data["config_json"] = settings.to_string().into();
    })
    .await;
    world.set_lattice("silent", &remote.url()).await;
    let client = remote.client().await;
    let mut asked = client.subscribe("wasmbus.ctl.silent.>").await.unwrap();
    crate::support::fence(&client).await;
    let caller = world.nats.client().await;
    let call = mint_by(
        &world.identity,
        &world.identity.actor,
        "GetHosts",
        &"silent",
        |_| {},
    );
    let (subject, inbox) = (world.identity.subject(""), caller.new_inbox());
    let sent = caller.publish_with_reply(subject, inbox, bytes(&call).into());
    sent.await.unwrap();
    asked.next().await.unwrap();
    tokio::spawn(async move { while asked.next().await.is_some() {} });
    world
}

fn key() -> String {
    nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key()
}

fn each<'a>(make: impl Fn() -> Invocation + 'a) -> Make<'a> {
    Box::new(move |count| {
        let made = std::iter::repeat_with(|| bytes(&make()).into());
        made.take(count).collect()
    })
}

fn copies<'a>(call: &Bytes) -> Make<'a> {
    let call = call.clone();
    Box::new(move |count| vec![call.clone(); count])
}

/// Gives a call the signature of another one.
fn forged(mut call: Invocation, other: &Invocation) -> Invocation {
    let (text, _) = call.encoded_claims.rsplit_once('.').unwrap();
    let (_, signature) = other.encoded_claims.rsplit_once('.').unwrap();
    call.encoded_claims = format!("{text}.{signature}");
    call
}

fn changed(mut call: Invocation) -> Invocation {
    let last = call.msg.last_mut().unwrap();
    *last ^= 1;
    call
}

/// Returns why a call was refused, if it was.
fn refusal(answer: &[u8]) -> Option<String> {
    let response = rmp_serde::from_slice(answer).ok()?;
    let not_accepted = ack(&response).filter(|ack| !ack.accepted);
    response.error.or(not_accepted.map(|ack| ack.error))
}

/// Waits until such a call is refused for the reason that is to be measured.
async fn is_refused(path: &Path, call: Bytes, kind: &Kind<'_>) {
    let Kind { name, reason, .. } = kind;
    crate::support::eventually(&format!("{name}: {reason:?}"), || async {
        let answer = path.client.request(path.subject.clone(), call.clone());
        let why = refusal(&answer.await.unwrap().payload)?;
        why.contains(reason).then_some(())
    })
    .await;
}
