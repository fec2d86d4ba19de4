//! Whether newcomers need time in a gather.

use super::*;

/// Has the roster learn from a ping that is sent now, and waits for all hosts.
fn ping_all(roster: &Roster, hosts: &[&HostId], epoch: u64) {
    let mut round = answered(hosts);
    round.asked = Instant::now();
    take(roster, round, epoch);
}

/// Makes a roster of these hosts, whose events all arrive over the connection of epoch 1.
fn listening(hosts: &[&HostId]) -> Roster {
    let roster = Roster::default();
    roster.listens(1);
    ping_all(&roster, hosts, 1);
    for host in hosts {
        assert!(roster.heard(host, 1));
    }
    assert_eq!(roster.expected(1).others, Others::None);
    roster
}

#[tokio::test(start_paused = true)]
async fn newcomers_need_no_time_where_the_events_of_all_hosts_arrive() {
    let (one, two) = (host(), host());
    let others = |roster: &Roster| roster.expected(1).others;
    // One of them is silent.
    let roster = Roster::default();
    roster.listens(1);
    ping_all(&roster, &[&one, &two], 1);
    roster.heard(&one, 1);
    assert_eq!(others(&roster), Others::Newcomers);
    roster.heard(&two, 1);
    assert_eq!(others(&roster), Others::None);
    // Nothing is heard for two heartbeats.
    advance(HEARD_FOR).await;
    ping_all(&roster, &[&one, &two], 1);
    assert_eq!(others(&roster), Others::Newcomers);
    // Events were missed, or come over another connection.
    let roster = listening(&[&one, &two]);
    roster.listens_no_more(1);
    assert_eq!(others(&roster), Others::Newcomers);
    advance(MS).await;
    roster.listens(1);
    assert_eq!(others(&roster), Others::Newcomers);
    let roster = listening(&[&one, &two]);
    advance(MS).await;
    roster.listens(2);
    ping_all(&roster, &[&one, &two], 2);
    assert_eq!(roster.expected(2).others, Others::Newcomers);
    roster.heard(&one, 1);
    roster.heard(&two, 1);
    assert_eq!(roster.expected(2).others, Others::Newcomers);
    // The end of the watch of the connection before changes nothing.
    roster.heard(&one, 2);
    roster.heard(&two, 2);
    roster.listens_no_more(1);
    assert_eq!(roster.expected(2).others, Others::None);
}

/// What shows that a host has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sign {
    Answers,
    Starts,
    Beats,
}

#[tokio::test(start_paused = true)]
async fn a_host_that_joins_is_in_the_list_from_its_first_sign_on() {
    use Sign::{Answers, Beats, Starts};
    let orders = [
        [Answers, Starts, Beats],
        [Answers, Beats, Starts],
        [Starts, Answers, Beats],
        [Starts, Beats, Answers],
        [Beats, Answers, Starts],
        [Beats, Starts, Answers],
    ];
    for order in orders {
        let (old, new) = (host(), host());
        let roster = listening(&[&old]);
        for sign in order {
            match sign {
                Answers => ping_all(&roster, &[&old, &new], 1),
                Starts => {
                    roster.heard(&new, 1);
                    roster.started(&new);
                }
                Beats => drop(roster.heard(&new, 1)),
            }
            let expected = roster.expected(1);
            let known = expected.hosts.get(&new);
            let is_waited_for = known.is_some_and(|known| !known.doubtful);
            let has_time = expected.others != Others::None;
            assert!(is_waited_for || has_time, "{order:?} {sign:?}");
        }
        // Once it has answered and was heard, no time is needed for others.
        ping_all(&roster, &[&old, &new], 1);
        assert_eq!(roster.expected(1).others, Others::None, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_never_answers_gives_newcomers_time_as_long_as_it_is_heard() {
    let (one, liar) = (host(), host());
    let roster = listening(&[&one]);
    assert!(!roster.heard(&liar, 1));
    assert_eq!(roster.expected(1).others, Others::Newcomers);
    advance(HEARD_FOR - MS).await;
    ping_all(&roster, &[&one], 1);
    roster.heard(&one, 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
    advance(MS).await;
    assert_eq!(roster.expected(1).others, Others::None);
    // However many they are, they take little, and nobody is missed.
    for _ in 0..1100 {
        roster.heard(&host(), 1);
    }
    advance(HEARD_FOR).await;
    ping_all(&roster, &[&one], 1);
    roster.heard(&one, 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
}

#[tokio::test(start_paused = true)]
async fn the_first_gather_after_the_hosts_were_learned_needs_no_time_for_others() {
    let (one, two) = (host(), host());
    let learned = || {
        let roster = Roster::default();
        ping_all(&roster, &[&one], 1);
        roster.learned(1);
        roster
    };
    let roster = learned();
    assert_eq!(roster.expected(1).others, Others::None);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
    assert_eq!(learned().expected(2).others, Others::Any);
    let roster = learned();
    roster.heard(&two, 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
    let roster = learned();
    advance(LEARNED_FOR).await;
    assert_eq!(roster.expected(1).others, Others::Newcomers);
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_host_that_is_heard_owes_an_answer() {
    let (one, two) = (host(), host());
    let others = |roster: &Roster| roster.expected(1).others;
    // It stopped, and is heard again: its start was missed.
    let roster = listening(&[&one, &two]);
    roster.doubt(&two);
    assert_eq!(others(&roster), Others::None);
    roster.heard(&two, 1);
    assert_eq!(others(&roster), Others::Newcomers);
    roster.note_ping_reply(&two, &ping("0.80.0"), MS);
    assert_eq!(others(&roster), Others::None);
    // It has another version than before.
    roster.note_version(&two, Dialect::of_version(Protocol::V0, Some("0.82.0")));
    assert_eq!(others(&roster), Others::Newcomers);
}

#[tokio::test(start_paused = true)]
async fn newcomers_have_time_where_all_were_pinged_before_events_arrived() {
    let one = host();
    let roster = Roster::default();
    take(&roster, answered(&[&one]), 1);
    advance(MS).await;
    roster.listens(1);
    roster.heard(&one, 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
    advance(400 * MS).await;
    ping_all(&roster, &[&one], 1);
    assert_eq!(roster.expected(1).others, Others::None);
}

#[tokio::test(start_paused = true)]
async fn newcomers_have_time_after_a_time_without_a_watch() {
    let one = host();
    let roster = listening(&[&one]);
    roster.note_call();
    advance(Duration::from_secs(200)).await;
    assert!(roster.end_watch_if_unused());
    ping_all(&roster, &[&one], 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
    advance(MS).await;
    roster.listens(1);
    roster.heard(&one, 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
}

#[tokio::test(start_paused = true)]
async fn newcomers_have_time_where_more_hosts_are_there_than_are_kept() {
    let all: Vec<HostId> = (0..=MAX_HOSTS).map(|_| host()).collect();
    let roster = Roster::default();
    roster.listens(1);
    for host in &all {
        roster.note_ping_reply(host, &ping("0.80.0"), MS);
        roster.heard(host, 1);
    }
    let round = answered(&[]);
    roster.complete(round.asked + round.took, 1);
    assert_eq!(roster.expected(1).others, Others::Newcomers);
}

#[path = "newcomers_properties.rs"]
mod properties;
