use std::collections::HashMap;

use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;

fn guard(most: usize, floor: usize) -> ReplayGuard {
    ReplayGuard::with_room(Duration::from_secs(60), most, floor)
}

/// Makes a guard with room for all that a test sends.
fn roomy() -> ReplayGuard {
    guard(1000, 1000)
}

/// Takes a command of actor `a`.
fn take(guard: &ReplayGuard, command: &str, iat: u64, now: u64) -> Result<ReplayMark, ReplayError> {
    guard.take("a", command, iat, now)
}

/// Takes commands of an actor that are made and come now, with other ids at each call.
fn flood(guard: &ReplayGuard, actor: &str, count: usize, now: u64) {
    for number in 0..count {
        let _ = guard.take(actor, &format!("{actor} {now} {number}"), now, now);
    }
}

#[test]
fn a_call_is_fresh_from_a_minute_ago_to_half_a_minute_ahead() {
    let guard = roomy();
    for (iat, fresh) in [
        (NOW, true),
        (NOW - 60, true),
        (NOW - 61, false),
        (NOW + 30, true),
        (NOW + 31, false),
        (0, false),
        (u64::MAX, false),
    ] {
        assert_eq!(guard.check_fresh(Some(iat), NOW).is_ok(), fresh, "{iat}");
        // It may have been fresh before its body was read.
        assert_eq!(take(&guard, "a", iat, NOW).is_ok(), fresh, "{iat}");
    }
    assert!(guard.check_fresh(None, NOW).is_err());
}

#[test]
fn a_command_is_taken_once_for_as_long_as_it_is_fresh() {
    let guard = roomy();
    // A host whose clock is ahead sent it.
    let iat = NOW + CLOCK_AHEAD;
    take(&guard, "a", iat, NOW).unwrap();
    for now in NOW..NOW + 200 {
        take(&guard, &format!("other {now}"), now, now).unwrap();
        let again = take(&guard, "a", iat, now);
        match now <= iat + 60 {
            true => assert_eq!(again.unwrap_err(), ReplayError::TakenBefore),
            false => assert!(matches!(again, Err(ReplayError::TooOld { .. }))),
        }
    }
    // Of 200 s, those of the window and of a slice are remembered.
    assert!(guard.room.all() <= 60 + 12, "{}", guard.room.all());
}

#[test]
fn a_command_that_was_not_carried_out_may_come_again_once() {
    let guard = roomy();
    let taken = take(&guard, "a", NOW, NOW).unwrap();
    guard.give_back(Some(taken));
    assert_eq!(guard.room.all(), 0);
    // Twice is once.
    guard.give_back(Some(taken));
    take(&guard, "a", NOW, NOW).unwrap();
    assert!(take(&guard, "a", NOW, NOW).is_err());
    assert_eq!(guard.room.all(), 1);
}

#[test]
fn what_overflows_shortens_the_window_of_its_actor_and_of_nobody_else() {
    // At the real size. Two hogs send 20,000 commands a second each, two million in all.
    let guard = ReplayGuard::new(Duration::from_secs(60));
    let taken = |second: u64, number: usize| {
        let (now, hog) = (NOW + second, ["b", "c"][number % 2]);
        let taken = guard.take(hog, &format!("{second} {number}"), now, now);
        assert!(taken.is_ok(), "{taken:?} {second} {number}");
    };
    guard.take("a", "first", NOW - 50, NOW).unwrap();
    for second in 0..50 {
        (0..40_000).for_each(|number| taken(second, number));
    }
    let now = NOW + 50;
    assert!(guard.room.all() < MOST * 3 / 4, "{}", guard.room.all());
    // All that is fresh of the innocent one counts, once.
    for (command, age) in [("second", 60), ("third", 50), ("fourth", 0)] {
        guard.take("a", command, now - age, now).unwrap();
        let again = guard.take("a", command, now - age, now);
        assert_eq!(again.unwrap_err(), ReplayError::TakenBefore);
    }
    for hog in ["b", "c"] {
        // Nothing of a hog counts twice, and its window is what is remembered.
        let refused = guard.take(hog, "late", now - 50, now).unwrap_err();
        let ReplayError::Forgotten { remembered } = refused else {
            panic!("{refused:?}");
        };
        assert!((10..40).contains(&remembered), "{remembered}");
        guard
            .take(hog, "younger", now - remembered + 1, now)
            .unwrap();
        let says = refused.to_string();
        assert!(says.contains(&format!("the last {remembered} s")), "{says}");
    }
    for number in (0..40_000_usize).step_by(1000) {
        for second in 0..50 {
            let (iat, hog) = (NOW + second, ["b", "c"][number % 2]);
            let again = guard.take(hog, &format!("{second} {number}"), iat, now);
            assert!(again.is_err(), "{second} {number}");
        }
    }
}

