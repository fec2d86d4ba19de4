//! Gives random commands through the published client, and judges their
//! outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use wasmcloud_interface_lattice_control::*;

use super::contract::Kind;
use super::contract::{Answer, Order, State, annotations, may_refuse, step};
use super::contract_1x::MISSING;
use super::generate::{self, Choice, Next};
use super::random::Random;
use super::seen::{Fault, Listing, Running, Seen, describe, differences};
use super::tally::{Tally, Wrong};
use crate::support::actor::Actor;
use crate::support::time::{scaled, timeout};
use crate::support::world::ctx;

/// How long a command may take until its effect shows.
const SHOWS_WITHIN: Duration = Duration::from_secs(3);

/// The most commands in a row without a look.
const AT_ONCE: usize = 4;

/// A little more than OTP hosts need at most to end a subscription.
const ENDING: Duration = Duration::from_millis(650);

/// A host, a provider that commands it, and ways to look at both.
pub trait Ground {
    fn kind(&self) -> Kind;
    fn lattice(&self) -> &str;
    fn host(&self) -> &str;
    /// Returns two linked actors that call the provider.
    fn callers(&self) -> [&Actor; 2];
    /// Returns a connection of the test to the lattice.
    fn control(&self) -> &async_nats::Client;
    /// Makes another actor to command, and returns its key.
    fn new_actor(&mut self) -> String;
    /// Returns the reference of a revision of that actor, which can be started
    /// from now on.
    fn reference(&self, key: &str, revision: u32) -> impl Future<Output = String>;
    /// Returns whether the provider can find out the actor of any reference.
    fn tells_apart(&self) -> bool;
    /// Returns whether the host says that it does not find an image.
    fn says_failures(&self) -> bool;
    /// Changes how the host behaves before the next command, where that can be
    /// changed.
    fn unsettle(&self, _: &mut Random) {}
    /// Calls that actor and returns the answers, where it runs code.
    fn answers(&self, key: &str) -> impl Future<Output = Option<BTreeMap<String, usize>>>;
    /// Returns what of it really runs, where that can be known.
    fn running(&self, key: &str) -> Option<Vec<Running>>;
}

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub orders: usize,
    /// Whether to go on with another actor after a wrong outcome.
    pub go_on: bool,
    /// How long everything must stay right before the next command.
    pub quiet: Duration,
}

/// Gives the commands of a plan, and in the end stops all instances, after
/// which none may be left.
pub async fn run(ground: &mut impl Ground, plan: &Plan) -> Tally {
    let mut random = Random::new(plan.seed);
    let mut tally = Tally {
        seed: plan.seed,
        ..Tally::default()
    };
    let mut course = Course::new(ground.new_actor());
    while tally.orders() < plan.orders {
        let given = tally.orders() + course.open.len();
        let next = generate::next(&mut random);
        let fault = if given + 1 >= plan.orders {
            course.stop(ground).await
        } else {
            course.order(ground, &mut random, next).await
        };
        let more = given + 2 < plan.orders && course.open.len() < AT_ONCE;
        if fault.is_none() && next == Next::Behind && more {
            continue;
        }
        let wrong = tally.wrong.len();
        // A wrong answer is reported together with its effect.
        let looked = course.look(ground, plan).await;
        let faults: Vec<Fault> = fault.into_iter().chain(looked).collect();
        course.count(&mut tally, faults);
        if tally.wrong.len() > wrong {
            if !plan.go_on {
                return tally;
            }
            stop_all(ground, &course.key).await;
            course = Course::new(ground.new_actor());
        }
    }
    tally
}

/// Commands for one actor, up to the first wrong outcome.
struct Course {
    key: String,
    /// The states that may be right now.
    states: Vec<State>,
    /// The newest revision that was named.
    newest: u32,
    /// The revisions that have run.
    ran: BTreeSet<u32>,
    /// When nothing ran for the last time.
    empty: Instant,
    /// The commands since the last look, each with the reason if it was
    /// refused.
    open: Vec<Option<&'static str>>,
    /// The story so far, a line for each event.
    story: Vec<String>,
}

impl Course {
    fn new(key: String) -> Self {
        Self {
            key,
            states: vec![State::default()],
            newest: 1,
            ran: BTreeSet::new(),
            empty: Instant::now(),
            open: Vec::new(),
            story: Vec::new(),
        }
    }

    fn next(&mut self, random: &mut Random, ground: &impl Ground) -> Order {
        let choice = Choice {
            state: &self.states[0],
            newest: self.newest,
            ran: &self.ran,
            tells_apart: ground.tells_apart(),
            kind: ground.kind(),
            says_failures: ground.says_failures(),
        };
        let order = generate::order(random, &choice);
        let there = order.revision().filter(|revision| *revision != MISSING);
        self.newest = self.newest.max(there.unwrap_or(0));
        ground.unsettle(random);
        order
    }

