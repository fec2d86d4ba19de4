//! The outcome of a run of commands.

use std::collections::BTreeMap;
use std::fmt;

use super::seen::Fault;

/// A command that went wrong.
#[derive(Debug)]
pub struct Wrong {
    /// In which ways it is wrong.
    pub faults: Vec<Fault>,
    /// The commands for that actor so far, their outcome, and what differs.
    pub story: String,
}

/// The outcome of the commands of a run.
#[derive(Debug, Default)]
pub struct Tally {
    pub seed: u64,
    pub right: usize,
    /// How many were rightly refused, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    pub wrong: Vec<Wrong>,
}

impl Tally {
    /// Returns how many commands it counts.
    pub fn orders(&self) -> usize {
        self.right + self.refused.values().sum::<usize>() + self.wrong.len()
    }

    /// Adds the commands of another run.
    pub fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong.extend(other.wrong);
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }

    /// Returns how often each way to be wrong was the first that showed.
    pub fn faults(&self) -> BTreeMap<Fault, usize> {
        let mut faults = BTreeMap::new();
        for fault in self.wrong.iter().flat_map(|wrong| wrong.faults.first()) {
            *faults.entry(*fault).or_default() += 1;
        }
        faults
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: usize = self.refused.values().sum();
        let wrong = self.wrong.len();
        write!(f, "right {}, wrong {wrong}, refused {refused}", self.right)
    }
}
