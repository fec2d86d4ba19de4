use super::*;
use futures::FutureExt as _;
use proptest::prelude::*;
use tokio::time::Instant;

fn later() -> Deadline {
    Deadline::new(Instant::now(), Duration::from_secs(5))
}

/// Takes places for a party until it gets no more at once.
fn fill(limiter: &Arc<Limiter>, party: u8) -> Vec<Place> {
    let mut places = Vec::new();
    while let Some(Some(place)) = limiter.place("all", party, later()).now_or_never() {
        places.push(place);
    }
    places
}

#[tokio::test]
async fn a_party_finds_a_place_however_many_others_take_all_they_can() {
    let limiter = Limiter::new(64, 32);
    let hogs: Vec<_> = (0..3).map(|party| fill(&limiter, party)).collect();
    let taken: Vec<_> = hogs.iter().map(Vec::len).collect();
    assert_eq!(taken, [32, 16, 8]);
    // One that is alone has all that it may have.
    assert_eq!(fill(&Limiter::new(64, 60), 1).len(), 60);
    assert_eq!(fill(&Limiter::new(4, 4), 1).len(), 4);
    assert!(limiter.place("all", 9_u8, later()).now_or_never().is_some());
    // At other subjects there are as many.
    let places = (0..32).map(|_| limiter.place("other", 0_u8, later()).now_or_never());
    assert_eq!(places.flatten().flatten().count(), 32);
}

#[tokio::test]
async fn a_party_has_no_more_places_than_its_limit() {
    let limiter = Limiter::new(64, 10);
    let places = fill(&limiter, 1);
    assert_eq!((places.len(), limiter.taken("all", 1_u8)), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_place_waits_shortly_and_never_beyond_the_deadline() {
    let limiter = Limiter::new(16, 4);
    let _places = fill(&limiter, 1);
    for (budget, expected) in [(5000, 100), (30, 30)] {
        let start = Instant::now();
        let deadline = Deadline::new(start, Duration::from_millis(budget));
        assert!(limiter.place("all", 1_u8, deadline).await.is_none());
        let waited = start.elapsed().as_millis();
        assert!((expected..expected + 5).contains(&waited), "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_goes_to_the_party_with_the_fewest_and_there_to_the_call_that_waited_longest() {
    let limiter = Limiter::new(16, 8);
    let (mut first, mut second) = (fill(&limiter, 1), fill(&limiter, 2));
    let (third, fourth) = (fill(&limiter, 3), fill(&limiter, 4));
    let taken = [&first, &second, &third, &fourth].map(Vec::len);
    assert_eq!(taken, [8, 4, 2, 1]);
    let mut older = Box::pin(limiter.place("all", 2_u8, later()));
    let mut newer = Box::pin(limiter.place("all", 2_u8, later()));
    let mut other = Box::pin(limiter.place("all", 1_u8, later()));
    assert!((&mut older).now_or_never().is_none());
    assert!((&mut newer).now_or_never().is_none());
    assert!((&mut other).now_or_never().is_none());
    // As many wait as may.
    assert!(limiter.is_full("all", 2_u8));
    // These leave four free, which is what the second one has; then there is one more.
    drop((third, fourth));
    assert!((&mut older).now_or_never().is_none());
    first.pop();
    let place = (&mut older).now_or_never().unwrap();
    assert!(place.is_some() && (&mut newer).now_or_never().is_none());
    second.pop();
    assert!((&mut other).now_or_never().is_none());
    drop((first, second, place));
    assert!(newer.now_or_never().unwrap().is_some() && other.now_or_never().unwrap().is_some());
    assert!(limiter.in_use.lock().subjects.is_empty());
}

#[tokio::test]
async fn a_place_that_is_given_to_a_call_that_gives_up_goes_to_the_next() {
    let limiter = Limiter::new(16, 8);
    let mut places = fill(&limiter, 1);
    let owner = limiter.owner("all", 1_u8);
    let (Ticket::Queue(gives_up), Ticket::Queue(waits)) =
        (limiter.enter(owner), limiter.enter(owner))
    else {
        panic!("no place in the queue");
    };
    places.pop();
    drop(gives_up);
    assert!(waits.place(later()).now_or_never().unwrap().is_some());
    drop(places);
    assert!(limiter.in_use.lock().parties.is_empty());
}

proptest! {
    /// In whatever order calls come and go, there are never more than may be, nobody
    /// waits who may have a place, and nothing is left behind.
    #[test]
    fn no_place_is_taken_twice_or_lost(
        most in 1_usize..20,
        most_of_party in 1_usize..20,
        steps in proptest::collection::vec((0_u8..4, any::<bool>(), 0_usize..30), 0..300),
    ) {
        let limiter = Limiter::new(most, most_of_party);
        let mut inside: Vec<(u8, Ticket)> = Vec::new();
        for (party, comes, which) in steps {
            if comes {
                let is_full = limiter.is_full("all", party);
                let entry = limiter.enter(limiter.owner("all", party));
                prop_assert_eq!(is_full, matches!(entry, Ticket::Full));
                if !is_full {
                    inside.push((party, entry));
                }
            } else if !inside.is_empty() {
                drop(inside.swap_remove(which % inside.len()));
            }
            // A call that was given a place takes it.
            for (_, entry) in &mut inside {
                if let Ticket::Queue(queued) = entry
                    && queued.place_given.try_recv().is_ok()
                {
                    *entry = Ticket::Place(queued.taken());
                }
            }
            let count = |party: Option<u8>, kind: fn(&Ticket) -> bool| {
                let of_party = |(of, entry): &&(u8, Ticket)| {
                    party.is_none_or(|party| party == *of) && kind(entry)
                };
                inside.iter().filter(of_party).count()
            };
            let all = count(None, |entry| matches!(entry, Ticket::Place(_)));
            prop_assert!(all <= most);
            prop_assert!(count(None, |entry| matches!(entry, Ticket::Queue(_))) <= most / 4);
            for party in 0..4 {
                let taken = count(Some(party), |entry| matches!(entry, Ticket::Place(_)));
                let waiting = count(Some(party), |entry| matches!(entry, Ticket::Queue(_)));
                prop_assert!(taken <= most_of_party);
                prop_assert_eq!(limiter.taken("all", party), taken);
                prop_assert!(waiting <= most_of_party / 4);
                let (free, reserve) = (most - all, most.saturating_sub(most_of_party) / 2);
                let may = taken < most_of_party && (free > reserve || may_take(taken, 1, free));
                prop_assert!(waiting == 0 || !may);
            }
        }
        drop(inside);
        let in_use = limiter.in_use.lock();
        prop_assert!(in_use.subjects.is_empty() && in_use.parties.is_empty());
    }
}