#[test]
fn hogs_leave_each_actor_its_floor() {
    let guard = guard(4000, 20);
    for second in 0..40 {
        for hog in 0..100 {
            flood(&guard, &format!("hog {hog}"), 80, NOW + second);
        }
    }
    assert!(guard.room.all() <= 4000, "{}", guard.room.all());
    // Forty actors with up to twenty commands in the window have them all.
    for actor in 0..40 {
        for second in 0..19 {
            let (actor, now) = (format!("{actor}"), NOW + 40 + second);
            guard
                .take(&actor, &format!("{actor} {second}"), now, now)
                .unwrap();
        }
        // Also one that comes late.
        let late = guard.take(&format!("{actor}"), "late", NOW + 1, NOW + 60);
        late.unwrap();
    }
}

#[test]
fn an_actor_that_is_crowded_out_of_everything_still_has_its_newest_commands_taken() {
    // CommandRoom for two commands of three actors.
    let guard = guard(2, 1);
    for second in 0..300 {
        let now = NOW + second * 2;
        for actor in ["a", "b", "c"] {
            let command = format!("{actor} {second}");
            guard.take(actor, &command, now, now).unwrap();
            assert!(guard.take(actor, &command, now, now).is_err());
        }
    }
    assert!(guard.room.all() <= 2);
}

#[test]
fn room_is_given_up_when_its_actor_sends_no_more() {
    let guard = guard(1000, 10);
    flood(&guard, "hog", 300, NOW);
    assert_eq!(guard.room.all(), 300);
    // Any actor's command, or a question for health, does that.
    guard.check_clock(NOW + 75).unwrap();
    assert_eq!((guard.room.all(), guard.actors.len()), (0, 0));
    // Its commands are not taken again when the clock is set back.
    let again = guard.take("hog", &format!("hog {NOW} 1"), NOW, NOW + 50);
    assert!(
        matches!(again, Err(ReplayError::ClockSetBack { .. })),
        "{again:?}"
    );
    assert!(guard.take("other", "x", NOW, NOW + 50).is_err());
    guard.take("hog", "new", NOW + 50, NOW + 50).unwrap();
}

#[test]
fn memory_is_told_of_in_the_log_by_actor_and_not_at_each_command() {
    let guard = guard(100, 10);
    let room = CommandRoom::new(40, 10);
    let mut memory = ActorMemory::new(0);
    let mut told = Vec::new();
    for second in 0..90 {
        for command in 0..5 {
            let now = NOW + second;
            let command = guard.hasher.hash_one((second, command));
            memory.take(command, now, now, guard.times, &room).unwrap();
            told.extend(
                memory
                    .news(now)
                    .map(|(window, commands)| (second, window, commands)),
            );
        }
    }
    assert!((2..=3).contains(&told.len()), "{told:?}");
    for (_, window, commands) in told {
        assert!(window <= 5 && commands <= 20, "{window} {commands}");
    }
}

/// Sends a command each second from one time to another.
fn run(guard: &ReplayGuard, seconds: std::ops::Range<u64>) {
    for now in seconds {
        take(guard, &now.to_string(), now, now).unwrap();
    }
}