    /// Gives one command, or two at once, and returns what is wrong with the
    /// answers.
    async fn order(
        &mut self,
        ground: &impl Ground,
        random: &mut Random,
        next: Next,
    ) -> Option<Fault> {
        let [one, two] = ground.callers();
        let first = self.next(random, ground);
        if next != Next::Both {
            let answer = self.send(ground, one, first).await;
            return self.judge(ground.kind(), &[(first, answer)]);
        }
        let second = self.next(random, ground);
        let (a, b) = tokio::join!(
            self.send(ground, one, first),
            self.send(ground, two, second)
        );
        self.judge(ground.kind(), &[(first, a), (second, b)])
    }

    /// Stops everything that runs.
    async fn stop(&mut self, ground: &impl Ground) -> Option<Fault> {
        let [caller, _] = ground.callers();
        let order = Order::Scale {
            set: 0,
            count: 0,
            revision: self.states[0].revision.max(1),
        };
        let answer = self.send(ground, caller, order).await;
        self.judge(ground.kind(), &[(order, answer)])
    }

    /// Counts the commands since the last look; a wrong outcome is that of the
    /// last one.
    fn count(&mut self, tally: &mut Tally, faults: Vec<Fault>) {
        let open = std::mem::take(&mut self.open);
        let right = open.len() - usize::from(!faults.is_empty());
        for refused in open.into_iter().take(right) {
            match refused {
                Some(reason) => *tally.refused.entry(reason).or_default() += 1,
                None => tally.right += 1,
            }
        }
        if !faults.is_empty() {
            let story = self.story.join("\n");
            tally.wrong.push(Wrong { faults, story });
        }
    }

    /// Returns the states that are right after these commands in any sequence.
    fn judge(&mut self, kind: Kind, given: &[(Order, Answer)]) -> Option<Fault> {
        let mut right = BTreeSet::new();
        let mut sequences = vec![given.to_vec()];
        if given.len() > 1 {
            sequences.push(given.iter().rev().cloned().collect());
        }
        for sequence in sequences {
            let mut states = self.states.clone();
            for (order, answer) in &sequence {
                states = step(kind, &states, *order, answer);
                if states.iter().any(|state| state.total() == 0) {
                    self.empty = Instant::now();
                }
            }
            right.extend(states);
        }
        for (place, (order, answer)) in given.iter().enumerate() {
            let together = if place > 0 { "  at once " } else { "" };
            self.story.push(format!("  {together}{order}: {answer}"));
            let reasons = || self.states.iter().find_map(|s| may_refuse(kind, s, *order));
            self.open.push(match answer {
                Answer::Refused(_) => Some(reasons().unwrap_or("of two orders at once")),
                _ => None,
            });
        }
        let is = |what: fn(&Answer) -> bool| given.iter().any(|(_, answer)| what(answer));
        if right.is_empty() {
            let refused = is(|answer| matches!(answer, Answer::Refused(_)));
            return Some(if refused {
                Fault::Refused
            } else {
                Fault::Accepted
            });
        }
        self.states = right.into_iter().collect();
        let runs = self.states.iter().filter(|state| state.total() > 0);
        self.ran.extend(runs.map(|state| state.revision));
        is(|answer| matches!(answer, Answer::Unknown(_))).then_some(Fault::Unknown)
    }

