//! The cost of calls that are refused, beside that of a call that is carried
//! out: a command that a host acknowledges at once.

use bytes::Bytes;
use serde_json::{Value, json};
use wasmbus_rpc::core::Invocation;

use crate::accounting::{Process, micros_each};
use crate::forwarding::calls::{answered, signed};
use crate::forwarding::host::Host;
use crate::forwarding::path::Path;
use crate::support::drill::start_actor;
use crate::support::invocation::{ack, bytes, mint_by, send};
use crate::support::nats::NatsServer;
use crate::support::operator::LATTICE;
use crate::support::provider::{Identity, signing_key};
use crate::support::world::World;
use crate::table::{Promise, Row, Table, Unit};

const ROUNDS: usize = 7;
/// How many calls of a round go many at once.
const CALLS: usize = 4000;
/// The places of an actor, and how many of its calls may wait for one.
const PLACES: usize = 128;

/// Makes the calls of a kind.
type Make<'a> = Box<dyn Fn(usize) -> Vec<Bytes> + 'a>;

pub async fn measure(table: &mut Table) {
    let remote = NatsServer::without_jetstream();
    let host = Host::start(remote.client().await, LATTICE).await;
    let (world, busy) = world(&remote).await;
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
    let kinds: Vec<(&str, &str, Make<'_>)> = vec![
        (
            "no invocation",
            "deserialization",
            Box::new(|count| vec![Bytes::from_static(b"\xc1garbage"); count]),
        ),
        (
            "of another cluster",
            "issuer",
            each(|| order(&stranger, &identity.actor, |_| {})),
        ),
        (
            "forged",
            "invalid signature",
            each(|| forged(own(|_| {}), &own(|_| {}))),
        ),
        (
            "expired",
            "expired",
            each(|| own(|claims| claims["exp"] = 5.into())),
        ),
        (
            "too old",
            "too old",
            each(|| own(|claims| claims["iat"] = 5.into())),
        ),
        (
            "with another body",
            "not the one that was signed",
            each(|| changed(own(|_| {}))),
        ),
        (
            "of an actor that is not linked",
            "not linked",
            each(|| by("MX", |_| {})),
        ),
        (
            "repeated",
            "taken before",
            Box::new(|count| vec![recorded.clone(); count]),
        ),
        (
            "that the link does not allow",
            "(operations)",
            each(|| by(&reader, |_| {})),
        ),
        (
            "to another lattice",
            "(lattices)",
            each(|| by(&elsewhere, |_| {})),
        ),
        (
            "of no operation",
            "method not handled",
            each(|| mint_by(identity, &identity.actor, "Nothing", &"x", |_| {})),
        ),
        (
            "with other arguments",
            "StartActorCommand",
            each(|| mint_by(identity, &identity.actor, "StartActor", &"x", |_| {})),
        ),
        ("of a busy actor", "busy", each(|| by(&busy, |_| {}))),
    ];

    let call = Path {
        client: world.nats.client().await,
        subject: identity.subject("").into(),
        accepted: answered,
    };
    call.one_by_one(vec![recorded.clone()]).await;
    let refused = Path {
        client: call.client.clone(),
        subject: call.subject.clone(),
        accepted: |answer| refusal(answer).is_some(),
    };
    let name = |kind: &str| format!("CPU of the provider, a refused call {kind}");
    let mut rows: Vec<Row> = kinds
        .iter()
        .map(|(kind, ..)| Row::new(&name(kind), Unit::Micros, Promise::Times(1.0)).over("a call"))
        .collect();
    let process = Process::from(&world.provider);
    for round in 0..=ROUNDS {
        let served = signed(identity, &host.id, CALLS);
        let before = process.cpu();
        call.at_once(served).await;
        let served = micros_each(process.cpu() - before, CALLS);
        for ((kind, reason, make), row) in kinds.iter().zip(&mut rows) {
            if round == 0 {
                is_refused(&refused, make(1).remove(0), kind, reason).await;
            }
            let calls = make(CALLS);
            let before = process.cpu();
            refused.at_once(calls).await;
            let cost = micros_each(process.cpu() - before, CALLS);
            // The first round warms everything up.
            if round > 0 {
                row.add(served, cost);
            }
        }
    }
    for row in rows {
        table.add(row);
    }
}

/// Starts a provider with an actor that has all its places taken.
async fn world(remote: &NatsServer) -> (World, String) {
    const LONG: u64 = 300_000;
    let settings = json!({ "max_actor_calls": PLACES, "gather_limit_ms": LONG });
    let world = World::start_on(NatsServer::start(), |data| {
        data["log_level"] = "info".into();
        data["default_rpc_timeout_ms"] = LONG.into();
        data["config_json"] = settings.to_string().into();
    })
    .await;
    world.set_lattice(LATTICE, &remote.url()).await;
    world.set_lattice("silent", &remote.url()).await;
    let client = remote.client().await;
    let mut asked = client.subscribe("wasmbus.ctl.silent.>").await.unwrap();
    crate::support::fence(&client).await;
    let busy = key();
    world.publish_link("linkdefs.put", &busy, json!({})).await;
    let caller = world.nats.client().await;
    crate::support::eventually("the link", || async {
        let call = mint_by(&world.identity, &busy, "GetHosts", &"nowhere", |_| {});
        let response = send(&caller, &world.identity, bytes(&call)).await;
        response.error?.contains("is unknown").then_some(())
    })
    .await;
    for _ in 0..PLACES {
        let call = mint_by(&world.identity, &busy, "GetHosts", &"silent", |_| {});
        let (subject, inbox) = (world.identity.subject(""), caller.new_inbox());
        let sent = caller.publish_with_reply(subject, inbox, bytes(&call).into());
        sent.await.unwrap();
    }
    crate::support::fence(&caller).await;
    tokio::spawn(async move { while futures::StreamExt::next(&mut asked).await.is_some() {} });
    (world, busy)
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
async fn is_refused(path: &Path, call: Bytes, kind: &str, reason: &str) {
    crate::support::eventually(&format!("{kind}: {reason:?}"), || async {
        let answer = path.client.request(path.subject.clone(), call.clone());
        let why = refusal(&answer.await.unwrap().payload)?;
        why.contains(reason).then_some(())
    })
    .await;
}
