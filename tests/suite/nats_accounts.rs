//! Lattices in another NATS account, behind exports that let all answers
//! through and exports that let one through.

use std::collections::BTreeSet;

use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::operator::*;

use Generation::{G1b, G2b, G3b};

const ALONE: &[(&str, &str)] = &[];
const HINT: &str = "one host answers each ping, though others are alive";

/// Starts hosts in one account with credentials of their lattice in another,
/// and with this export of the control interface.
fn accounts(export: &str) -> String {
    format!(
        r#"no_auth_user: home
        accounts {{
            HOSTS: {{
                jetstream: enabled
                users: [ {{ user: home, password: pw }} ]
                exports: [ {export}, {{ stream: "wasmbus.evt.>" }} ]
            }}
            OURS: {{
                users: [ {{ user: lattice, password: pw }} ]
                imports: [
                    {{ service: {{ account: HOSTS, subject: "wasmbus.ctl.>" }} }}
                    {{ stream: {{ account: HOSTS, subject: "wasmbus.evt.>" }} }}
                ]
            }}
        }}"#
    )
}

async fn found(lattice: &Operated) -> BTreeSet<String> {
    let hosts = lattice.get_hosts().await.unwrap();
    hosts.into_iter().map(|host| host.id).collect()
}

/// Makes calls and heartbeats until a ping in the background, which waits for
/// the slowest host, has found so many hosts; then some more.
async fn go_on_past_a_patient_ping(lattice: &Operated, hosts: usize) {
    let beats_and_a_call = || async {
        for host in &lattice.hosts {
            host.beat().await;
        }
        found(lattice).await;
    };
    let text = format!("ended=Deadline hosts={hosts} ");
    eventually(&text, || async {
        beats_and_a_call().await;
        lattice.world.provider.log().contains(&text).then_some(())
    })
    .await;
    for _ in 0..3 {
        beats_and_a_call().await;
    }
}

async fn a_hint_comes_for(generation: Generation) {
    let export = r#"{ service: "wasmbus.ctl.>" }"#;
    let lattice = Operated::with_user(&accounts(export), &[(generation, ALONE); 3]).await;
    let provider = &lattice.world.provider;
    eventually("the hint", || async {
        for host in &lattice.hosts {
            host.beat().await;
        }
        assert_eq!(found(&lattice).await.len(), 1, "{generation:?}");
        provider.log().contains(HINT).then_some(())
    })
    .await;
    let log = provider.log();
    let line = log.lines().find(|line| line.contains(HINT)).unwrap();
    for named in [
        "response_type: stream",
        "wasmbus.ctl.default.>",
        "lattice \"default\"",
    ] {
        assert!(line.contains(named), "{line}");
    }
    // The log has it once in a while, however many calls there are.
    assert_eq!(log.matches(HINT).count(), 1);
}

#[tokio::test]
async fn an_export_that_lets_one_answer_through_is_named_in_the_log() {
    futures::join!(
        a_hint_comes_for(G1b),
        a_hint_comes_for(G2b),
        a_hint_comes_for(G3b)
    );
}

#[tokio::test]
async fn an_export_that_lets_all_answers_through_is_not() {
    let export = r#"{ service: "wasmbus.ctl.>", response_type: stream }"#;
    let lattice = Operated::with_user(&accounts(export), &[(G2b, ALONE); 3]).await;
    assert_eq!(found(&lattice).await.len(), 3);
    go_on_past_a_patient_ping(&lattice, 3).await;
    assert!(!lattice.world.provider.log().contains(HINT));
}

#[tokio::test]
async fn a_host_that_falls_silent_and_beats_on_is_not_taken_for_such_an_export() {
    let lattice = Operated::with(&[(G2b, ALONE), (G2b, ALONE)]).await;
    assert_eq!(found(&lattice).await.len(), 2);
    lattice.hosts[1].fall_silent_on("ping.hosts");
    go_on_past_a_patient_ping(&lattice, 1).await;
    assert_eq!(found(&lattice).await.len(), 1);
    assert!(!lattice.world.provider.log().contains(HINT));
}
