//! Gathers with any order, timing and mix of replies. Time stands still between them,
//! so that a gather which takes a millisecond too long is found.

use std::sync::LazyLock;

use futures::stream;
use nkeys::{KeyPair, KeyPairType};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::deadline::Deadline;
use crate::lattice::model::Host;

/// Host ids that any case may use.
static HOSTS: LazyLock<Vec<HostId>> = LazyLock::new(|| {
    let new = |_| HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap();
    (0..12).map(new).collect()
});

/// What comes in a message.
#[derive(Clone, Debug, PartialEq)]
enum Sent {
    /// A host's answer.
    Good(usize),
    /// A host's answer with odd members.
    Odd(usize),
    /// A failed acknowledgement.
    Refusal,
    /// A failed acknowledgement that is not valid JSON
    /// (docs/hosts.md#refusal-that-is-not-json).
    UnescapedRefusal,
    /// No answer at all.
    Rubbish(Vec<u8>),
    /// An answer to another question.
    Aside,
}

impl Sent {
    fn host(&self) -> Option<&'static HostId> {
        match self {
            Self::Good(index) | Self::Odd(index) => Some(&HOSTS[*index]),
            _ => None,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Good(host) => format!(r#"{{"id":"{}","version":"0.80.0"}}"#, HOSTS[*host]),
            Self::Odd(host) => format!(
                r#"{{"x":[1],"uptime_seconds":-1.5,"labels":{{"a":null}},"id":"{}"}}"#,
                HOSTS[*host]
            ),
            Self::Refusal => r#"{"accepted":false,"error":"no"}"#.into(),
            Self::UnescapedRefusal => r#"{"accepted":false,"error":"say "no""}"#.into(),
            Self::Rubbish(bytes) => return bytes.clone(),
            Self::Aside => "aside".into(),
        }
        .into_bytes()
    }
}

/// A message, and when it comes.
type Timed = (u64, Sent);

/// Terms as numbers.
#[derive(Clone, Debug)]
struct Case {
    messages: Vec<Timed>,
    deadline: u64,
    stall: u64,
    grace: u64,
    /// Known hosts, each with how long it takes at most, and whether it is
    /// doubtful.
    expected: Vec<(usize, u64, bool)>,
    /// Whether they are all.
    are_all: bool,
}

/// The result of a case; times in milliseconds.
#[derive(Debug, PartialEq)]
struct Outcome {
    hosts: Vec<(HostId, u64)>,
    ended: Ended,
    took: u64,
}

fn message(sent: &Sent) -> Message {
    let payload = sent.payload();
    Message {
        subject: "inbox".into(),
        reply: None,
        length: payload.len(),
        payload: payload.into(),
        headers: None,
        status: None,
        description: None,
    }
}

fn no_responders() -> Message {
    Message {
        status: Some(StatusCode::NO_RESPONDERS),
        ..message(&Sent::Rubbish(Vec::new()))
    }
}

/// A stream of messages, each at its time, that does not end.
fn timed(messages: Vec<(u64, Message)>) -> impl Stream<Item = Message> + Unpin {
    let start = Instant::now();
    let timed = stream::iter(messages).then(move |(at, message)| async move {
        sleep_until(start + Duration::from_millis(at)).await;
        message
    });
    Box::pin(timed.chain(stream::pending()))
}

fn terms(case: &Case) -> Terms {
    let ms = Duration::from_millis;
    Terms {
        deadline: Deadline::new(Instant::now(), ms(case.deadline)),
        stall: ms(case.stall),
        grace: ms(case.grace),
        expected: ExpectedHosts {
            hosts: case
                .expected
                .iter()
                .map(|(host, within, doubtful)| {
                    let expectation = Expectation {
                        within: ms(*within),
                        doubtful: *doubtful,
                    };
                    (HOSTS[*host].clone(), expectation)
                })
                .collect(),
            are_all: case.are_all,
        },
        enough: Enough::All,
    }
}

/// Runs a future with a clock of its own, which moves on only when all wait.
fn in_still_time<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

fn run_messages(case: &Case, messages: Vec<(u64, Message)>) -> Outcome {
    in_still_time(async {
        let mut replies = timed(messages);
        let aside = |reply: &Message, _| reply.payload == "aside";
        let gathered = gather::<Host>(&mut replies, terms(case), aside, |_| ());
        let gathered = gathered.await.unwrap();
        let millis = |time: Duration| time.as_millis() as u64;
        Outcome {
            hosts: gathered
                .harvest
                .answers
                .iter()
                .map(|answer| (answer.host.clone(), millis(answer.after)))
                .collect(),
            ended: gathered.ended,
            took: millis(gathered.took),
        }
    })
}