    /// Looks until everything is right and stays so, and returns what is wrong
    /// otherwise.
    async fn look(&mut self, ground: &impl Ground, plan: &Plan) -> Vec<Fault> {
        let until = Instant::now() + scaled(SHOWS_WITHIN);
        let mut before = false;
        loop {
            let seen = observe(ground, &self.key).await;
            let differ = |state: &State| differences(ground.kind(), state, &seen);
            let mut right = self.states.clone();
            right.retain(|state| differ(state).is_empty());
            if !right.is_empty() && before {
                self.states = right;
                self.story
                    .push(format!("    runs: {}", describe(&self.states[0])));
                return Vec::new();
            }
            before = !right.is_empty();
            if before {
                // A right state must not become wrong later. Only waiting shows
                // that.
                sleep(self.quiet(ground.kind(), plan)).await;
                continue;
            }
            if Instant::now() > until {
                let all = self.states.iter().map(|state| (differ(state), state));
                let (found, nearest) = all.min_by_key(|(found, _)| found.len()).unwrap();
                let words: Vec<_> = found.iter().map(|(_, words)| words.as_str()).collect();
                let right = describe(nearest);
                self.story.push(format!(
                    "  should run: {right}\n    {}",
                    words.join("\n    ")
                ));
                return found.into_iter().map(|(fault, _)| fault).collect();
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns how long everything must stay right. OTP hosts end a
    /// subscription half a second after the last instance, whatever was started
    /// since (docs/hosts.md#start-during-stop-is-unheard).
    fn quiet(&self, kind: Kind, plan: &Plan) -> Duration {
        let (runs, emptied) = (self.states[0].total() > 0, self.empty.elapsed());
        match kind {
            Kind::Otp59 | Kind::Otp60 if runs => ENDING.saturating_sub(emptied).max(plan.quiet),
            _ => plan.quiet,
        }
    }

    async fn send(&self, ground: &impl Ground, caller: &Actor, order: Order) -> Answer {
        let reference = match order.revision() {
            Some(MISSING) => missing(&ground.reference(&self.key, 1).await),
            Some(revision) => ground.reference(&self.key, revision).await,
            None => String::new(),
        };
        let (lattice_id, host_id) = (ground.lattice().to_owned(), ground.host().to_owned());
        let actor_id = self.key.clone();
        let client = caller.lattice();
        let ack = match order {
            Order::Start { set, count, .. } => {
                let command = StartActorCommand {
                    lattice_id,
                    host_id,
                    actor_ref: reference,
                    annotations: given(set),
                    count,
                };
                client.start_actor(&ctx(), &command).await
            }
            Order::Scale { set, count, .. } => {
                let command = ScaleActorCommand {
                    lattice_id,
                    host_id,
                    actor_id,
                    actor_ref: reference,
                    annotations: given(set),
                    count,
                };
                client.scale_actor(&ctx(), &command).await
            }
            Order::Stop { set, count } => {
                let command = StopActorCommand {
                    lattice_id,
                    host_id,
                    actor_id,
                    annotations: given(set),
                    count,
                };
                client.stop_actor(&ctx(), &command).await
            }
            Order::Update { set, .. } => {
                let command = UpdateActorCommand {
                    lattice_id,
                    host_id,
                    actor_id,
                    new_actor_ref: reference,
                    annotations: given(set),
                };
                client.update_actor(&ctx(), &command).await
            }
        };
        match ack {
            Ok(ack) if ack.accepted => Answer::Accepted,
            Ok(ack) => Answer::Refused(ack.error),
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }
}

/// Returns a reference with a tag that is not there, in the repository of another.
fn missing(reference: &str) -> String {
    let (repository, _) = reference.rsplit_once(':').unwrap();
    format!("{repository}:{MISSING}")
}

/// Returns the annotations of a command; the empty set is left out.
fn given(set: usize) -> Option<HashMap<String, String>> {
    (set > 0).then(|| annotations(set).into_iter().collect())
}

async fn observe(ground: &impl Ground, key: &str) -> Seen {
    let mut seen = Seen::default();
    let request = GetHostInventoryRequest {
        lattice_id: ground.lattice().to_owned(),
        host_id: ground.host().to_owned(),
    };
    let client = ground.callers()[0].lattice();
    match client.get_host_inventory(&ctx(), &request).await {
        Ok(inventory) => {
            seen.told = match ground.kind() {
                Kind::V1 => Listing::of_1x(&inventory, key),
                _ => Listing::of(&inventory, key),
            }
        }
        Err(error) => seen.failures.push(format!("GetHostInventory: {error}")),
    }
    let (lattice, host) = (ground.lattice(), ground.host());
    let subject = match ground.kind() {
        Kind::V1 => format!("wasmbus.ctl.v1.{lattice}.host.get.{host}"),
        _ => format!("wasmbus.ctl.{lattice}.get.{host}.inv"),
    };
    let asked = ground.control().request(subject, "".into());
    match timeout(Duration::from_secs(2), asked).await {
        Ok(Ok(reply)) => {
            let inventory = serde_json::from_slice(&reply.payload).unwrap_or_default();
            seen.listed = match ground.kind() {
                Kind::V1 => Listing::raw_1x(&inventory, key),
                _ => Listing::raw(&inventory, key),
            };
        }
        other => seen.failures.push(format!("inventory: {other:?}")),
    }
    seen.answers = ground.answers(key).await;
    seen.running = ground.running(key);
    seen
}

/// Stops an actor without the provider, as far as that is possible.
async fn stop_all(ground: &impl Ground, key: &str) {
    let (lattice, host) = (ground.lattice(), ground.host());
    let (subject, order) = match ground.kind() {
        Kind::V1 => (
            format!("wasmbus.ctl.v1.{lattice}.component.scale.{host}"),
            json!({ "component_id": key, "component_ref": "x", "count": 0, "host_id": host }),
        ),
        _ => (
            format!("wasmbus.ctl.{lattice}.cmd.{host}.sa"),
            json!({ "actor_ref": key, "count": 0, "host_id": host }),
        ),
    };
    let asked = ground.control().request(subject, order.to_string().into());
    let _ = timeout(Duration::from_secs(2), asked).await;
}
