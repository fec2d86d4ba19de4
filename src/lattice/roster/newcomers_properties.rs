//! Hosts join, answer pings and are heard in any order, over connections that break and
//! with events that are missed: a gather ends without time for newcomers only where the
//! plain rule allows it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HOSTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// This host answers a ping that did not wait for all.
    Answers(usize),
    /// All hosts are pinged and waited for. Those that are known answer, and these.
    AllAnswer(u8),
    Beats(usize),
    Starts(usize),
    Stops(usize),
    /// Events may be missed from now on.
    Gap,
    /// Events arrive from now on.
    Listens,
    Reconnects,
    /// Milliseconds pass.
    Time(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..HOSTS).prop_map(Step::Answers),
        4 => (1..16u8).prop_map(Step::AllAnswer),
        8 => (0..HOSTS).prop_map(Step::Beats),
        2 => (0..HOSTS).prop_map(Step::Starts),
        1 => (0..HOSTS).prop_map(Step::Stops),
        1 => Just(Step::Gap),
        4 => Just(Step::Listens),
        1 => Just(Step::Reconnects),
        4 => prop_oneof![1..500u64, 5_000..40_000u64].prop_map(Step::Time),
    ];
    vec(step, 1..60)
}

/// What the rule needs to know of a host; times in milliseconds.
#[derive(Clone, Copy, Default)]
struct Seen {
    is_known: bool,
    is_doubtful: bool,
    /// When its last event came, and over the connection of which epoch.
    heard: Option<(u64, u64)>,
    /// When it was last heard without having answered a ping since.
    owes: Option<u64>,
}

/// The rule, written down once more.
#[derive(Default)]
struct Rule {
    clock: u64,
    epoch: u64,
    listens_since: Option<u64>,
    all_pinged: Option<(u64, u64)>,
    hosts: [Seen; HOSTS],
}

impl Rule {
    fn answers(&mut self, host: usize) {
        let heard = self.hosts[host].heard;
        self.hosts[host] = Seen {
            is_known: true,
            heard,
            ..Seen::default()
        };
    }

    fn hears(&mut self, host: usize) {
        let (clock, epoch) = (self.clock, self.epoch);
        let seen = &mut self.hosts[host];
        seen.heard = Some((clock, epoch));
        if !seen.is_known || seen.is_doubtful {
            seen.owes = Some(clock);
        }
    }

    /// Tells whether a gather may end with the answer of the last known host.
    fn allows_no_time(&self) -> bool {
        let Some(since) = self.listens_since else {
            return false;
        };
        let is_fresh = |at: u64, within: u64| at >= since && self.clock - at < within;
        let all_pinged = self.all_pinged;
        let all_pinged =
            all_pinged.is_some_and(|(at, epoch)| epoch == self.epoch && is_fresh(at, 75_000));
        let is_heard = |seen: &Seen| {
            let heard = seen.heard;
            heard.is_some_and(|(at, epoch)| epoch == self.epoch && is_fresh(at, 60_000))
        };
        let mut known = self.hosts.iter().filter(|seen| seen.is_known);
        let owes = |seen: &Seen| seen.owes.is_some_and(|at| self.clock - at < 60_000);
        all_pinged
            && known.clone().next().is_some()
            && known.all(is_heard)
            && !self.hosts.iter().any(owes)
    }
}

async fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let hosts: [HostId; HOSTS] = std::array::from_fn(|_| host());
    let (roster, mut rule) = (Roster::default(), Rule::default());
    for (number, step) in steps.iter().enumerate() {
        advance(MS).await;
        rule.clock += 1;
        match *step {
            Step::Answers(one) => {
                roster.note_ping_reply(&hosts[one], &ping("0.80.0"), MS);
                rule.answers(one);
            }
            Step::AllAnswer(mask) => {
                let answers = |one: &usize| mask & (1 << one) != 0 || rule.hosts[*one].is_known;
                let some: Vec<usize> = (0..HOSTS).filter(answers).collect();
                let ids: Vec<&HostId> = some.iter().map(|one| &hosts[*one]).collect();
                ping_all(&roster, &ids, rule.epoch);
                some.into_iter().for_each(|one| rule.answers(one));
                rule.all_pinged = Some((rule.clock, rule.epoch));
            }
            Step::Beats(one) | Step::Starts(one) | Step::Stops(one) => {
                if rule.listens_since.is_none() {
                    continue;
                }
                roster.heard(&hosts[one], rule.epoch);
                rule.hears(one);
                match step {
                    Step::Starts(_) => {
                        roster.started(&hosts[one]);
                        rule.hosts[one].is_doubtful = true;
                        rule.hosts[one].owes = Some(rule.clock);
                    }
                    Step::Stops(_) => {
                        roster.doubt(&hosts[one]);
                        rule.hosts[one].is_doubtful = true;
                    }
                    _ => {}
                }
            }
            Step::Gap => {
                roster.listens_no_more(rule.epoch);
                rule.listens_since = None;
            }
            Step::Listens => {
                roster.listens(rule.epoch);
                rule.listens_since.get_or_insert(rule.clock);
            }
            Step::Reconnects => {
                rule.epoch += 1;
                rule.listens_since = None;
            }
            Step::Time(ms) => {
                advance(Duration::from_millis(ms)).await;
                rule.clock += ms;
            }
        }
        let ends_at_once = roster.expected(rule.epoch).others == Others::None;
        let allows = rule.allows_no_time();
        prop_assert_eq!(ends_at_once, allows, "step {} of {:?}", number, steps);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn newcomers_have_time_unless_they_would_have_been_heard(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(steps))?;
    }
}
