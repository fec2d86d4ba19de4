//! What came of a run of orders.

use std::collections::BTreeMap;
use std::fmt;

use super::seen::Fault;

/// An order that went wrong.
#[derive(Debug)]
pub struct Wrong {
    /// In which ways.
    pub faults: Vec<Fault>,
    /// What was ordered of that actor so far, what came of it, and what differs.
    pub story: String,
}

/// What came of the orders of one run.
#[derive(Debug, Default)]
pub struct Tally {
    pub seed: u64,
    pub right: usize,
    /// Rightly refused, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    pub wrong: Vec<Wrong>,
}

impl Tally {
    /// How many orders it is about.
    pub fn orders(&self) -> usize {
        self.right + self.refused.values().sum::<usize>() + self.wrong.len()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong.extend(other.wrong);
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }

    /// How often each way of being wrong was the first that showed.
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