/// Asserts that commands that are made now are taken after so many refusals, one a second.
#[track_caller]
fn refuses_new_ones_for(guard: &ReplayGuard, now: u64, least: u64, most: u64) {
    let refused = |after: &u64| {
        let now = now + after;
        take(guard, &format!("new {now}"), now, now).is_err()
    };
    let refused = (0..100).take_while(refused).count() as u64;
    assert!((least..=most).contains(&refused), "{refused}");
}

/// Asserts that no command of [`run`] is taken again.
#[track_caller]
fn none_again(guard: &ReplayGuard, made: impl IntoIterator<Item = u64>, now: u64) {
    for iat in made {
        let again = take(guard, &iat.to_string(), iat, now);
        assert!(again.is_err(), "{} s ago", now as i64 - iat as i64);
    }
}

#[test]
fn a_clock_that_is_set_back_by_little_refuses_nothing_new_and_takes_nothing_twice() {
    for back in [1, 20, 40, 60] {
        let guard = roomy();
        run(&guard, NOW - 300..NOW);
        let now = NOW - back;
        none_again(&guard, NOW - 300..NOW, now);
        refuses_new_ones_for(&guard, now, 0, 0);
        none_again(&guard, NOW - 300..NOW, now);
    }
}

#[test]
fn a_clock_that_was_ahead_for_seconds_refuses_nothing_new() {
    let guard = roomy();
    run(&guard, NOW - 300..NOW);
    for round in 1..20 {
        let now = NOW + round * 40;
        take(&guard, &format!("ahead {round}"), now + 20, now + 20).unwrap();
        take(&guard, &format!("back {round}"), now + 1, now + 1).unwrap();
        let again = take(&guard, &format!("ahead {round}"), now + 20, now + 1);
        assert_eq!(again.unwrap_err(), ReplayError::TakenBefore);
    }
    assert_eq!(guard.check_clock(NOW + 20 * 40), Ok(()));
}

#[test]
fn a_clock_that_was_hours_ahead_refuses_new_commands_for_half_a_minute() {
    const BACK: u64 = 7200;
    for waits in [0, 5, 1200] {
        let guard = roomy();
        // The process started with a wrong clock.
        run(&guard, NOW - 300..NOW);
        let now = NOW - BACK;
        let told = guard.check_clock(now).unwrap_err().to_string();
        assert!(
            told.contains("7199 s") && told.contains("for 3600 s"),
            "{told}"
        );
        let least = if waits == 0 { 29 } else { 0 };
        refuses_new_ones_for(&guard, now + waits, least, 31);
        // An hour later all is well.
        assert!(guard.check_clock(now + 3599).is_err());
        assert_eq!(guard.check_clock(now + 3600), Ok(()));
        // When the clock has come there again, the last minute is still remembered, and
        // new commands are taken.
        for now in NOW - 100..NOW + 60 {
            guard.check_clock(now).unwrap();
            none_again(&guard, NOW - 60..NOW, now);
            take(&guard, &format!("later {now}"), now, now).unwrap();
        }
        none_again(&guard, NOW - 60..NOW, NOW);
    }
}

#[test]
fn what_was_taken_before_the_clock_went_ahead_is_not_taken_when_it_is_right_again() {
    let guard = roomy();
    run(&guard, NOW - 300..NOW);
    // For a minute, the clock is two hours ahead. Of hosts as far ahead come commands.
    let ahead = NOW + 7200;
    run(&guard, ahead..ahead + 60);
    let now = NOW + 60;
    assert!(guard.check_clock(now).is_err());
    none_again(&guard, NOW - 300..NOW, now);
    refuses_new_ones_for(&guard, now, 0, 0);
    // Those of the time ahead are remembered, every one.
    for now in [ahead - 30, ahead + 30, ahead + 59] {
        none_again(&guard, ahead..ahead + 60, now);
    }
}

#[test]
fn a_clock_of_ours_that_alone_was_ahead_is_told_of_by_no_health() {
    let guard = roomy();
    run(&guard, NOW - 300..NOW);
    // The hosts' commands are too old meanwhile.
    assert!(take(&guard, "x", NOW, NOW + 7200).is_err());
    assert_eq!(guard.check_clock(NOW + 10), Ok(()));
    refuses_new_ones_for(&guard, NOW + 10, 0, 0);
}

