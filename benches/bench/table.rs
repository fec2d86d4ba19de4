//! Measurements, and the table of them.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;

/// What a row must keep.
#[derive(Clone, Copy)]
pub enum Promise {
    /// So much longer than the floor at most.
    Over(Duration),
    /// So long at most.
    Under(Duration),
    /// So many times the floor at most.
    Times(f64),
    /// Nothing: the row is for comparison.
    None,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(most) => write!(f, "floor + {} ms", most.as_millis()),
            Self::Under(most) => write!(f, "under {} ms", most.as_millis()),
            Self::Times(most) => write!(f, "under {most} x floor"),
            Self::None => f.write_str("-"),
        }
    }
}

/// What was measured under one name, round by round.
pub struct Row {
    name: String,
    promise: Promise,
    /// The floor and the time of each round.
    rounds: Vec<(Duration, Duration)>,
}

impl Row {
    pub fn new(name: &str, promise: Promise) -> Self {
        Self {
            name: name.into(),
            promise,
            rounds: Vec::new(),
        }
    }

    pub fn add(&mut self, floor: Duration, time: Duration) {
        self.rounds.push((floor, time));
    }

    fn floor(&self) -> Duration {
        median(self.rounds.iter().map(|(floor, _)| *floor))
    }

    fn time(&self) -> Duration {
        median(self.rounds.iter().map(|(_, time)| *time))
    }

    /// Nine of ten rounds took no longer.
    fn most(&self) -> Duration {
        let times = self.rounds.iter().map(|(_, time)| *time);
        part(times, 0.9)
    }

    fn ratio(&self) -> f64 {
        self.time().as_secs_f64() / self.floor().as_secs_f64()
    }

    /// Whether the promise was kept: a time in nine of ten rounds, a ratio by
    /// the medians.
    fn kept(&self) -> bool {
        match self.promise {
            Promise::Over(most) => self.most() <= self.floor() + most,
            Promise::Under(most) => self.most() <= most,
            Promise::Times(most) => self.ratio() <= most,
            Promise::None => true,
        }
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    part(times, 0.5)
}

/// The time that this part of all stays within.
fn part(times: impl Iterator<Item = Duration>, part: f64) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    let at = (times.len() as f64 * part).ceil() as usize;
    times.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// All rows.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row, and says that it is there: all take a while.
    pub fn add(&mut self, row: Row) {
        println!("measured: {}", row.name);
        self.0.push(row);
    }

    /// Whether every promise was kept.
    pub fn kept(&self) -> bool {
        self.0.iter().all(Row::kept)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header([
            "what", "rounds", "floor ms", "ms", "90 %", "ratio", "promise", "kept",
        ]);
        for row in &self.0 {
            let kept = match (row.promise, row.kept()) {
                (Promise::None, _) => "-",
                (_, true) => "yes",
                (_, false) => "NO",
            };
            table.add_row([
                row.name.clone(),
                row.rounds.len().to_string(),
                ms(row.floor()),
                ms(row.time()),
                ms(row.most()),
                format!("{:.2}", row.ratio()),
                row.promise.to_string(),
                kept.to_owned(),
            ]);
        }
        write!(f, "{table}")
    }
}
