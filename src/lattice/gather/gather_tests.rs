//! Gathers with any order, timing and mix of replies. Time stands still between them,
//! so that a gather which takes a millisecond too long is found.

use std::sync::LazyLock;

use super::*;
use crate::deadline::Deadline;
use futures::stream;
use nkeys::{KeyPair, KeyPairType};

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
    /// A host's bid in the auction before the question.
    Bid(usize),
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
            Self::Bid(host) => format!(r#"{{"host_id":"{}"}}"#, HOSTS[*host]),
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
    /// How long after its answer the bid of each host is waited for.
    bid_within: Vec<u64>,
    others: Others,
    /// Whether an auction was published before the question.
    auction: bool,
}

/// The result of a case; times in milliseconds.
#[derive(Debug, PartialEq)]
struct Outcome {
    hosts: Vec<(HostId, u64)>,
    bids: Vec<HostId>,
    ended: Ended,
    took: u64,
}

fn message(sent: &Sent) -> Message {
    let payload = sent.payload();
    let subject = match sent {
        Sent::Bid(_) => "bids",
        _ => "inbox",
    };
    Message {
        subject: subject.into(),
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

/// Returns where the hosts of 0.x answer.
fn pings() -> Vec<(Subject, Protocol)> {
    vec![("inbox".into(), Protocol::V0)]
}

/// Returns news of refused pings, of which there are none.
fn none() -> impl Stream<Item = Protocol> + Unpin {
    stream::pending()
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
                        protocol: Protocol::V0,
                        bid_within: ms(case.bid_within[*host]),
                    };
                    (HOSTS[*host].clone(), expectation)
                })
                .collect(),
            others: case.others,
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
        let mut bids = Bids::on(vec![("bids".into(), Protocol::V0)]);
        let gathered = gather(
            &mut replies,
            pings(),
            terms(case),
            case.auction.then_some(&mut bids),
            none(),
            |_| (),
        );
        let gathered = gathered.await.unwrap();
        let millis = |time: Duration| time.as_millis() as u64;
        Outcome {
            hosts: gathered
                .harvest
                .answers
                .iter()
                .map(|answer| (answer.host.clone(), millis(answer.after)))
                .collect(),
            bids: bids
                .harvest
                .answers
                .into_iter()
                .map(|bid| bid.host)
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

fn case(messages: &[Timed]) -> Case {
    Case {
        messages: messages.to_vec(),
        deadline: 2000,
        stall: 300,
        grace: 30,
        expected: Vec::new(),
        bid_within: vec![0; 12],
        others: Others::Any,
        auction: false,
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
    case.others = Others::Newcomers;
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
    case.others = Others::Newcomers;
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.took), (3, 100));
}

#[test]
fn a_gather_ends_with_the_last_host_where_no_other_can_have_come() {
    let mut case = case(&[
        (20, Sent::Good(0)),
        (45, Sent::Good(1)),
        // In time, as it came together with the last known host.
        (45, Sent::Good(2)),
        (46, Sent::Good(3)),
    ]);
    case.expected = vec![(0, 30, false), (1, 60, false)];
    case.others = Others::None;
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.took), (3, 45));
    assert_eq!(outcome.ended, Ended::Complete);
}

#[test]
fn one_silent_host_hides_no_other() {
    let mut case = case(&[
        (20, Sent::Good(0)),
        (40, Sent::Good(1)),
        (60, Sent::Good(2)),
    ]);
    case.expected = (0..4).map(|host| (host, 100, false)).collect();
    case.others = Others::None;
    let outcome = run(&case);
    assert_eq!((outcome.hosts.len(), outcome.took), (3, 360));
    assert_eq!(outcome.ended, Ended::Stall);
}

#[test]
fn a_bid_is_waited_for_as_long_as_those_of_its_host_take() {
    let mut case = case(&[
        (20, Sent::Good(0)),
        (20, Sent::Bid(0)),
        (25, Sent::Good(1)),
        (40, Sent::Bid(1)),
    ]);
    case.expected = vec![(0, 30, false), (1, 60, false)];
    (case.others, case.auction) = (Others::None, true);
    case.bid_within[0] = 500;
    case.bid_within[1] = 14;
    assert_eq!((run(&case).bids.len(), run(&case).took), (1, 39));
    case.bid_within[1] = 16;
    assert_eq!((run(&case).bids.len(), run(&case).took), (2, 40));
    // Never longer than the grace period.
    case.bid_within[1] = 500;
    case.messages.pop();
    assert_eq!(run(&case).took, 55);
}

#[test]
fn a_doubtful_host_is_waited_for_as_long_as_it_usually_takes() {
    let mut case = case(&[(20, Sent::Good(0)), (150, Sent::Good(1))]);
    case.expected = vec![(0, 70, false), (1, 200, true)];
    case.others = Others::Newcomers;
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
            let gathered = gather(&mut replies, pings(), terms, None, none(), |_| ()).await;
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
        let gathered = gather(&mut replies, pings(), terms, None, none(), |_| ()).await;
        assert!(gathered.is_none());
    });
}

#[path = "gather_properties.rs"]
mod properties;

/// Runs a gather of both kinds, on inboxes `inbox` (0.x) and `inbox1` (1.x). The one known
/// host is of this kind.
fn run_both(known: Protocol, messages: Vec<(u64, Message)>) -> Gathered {
    in_still_time(async {
        let mut case = case(&[]);
        case.expected = vec![(0, 0, false)];
        case.others = Others::None;
        let mut terms = terms(&case);
        for expectation in terms.expected.hosts.values_mut() {
            expectation.protocol = known;
        }
        let mut both = pings();
        both.push(("inbox1".into(), Protocol::V1));
        let mut replies = timed(messages);
        let gathered = gather(&mut replies, both, terms, None, none(), |_| ());
        gathered.await.unwrap()
    })
}

fn nobody_of_1x() -> Message {
    Message {
        subject: "inbox1".into(),
        ..no_responders()
    }
}

#[test]
fn a_host_that_comes_back_as_another_kind_completes_a_gather() {
    let answer = message(&Sent::Good(0));
    let gathered = run_both(Protocol::V1, vec![(5, nobody_of_1x()), (20, answer)]);
    assert_eq!(gathered.harvest.answers.len(), 1);
    assert_eq!(gathered.ended, Ended::Complete);
}

#[test]
fn silence_on_one_subject_lengthens_no_gather_whose_other_kind_is_known() {
    let gathered = run_both(Protocol::V0, vec![(20, message(&Sent::Good(0)))]);
    assert_eq!(gathered.ended, Ended::Complete);
    assert_eq!(gathered.took, Duration::from_millis(20));
}

#[test]
fn nobody_is_there_only_where_both_subjects_have_nobody() {
    let one = run_both(Protocol::V0, vec![(5, nobody_of_1x())]);
    assert_eq!(one.ended, Ended::Deadline);
    let both = run_both(
        Protocol::V0,
        vec![(5, nobody_of_1x()), (9, no_responders())],
    );
    assert_eq!(both.ended, Ended::NoResponders);
    assert_eq!(both.took, Duration::from_millis(9));
}