fn run(case: &Case) -> Outcome {
    let messages = case.messages.iter();
    let messages = messages.map(|(at, sent)| (*at, message(sent)));
    run_messages(case, messages.collect())
}

/// Returns the first answer of each host, in order.
fn first_answers(case: &Case) -> Vec<(HostId, u64)> {
    let mut first: Vec<(HostId, u64)> = Vec::new();
    for (at, sent) in &case.messages {
        if let Some(host) = sent.host()
            && first.iter().all(|(known, _)| known != host)
        {
            first.push((host.clone(), *at));
        }
    }
    first
}

fn counts() -> impl Strategy<Value = Sent> {
    prop_oneof![
        (0..12usize).prop_map(Sent::Good),
        (0..12usize).prop_map(Sent::Odd)
    ]
}

fn counts_not() -> impl Strategy<Value = Sent> {
    prop_oneof![
        Just(Sent::Refusal),
        Just(Sent::UnescapedRefusal),
        Just(Sent::Aside),
        Just(Sent::Rubbish(Vec::new())),
        Just(Sent::Rubbish(b"{}".to_vec())),
        Just(Sent::Rubbish(b"{\"id\":\"N1\"}".to_vec())),
        Just(Sent::Rubbish(b"{\"id\":null}".to_vec())),
        vec(any::<u8>(), 0..40).prop_map(Sent::Rubbish),
    ]
}

fn expected() -> impl Strategy<Value = Vec<(usize, u64, bool)>> {
    let hosts = btree_set(0..12usize, 0..12);
    let rest = vec((1..1500u64, prop::bool::weighted(0.2)), 12);
    (hosts, rest).prop_map(|(hosts, rest)| {
        let hosts = hosts.into_iter().zip(rest);
        hosts
            .map(|(host, (within, doubtful))| (host, within, doubtful))
            .collect()
    })
}

prop_compose! {
    fn cases()(
        good in vec((0..2500u64, counts()), 0..30),
        bad in vec((0..2500u64, counts_not()), 0..20),
        deadline in 1..2200u64,
        stall in 1..600u64,
        grace in 0..100u64,
        expected in expected(),
        are_all in any::<bool>(),
    ) -> Case {
        let mut messages = [good, bad].concat();
        messages.sort_by_key(|(at, _)| *at);
        Case { messages, deadline, stall, grace, expected, are_all }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_hosts_are_exactly_the_good_ones_that_came_in_time(case in cases()) {
        let outcome = run(&case);
        let in_time = first_answers(&case);
        let in_time = in_time.into_iter().filter(|(_, at)| *at <= outcome.took);
        prop_assert_eq!(&outcome.hosts, &in_time.collect::<Vec<_>>());
    }

    #[test]
    fn it_never_takes_longer_than_the_deadline(case in cases()) {
        prop_assert!(run(&case).took <= case.deadline);
    }

    #[test]
    fn it_ends_early_only_for_a_reason(case in cases()) {
        let outcome = run(&case);
        let last = outcome.hosts.last().map(|(_, at)| *at);
        let answered = |host: usize| outcome.hosts.iter().any(|(id, _)| *id == HOSTS[host]);
        let missing = case.expected.iter().filter(|(host, ..)| !answered(*host));
        let complete = case.are_all && missing.clone().all(|(.., doubtful)| *doubtful);
        let slowest = missing.map(|(_, within, _)| *within).max().unwrap_or_default();
        let whole = match last {
            None => case.deadline,
            Some(last) => slowest.max(last + if complete { case.grace } else { case.stall }),
        };
        prop_assert_eq!(outcome.took, whole.min(case.deadline));
        match outcome.ended {
            Ended::Complete => prop_assert!(complete && last.is_some()),
            Ended::Stall => prop_assert!(!complete && outcome.took < case.deadline),
            Ended::Deadline => prop_assert_eq!(outcome.took, case.deadline),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn what_does_not_count_changes_nothing(case in cases(), more in vec((0..2500u64, counts_not()), 0..30)) {
        let mut disturbed = case.clone();
        disturbed.messages.extend(more);
        // What has come already comes again.
        disturbed.messages.extend(case.messages.iter().map(|(at, sent)| (at + 1, sent.clone())));
        disturbed.messages.sort_by_key(|(at, _)| *at);
        prop_assert_eq!(run(&case), run(&disturbed));
    }

    #[test]
    fn nobody_there_ends_it_at_once(case in cases()) {
        let mut messages: Vec<_> = case.messages.iter().map(|(at, sent)| (at + 5, message(sent))).collect();
        messages.insert(0, (0, no_responders()));
        let outcome = run_messages(&case, messages);
        prop_assert_eq!(outcome, Outcome { hosts: Vec::new(), ended: Ended::NoResponders, took: 0 });
    }
}

fn case(messages: &[Timed]) -> Case {
    Case {
        messages: messages.to_vec(),
        deadline: 2000,
        stall: 300,
        grace: 30,
        expected: Vec::new(),
        are_all: false,
    }
}

#[test]
fn the_first_answer_may_take_until_the_deadline() {
    let outcome = run(&case(&[(1900, Sent::Good(0))]));
    assert_eq!((outcome.hosts.len(), outcome.took), (1, 2000));
}

#[test]
fn a_slow_host_that_is_known_is_waited_for_longer_than_a_stall() {
    let mut case = case(&[(20, Sent::Good(0)), (900, Sent::Good(1))]);
    assert_eq!(run(&case).hosts.len(), 1);
    case.expected = vec![(0, 70, false), (1, 1800, false)];
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.ended), (2, Ended::Stall));
    case.are_all = true;
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.ended), (2, Ended::Complete));
    assert_eq!(outcome.took, 930);
}

