//! The outcomes of calls.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts of outcomes, and every broken promise.
pub struct Tally {
    started: Instant,
    /// Answered with what was asked for.
    pub ok: AtomicUsize,
    /// Answered with an error that leaves no doubt, or with `accepted: false`.
    pub failed: AtomicUsize,
    /// Answered with an error after which the outcome is unknown.
    pub unknown: AtomicUsize,
    /// Not answered, while our own server was away.
    pub cut: AtomicUsize,
    pub restarts: AtomicUsize,
    pub home_restarts: AtomicUsize,
    pub rotations: AtomicUsize,
    slowest: Mutex<Duration>,
    lost: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    /// The times when our own server was away: from its death until every actor
    /// was served again.
    away: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            ok: AtomicUsize::default(),
            failed: AtomicUsize::default(),
            unknown: AtomicUsize::default(),
            cut: AtomicUsize::default(),
            restarts: AtomicUsize::default(),
            home_restarts: AtomicUsize::default(),
            rotations: AtomicUsize::default(),
            slowest: Mutex::default(),
            lost: Mutex::default(),
            wrong: Mutex::default(),
            away: Mutex::default(),
        }
    }

    pub fn goes_away(&self) {
        self.away.lock().unwrap().push((Instant::now(), None));
    }

    pub fn is_back(&self) {
        let mut away = self.away.lock().unwrap();
        away.last_mut().unwrap().1 = Some(Instant::now());
    }

    /// Counts a call that was answered.
    pub fn answered(&self, how: &AtomicUsize, started: Instant) {
        how.fetch_add(1, Relaxed);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = slowest.max(started.elapsed());
    }

    /// Counts a call that was not answered. It is lost unless our own server
    /// was away during it.
    pub fn unanswered(&self, what: &str, started: Instant) {
        let away = self.away.lock().unwrap();
        if away
            .iter()
            .any(|(_, back)| back.is_none_or(|back| back > started))
        {
            self.cut.fetch_add(1, Relaxed);
            return;
        }
        let at = started - self.started;
        self.lost
            .lock()
            .unwrap()
            .push(format!("{what}, called at {at:?}"));
    }

    /// Notes a broken promise.
    pub fn wrong(&self, what: String) {
        let at = self.started.elapsed();
        self.wrong
            .lock()
            .unwrap()
            .push(format!("{what}, at {at:?}"));
    }

    /// Returns the broken promises.
    pub fn broken(&self) -> Vec<String> {
        let lost = self.lost.lock().unwrap();
        let wrong = self.wrong.lock().unwrap();
        let lost = lost.iter().map(|what| format!("lost: {what}"));
        let wrong = wrong.iter().map(|what| format!("wrong: {what}"));
        lost.chain(wrong).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |number: &AtomicUsize| number.load(Relaxed);
        let counts = [&self.ok, &self.failed, &self.unknown, &self.cut].map(of);
        let lost = self.lost.lock().unwrap().len();
        let all = counts.iter().sum::<usize>() + lost;
        let [ok, failed, unknown, cut] = counts;
        write!(
            f,
            "{:4.0} s: {all} calls: {ok} ok, {failed} failed, {unknown} unknown, {cut} cut off, \
             {lost} lost, {} wrong; slowest answer {} ms; {} rotations, {} restarts of servers, \
             {} of our own",
            self.started.elapsed().as_secs_f64(),
            self.wrong.lock().unwrap().len(),
            self.slowest.lock().unwrap().as_millis(),
            of(&self.rotations),
            of(&self.restarts),
            of(&self.home_restarts),
        )
    }
}
