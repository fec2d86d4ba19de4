//! Commands do what they say and nothing else. Random commands, one right
//! behind the other and two at once, go to each generation of simulated host.
//!
//! A failing run prints its seed; `ORDERS_SEED=7 cargo test --locked --test
//! suite random_orders::` gives the same commands again to every generation.

mod model;
mod simulated;
mod simulated_1x;
use std::time::Duration;

use crate::orders::run::{Plan, run};
use crate::orders::tally::Tally;
use crate::support::host::Generation;
use crate::support::host_v1::Version;
use tokio::sync::Semaphore;

use simulated::Simulated;
use simulated_1x::Simulated1x;

/// The number of commands in a run.
const ORDERS: usize = 40;

/// Most lattices at once, of both tests: on a busy machine hosts look as if they did
/// nothing.
static LATTICES: Semaphore = Semaphore::const_new(12);

fn seeds() -> Vec<u64> {
    match std::env::var("ORDERS_SEED") {
        Ok(seed) => vec![seed.parse().expect("ORDERS_SEED is a number")],
        Err(_) => vec![1, 2, 3],
    }
}

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        orders: ORDERS,
        go_on: false,
        quiet: Duration::from_millis(20),
    }
}

/// Returns the story of the command that went wrong, if one did.
async fn wrong(generation: Generation, seed: u64) -> Option<String> {
    let _room = LATTICES.acquire().await.unwrap();
    let mut host = Simulated::start(generation).await;
    let tally = run(&mut host, &plan(seed)).await;
    story(&format!("{generation:?}"), &tally, host.harm())
}

/// Does the same for a host of 1.x beside hosts of 0.x.
async fn wrong_1x(version: Version, others: &[Generation], seed: u64) -> Option<String> {
    let _room = LATTICES.acquire().await.unwrap();
    let mut host = Simulated1x::start(version, others).await;
    let tally = run(&mut host, &plan(seed)).await;
    story(
        &format!("{version:?} beside {others:?}"),
        &tally,
        host.harm(),
    )
}

fn story(host: &str, tally: &Tally, harm: Option<&str>) -> Option<String> {
    let harm = harm.map(|harm| format!("  the host was harmed: {harm}"));
    let wrong = tally.wrong.first().map(|wrong| wrong.story.clone());
    if harm.is_none() && wrong.is_none() {
        return None;
    }
    let story: Vec<String> = wrong.into_iter().chain(harm).collect();
    let story = story.join("\n");
    let seed = tally.seed;
    Some(format!("{host}, ORDERS_SEED={seed}, {tally}:\n{story}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_do_what_they_say_and_nothing_else() {
    // Every command to 0.51 is refused.
    let generations = Generation::EVERY.into_iter();
    let generations = generations.filter(|generation| *generation != Generation::Otp51);
    let runs = generations.flat_map(|generation| {
        let run = move |seed| tokio::spawn(wrong(generation, seed));
        seeds().into_iter().map(run)
    });
    let runs: Vec<_> = runs.collect();
    let mut stories = Vec::new();
    for run in runs {
        stories.extend(run.await.unwrap());
    }
    assert!(stories.is_empty(), "{}", stories.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_to_hosts_of_1x_do_what_they_say_and_nothing_else() {
    let mut runs = Vec::new();
    let alone = Version::ALL.map(|version| (version, &[][..]));
    let beside = (Version::V192, &[Generation::G1b, Generation::G3b][..]);
    for (version, others) in alone.into_iter().chain([beside]) {
        for seed in seeds() {
            runs.push(tokio::spawn(wrong_1x(version, others, seed)));
        }
    }
    let mut stories = Vec::new();
    for run in runs {
        stories.extend(run.await.unwrap());
    }
    assert!(stories.is_empty(), "{}", stories.join("\n\n"));
}