#[test]
fn newcomers_are_heard_one_after_the_other() {
    let mut case = case(&[
        (20, Sent::Good(0)),
        (45, Sent::Good(1)),
        (70, Sent::Good(2)),
    ]);
    case.expected = vec![(0, 30, false)];
    case.are_all = true;
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.took), (3, 100));
}

#[test]
fn a_doubtful_host_is_waited_for_as_long_as_it_usually_takes() {
    let mut case = case(&[(20, Sent::Good(0)), (150, Sent::Good(1))]);
    case.expected = vec![(0, 70, false), (1, 200, true)];
    case.are_all = true;
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.ended), (2, Ended::Complete));
    assert_eq!(outcome.took, 180);
    case.messages.pop();
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.ended), (1, Ended::Complete));
    assert_eq!(outcome.took, 200);
}

#[test]
fn what_looks_like_an_answer_of_the_server_ends_nothing_once_hosts_answer() {
    let case = case(&[]);
    let messages = [
        (5, message(&Sent::Good(0))),
        (10, no_responders()),
        (20, message(&Sent::Good(1))),
    ];
    let outcome = run_messages(&case, messages.to_vec());
    assert_eq!((outcome.hosts.len(), outcome.ended), (2, Ended::Stall));
}

#[test]
fn a_flood_ends_it() {
    let rubbish = (1, Sent::Rubbish(vec![0; 10]));
    let many = run(&case(&vec![rubbish; MAX_REPLIES + 1]));
    assert_eq!(many.ended, Ended::Limit);
    let large = (1, Sent::Rubbish(vec![0; MAX_BYTES / 8]));
    let large = run(&case(&vec![large; 9]));
    assert_eq!(large.ended, Ended::Limit);
}

#[test]
fn one_answer_is_enough_where_one_is_asked_for() {
    let messages = [(5, Sent::Refusal), (10, Sent::Good(1)), (20, Sent::Good(0))];
    let case = case(&messages);
    for (enough, took, hosts) in [
        (Enough::First, 10, 1),
        (Enough::Host(HOSTS[0].clone()), 20, 2),
    ] {
        let (ended, gathered) = in_still_time(async {
            let messages = case.messages.iter().map(|(at, sent)| (*at, message(sent)));
            let mut replies = timed(messages.collect());
            let terms = Terms {
                enough,
                ..terms(&case)
            };
            let gathered = gather::<Host>(&mut replies, terms, |_, _| false, |_| ()).await;
            let gathered = gathered.unwrap();
            (gathered.ended, gathered)
        });
        assert_eq!(ended, Ended::Found);
        assert_eq!(gathered.took.as_millis(), took);
        assert_eq!(gathered.harvest.answers.len(), hosts);
        assert_eq!(gathered.harvest.refusals, 1);
    }
}

#[test]
fn replies_that_end_leave_no_answer() {
    in_still_time(async {
        let mut replies = Box::pin(stream::iter([message(&Sent::Good(0))]));
        let terms = terms(&case(&[]));
        let gathered = gather::<Host>(&mut replies, terms, |_, _| false, |_| ()).await;
        assert!(gathered.is_none());
    });
}
