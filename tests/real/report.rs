//! Reports the outcome as it happens and in a table at the end.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use crate::auctions::Series;
use crate::host::Binary;
use crate::orders::tally::Tally;
use crate::site::Way;
use crate::walk::Checked;

const SKIPPED: &str = "skipped: it cannot run on hosts of 1.x yet";

/// The outcome of a walk.
#[derive(Default)]
pub struct Walked {
    pub right: usize,
    pub wrong: Vec<String>,
    /// The end of the host's log, where something was wrong.
    pub log: Option<String>,
}

impl Walked {
    /// Counts a check.
    pub fn take(&mut self, name: &str, checked: Checked) {
        match checked {
            Ok(()) => self.right += 1,
            Err(problem) => self.wrong.push(format!("{name}: {problem}")),
        }
    }

    fn checks(&self) -> usize {
        self.right + self.wrong.len()
    }
}

/// One host and one way for the provider to run.
pub struct Row {
    version: String,
    way: &'static str,
    /// Whether nothing of it is done: our provider cannot run on hosts of 1.x yet.
    pub is_skipped: bool,
    pub walked: Result<Walked, &'static str>,
    /// The auctions, where the provider stands alone.
    pub auctions: Option<Result<Vec<Series>, &'static str>>,
    pub tally: Tally,
    /// Runs of commands that ended early.
    pub broken: usize,
}

impl Row {
    pub fn new(binary: &Binary, way: Way) -> Self {
        Self {
            version: format!("{} ({})", binary.version, binary.protocol),
            way: way.name(),
            is_skipped: binary.archive.is_none() && way == Way::Archive,
            walked: Err("not walked"),
            auctions: None,
            tally: Tally::default(),
            broken: 0,
        }
    }

    /// Makes the row of a host beside one of the other kind.
    pub fn beside(binary: &Binary) -> Self {
        Self {
            way: "beside the other kind",
            walked: Ok(Walked::default()),
            ..Self::new(binary, Way::Alone)
        }
    }

    /// Returns whether the walk was right.
    pub fn is_walked_right(&self) -> bool {
        let walked = self.walked.as_ref();
        walked.is_ok_and(|walked| walked.wrong.is_empty())
    }

    /// Returns whether everything was right.
    pub fn is_right(&self) -> bool {
        if self.is_skipped {
            return true;
        }
        let walked = self.is_walked_right();
        let bids = self.auctions.as_ref().is_none_or(|auctions| {
            let all = auctions.as_ref();
            all.is_ok_and(|all| all.iter().all(|series| series.lost.is_empty()))
        });
        walked && bids && self.tally.wrong.is_empty() && self.broken == 0
    }

    fn name(&self) -> String {
        format!("host {}, {}", self.version, self.way)
    }
}

/// Prints that nothing is done.
pub fn skipped(row: &Row) {
    println!("{}: {SKIPPED}", row.name());
}

/// Prints the outcome of a walk.
pub fn walked(row: &Row, walked: &Result<Walked, &str>) {
    match walked {
        Err(problem) => println!("{}: the walk {problem}", row.name()),
        Ok(walked) => {
            let (right, checks) = (walked.right, walked.checks());
            println!("{}: walk {right} of {checks}", row.name());
            for wrong in &walked.wrong {
                println!("  {wrong}");
            }
            if let Some(log) = &walked.log {
                println!("--- end of the host's log ---\n{log}\n---");
            }
        }
    }
}

/// Prints the outcome of the auctions.
pub fn auctioned(row: &Row, auctions: &Result<Vec<Series>, &str>) {
    match auctions {
        Err(problem) => println!("{}: the auctions {problem}", row.name()),
        Ok(all) => {
            for series in all {
                println!("{}: {series}", row.name());
                for line in series.lost.iter().chain(&series.late) {
                    println!("  {line}");
                }
            }
        }
    }
}

/// Prints the outcome of a run of commands.
pub fn ordered(row: &Row, seed: u64, tally: &Result<Tally, &str>) {
    match tally {
        Err(problem) => println!("{}: REAL_SEED={seed} {problem}", row.name()),
        Ok(tally) => {
            println!("{}: REAL_SEED={seed} {tally}", row.name());
            for wrong in &tally.wrong {
                println!("{}", wrong.story);
            }
        }
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "host",
        "provider",
        "walk",
        "bids lost",
        "right",
        "wrong",
        "refused",
    ]);
    for row in rows {
        let walk = match &row.walked {
            _ if row.is_skipped => SKIPPED.into(),
            Ok(walked) => format!("{}/{}", walked.right, walked.checks()),
            Err(problem) => (*problem).into(),
        };
        let bids = match &row.auctions {
            None => String::new(),
            Some(Ok(all)) => {
                let lost: usize = all.iter().map(|series| series.lost.len()).sum();
                lost.to_string()
            }
            Some(Err(problem)) => (*problem).into(),
        };
        let lines = |pairs: Vec<(String, usize)>| {
            let total: usize = pairs.iter().map(|(_, count)| count).sum();
            let lines = pairs
                .iter()
                .map(|(what, count)| format!("\n{count} {what}"));
            format!("{total}{}", lines.collect::<String>())
        };
        let faults = row.tally.faults().into_iter();
        let mut wrong: Vec<_> = faults.map(|(f, count)| (f.to_string(), count)).collect();
        if row.broken > 0 {
            wrong.push(("runs that ended early".into(), row.broken));
        }
        let refused = row.tally.refused.iter();
        let refused = refused.map(|(reason, count)| (reason.to_string(), *count));
        table.add_row([
            row.version.clone(),
            row.way.into(),
            walk,
            bids,
            row.tally.right.to_string(),
            lines(wrong),
            lines(refused.collect()),
        ]);
    }
    println!("{table}");
}