#[test]
fn health_tells_for_as_long_as_something_could_come_again() {
    let guard = roomy();
    run(&guard, NOW - 300..NOW);
    let now = NOW - 100;
    let told = guard.check_clock(now).unwrap_err();
    // The last one was made 99 s from now, and is fresh for a minute.
    assert_eq!((told.by, told.left), (99, 159));
    assert!(guard.check_clock(now + 158).is_err());
    assert_eq!(guard.check_clock(now + 159), Ok(()));
}

#[test]
fn commands_from_before_a_set_back_take_no_room_from_those_after_it() {
    let guard = guard(400, 10);
    for second in 0..60 {
        flood(&guard, "a", 20, NOW + second);
    }
    let now = NOW - 7200;
    assert!(guard.check_clock(now).is_err());
    // For half a minute it is not known what was carried out; then all are taken.
    for second in 31..120 {
        let now = now + second;
        for number in 0..20 {
            let taken = take(&guard, &format!("{now} {number}"), now, now);
            assert!(taken.is_ok(), "{taken:?} after {second} s");
        }
    }
    assert!(guard.room.all() <= 300);
    // What was sent after it is remembered, as far as the share goes.
    let now = now + 120;
    take(&guard, "late", now - 4, now).unwrap();
}

proptest! {
    /// Commands of some actors that come in any order and number, under a clock that jumps,
    /// with and without enough room.
    #[test]
    fn nothing_is_taken_twice(
        steps in proptest::collection::vec(
            (0_u64..40, 0_u8..3, -200_i64..200, any::<bool>()), 1..300,
        ),
        most in 1_usize..30,
        window in 5_u64..100,
    ) {
        let guards = [guard(most, 3), guard(1000, 1000)];
        let guards = guards.map(|guard| ReplayGuard { times: Times::new(window), ..guard });
        for (guard, has_room) in guards.iter().zip([false, true]) {
            // For each command that was taken, the earliest and latest time since then.
            let mut taken: HashMap<(u64, u8), (u64, u64)> = HashMap::new();
            let mut now = NOW;
            for &(command, actor, jump, given_back) in &steps {
                now = now.saturating_add_signed(match jump {
                    -200..-190 => jump * 40,
                    -190..-180 | 190..200 => jump,
                    _ => jump / 20,
                });
                for (earliest, latest) in taken.values_mut() {
                    *earliest = now.min(*earliest);
                    *latest = now.max(*latest);
                }
                if jump % 7 == 0 {
                    let _ = guard.check_clock(now);
                }
                // Each command was made at one moment.
                let iat = NOW + command * 3;
                let mark = guard.take(&actor.to_string(), &command.to_string(), iat, now);
                let Ok(mark) = mark else { continue };
                if let Some((earliest, latest)) = taken.insert((command, actor), (now, now)) {
                    // It could be forgotten, and then the clock was set back to long before.
                    let forgotten = !has_room || latest > iat + window;
                    let set_back = earliest + CLOCK_AHEAD < iat;
                    prop_assert!(forgotten && set_back, "{command} twice");
                }
                if given_back {
                    guard.give_back(Some(mark));
                    taken.remove(&(command, actor));
                }
            }
            // What is counted is what there is.
            let held = |memory: &ActorMemory| memory.commands();
            let all: usize = guard.actors.iter().map(|memory| held(&memory)).sum();
            prop_assert_eq!(guard.room.all(), all);
            prop_assert!(all <= most || has_room);
            // From now on the clock goes right: a new command is taken in less than a minute,
            // or without room once those of hosts that are ahead are too old.
            let until = if has_room { now + 60 } else { now.max(NOW) + 300 };
            for now in now..until {
                let _ = guard.check_clock(now);
            }
            let now = until;
            for actor in 0..3 {
                let new = guard.take(&actor.to_string(), "new", now, now);
                prop_assert!(new.is_ok(), "{:?}", new);
            }
        }
    }
}
