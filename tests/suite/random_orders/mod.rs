//! Commands do what they say and nothing else. Random commands, one right
//! behind the other and two at once, go to each generation of simulated host, and
//! in lattices of both kinds to a host of each at the same time.
//!
//! A failing run prints its seed; `ORDERS_SEED=7 cargo test --locked --test
//! suite random_orders::` gives the same commands again to every generation.

mod model;
mod model_1x;
mod shared;
mod simulated;
mod simulated_1x;
use std::time::Duration;

use crate::orders::run::{Plan, run};
use crate::orders::tally::Tally;
use crate::support::host::Generation;
use crate::support::host_v1::Version;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use shared::Shared;
use simulated::Simulated;
use simulated_1x::Simulated1x;

/// The number of commands in a run.
const ORDERS: usize = 40;

/// Most lattices at once, of both tests: on a busy machine hosts look as if they did
/// nothing.
static LATTICES: Semaphore = Semaphore::const_new(12);

/// How much larger the seed is for the second host of a lattice.
const MORE: u64 = 1_000_000;

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
    let mut host = Simulated::start(&Shared::start().await, generation).await;
    let tally = run(&mut host, &plan(seed)).await;
    story(&format!("{generation:?}"), &tally, host.harm())
}

/// Does the same for a host of 1.x.
async fn wrong_1x(version: Version, seed: u64) -> Option<String> {
    let _room = LATTICES.acquire().await.unwrap();
    let mut host = Simulated1x::start(&Shared::start().await, version).await;
    let tally = run(&mut host, &plan(seed)).await;
    story(&format!("{version:?}"), &tally, host.harm())
}

/// Does the same for a host of each kind in one lattice, which run the same actor
/// and are commanded at the same time. What a command to one does to the other is
/// wrong there.
async fn wrong_mixed(generation: Generation, version: Version, seed: u64) -> Option<String> {
    let _room = LATTICES.acquire().await.unwrap();
    let shared = Shared::start().await;
    let mut old = Simulated::start(&shared, generation).await;
    let mut new = Simulated1x::start(&shared, version).await;
    let (plan, other) = (plan(seed), plan(seed + MORE));
    let (to_old, to_new) = tokio::join!(run(&mut old, &plan), run(&mut new, &other));
    let hosts = format!("{generation:?} and {version:?}, run of {seed}");
    let old = story(&format!("first of {hosts}"), &to_old, old.harm());
    let new = story(&format!("second of {hosts}"), &to_new, new.harm());
    let stories: Vec<String> = old.into_iter().chain(new).collect();
    (!stories.is_empty()).then(|| stories.join("\n"))
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

/// Awaits all of them, and fails with the stories of those that went wrong.
async fn all_right(runs: Vec<JoinHandle<Option<String>>>) {
    let mut stories = Vec::new();
    for run in runs {
        stories.extend(run.await.unwrap());
    }
    assert!(stories.is_empty(), "{}", stories.join("\n\n"));
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
    all_right(runs.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_to_hosts_of_1x_do_what_they_say_and_nothing_else() {
    let runs = Version::ALL.into_iter().flat_map(|version| {
        let run = move |seed| tokio::spawn(wrong_1x(version, seed));
        seeds().into_iter().map(run)
    });
    all_right(runs.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_to_hosts_of_both_kinds_do_nothing_to_the_other() {
    let pairs = [
        (Generation::G3b, Version::V192),
        (Generation::G1b, Version::V192),
        (Generation::G2a, Version::V100),
    ];
    // One run has two hosts. Each pair gets the next seed, or all the one that is given.
    let runs = pairs.into_iter().zip(seeds().into_iter().cycle());
    let runs = runs.map(|((old, new), seed)| tokio::spawn(wrong_mixed(old, new, seed)));
    all_right(runs.collect()).await;
}
