//! Measurements, and the table of them, for people and as JSON.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde_json::{Value, json};

/// How many KiB a MiB has.
pub const KIB_OF_MIB: f64 = 1024.0;

/// The unit of a row.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Micros,
    /// How many in a second.
    PerSecond,
    /// Memory.
    MiB,
    /// Memory.
    KiB,
    /// CPU time as a share of one core.
    Percent,
    /// A plain number.
    Count,
}

impl Unit {
    /// Its name.
    fn name(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Micros => "us",
            Self::PerSecond => "1/s",
            Self::MiB => "MiB",
            Self::KiB => "KiB",
            Self::Percent => "%",
            Self::Count => "",
        }
    }

    /// Formats a value with a sensible number of digits.
    fn shown(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0}"),
            Self::Percent => format!("{value:.3}"),
            Self::Micros if value >= 100.0 => format!("{value:.0}"),
            _ => format!("{value:.1}"),
        }
    }
}

/// The promise of a row, in its unit.
#[derive(Clone, Copy)]
pub enum Promise {
    /// At most so much more than the floor in nine of ten rounds.
    Over(f64),
    /// At most so much in nine of ten rounds.
    Under(f64),
    /// At most so many times the floor, by the medians.
    Times(f64),
    /// At least so many times the floor, by the medians.
    AtLeast(f64),
    /// No promise: the row is for comparison.
    None,
}

/// A measurement, round by round.
pub struct Row {
    name: String,
    unit: Unit,
    promise: Promise,
    /// What the floor is, where the name does not tell it.
    over: &'static str,
    /// The floor and the value of each round.
    rounds: Vec<(Option<f64>, f64)>,
}

impl Row {
    pub fn new(name: &str, unit: Unit, promise: Promise) -> Self {
        Self {
            name: name.into(),
            unit,
            promise,
            over: "",
            rounds: Vec::new(),
        }
    }

    /// Sets the description of its floor.
    pub fn over(mut self, floor: &'static str) -> Self {
        self.over = floor;
        self
    }

    /// Adds a round.
    pub fn add(&mut self, floor: f64, value: f64) {
        self.rounds.push((Some(floor), value));
    }

    /// Adds a round of durations, in milliseconds.
    pub fn add_ms(&mut self, floor: Duration, value: Duration) {
        self.add(floor.as_secs_f64() * 1e3, value.as_secs_f64() * 1e3);
    }

    /// Adds a round without a floor.
    pub fn note(&mut self, value: f64) {
        self.rounds.push((None, value));
    }

    fn floor(&self) -> Option<f64> {
        let floors = self.rounds.iter().map(|(floor, _)| *floor);
        Some(part(floors.collect::<Option<Vec<f64>>>()?, 0.5))
    }

    fn median(&self) -> f64 {
        part(self.values(), 0.5)
    }

    /// Returns the value that nine of ten rounds did not exceed.
    fn most(&self) -> f64 {
        part(self.values(), 0.9)
    }

    fn values(&self) -> Vec<f64> {
        self.rounds.iter().map(|(_, value)| *value).collect()
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.median() / self.floor()?)
    }

    /// Returns whether the promise was kept, where there is one.
    fn kept(&self) -> Option<bool> {
        let floor = self.floor().unwrap_or(f64::NAN);
        match self.promise {
            Promise::Over(most) => Some(self.most() <= floor + most),
            Promise::Under(most) => Some(self.most() <= most),
            Promise::Times(most) => Some(self.median() / floor <= most),
            Promise::AtLeast(least) => Some(self.median() / floor >= least),
            Promise::None => None,
        }
    }

    fn promised(&self) -> String {
        let unit = self.unit.name();
        match self.promise {
            Promise::Over(most) => format!("floor + {most} {unit}"),
            Promise::Under(most) => format!("under {most} {unit}"),
            Promise::Times(most) => format!("ratio <= {most}"),
            Promise::AtLeast(least) => format!("ratio >= {least}"),
            Promise::None => String::new(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit.name(), "rounds": self.rounds.len(),
            "floor": self.floor(), "floor_is": self.over, "median": self.median(),
            "p90": self.most(), "ratio": self.ratio(),
            "promise": self.promised(), "kept": self.kept(),
        })
    }
}

/// Returns the value that this part of all rounds stays within.
fn part(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part).ceil() as usize;
    values
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// All rows.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row and prints its name, since all of them take a while.
    pub fn add(&mut self, row: Row) {
        let (median, unit) = (row.unit.shown(row.median()), row.unit.name());
        println!("measured: {}: {median} {unit}", row.name);
        self.0.push(row);
    }

    /// Returns whether every promise was kept.
    pub fn kept(&self) -> bool {
        self.0.iter().all(|row| row.kept() != Some(false))
    }

    /// Returns all rows as JSON.
    pub fn json(&self) -> Value {
        self.0.iter().map(Row::json).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header([
            "what", "unit", "rounds", "floor", "median", "90 %", "ratio", "promise", "kept",
        ]);
        for row in &self.0 {
            let unit = row.unit;
            let floor = row.floor().map(|floor| unit.shown(floor));
            table.add_row([
                row.name.clone(),
                unit.name().to_owned(),
                row.rounds.len().to_string(),
                format!("{} {}", row.over, floor.unwrap_or_default()),
                unit.shown(row.median()),
                unit.shown(row.most()),
                row.ratio()
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                row.promised(),
                match row.kept() {
                    None => String::new(),
                    Some(true) => "yes".to_owned(),
                    Some(false) => "NO".to_owned(),
                },
            ]);
        }
        write!(f, "{table}")
    }
}
