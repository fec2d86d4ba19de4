//! The outcome of a run.

use std::fmt;

use crate::plan::{Lack, Order, Unseen};

/// The outcome of a run, which is displayed as a line for each event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Commands that hosts accepted. Hosts download, start and stop in the
    /// background.
    pub done: Vec<Order>,
    /// Commands that were certainly not carried out.
    pub refused: Vec<Failed>,
    /// Commands that may or may not have been carried out. The next run sees
    /// it.
    pub unknown: Vec<Failed>,
    /// Hosts whose inventory is unknown. They got no commands.
    pub unseen: Vec<Unseen>,
    /// What no host could run.
    pub lacking: Vec<Lack>,
}

/// A command that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The command.
    pub order: Order,
    /// What the provider says.
    pub why: String,
}

impl Report {
    /// Returns whether the lattice was in the desired state before the run, as
    /// far as that can be known of all of it.
    pub fn found_as_desired(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found_as_desired() {
            return f.write_str("as desired\n");
        }
        for order in &self.done {
            writeln!(f, "done: {order}")?;
        }
        for Failed { order, why } in &self.refused {
            writeln!(f, "refused: {order}: {why}")?;
        }
        for Failed { order, why } in &self.unknown {
            writeln!(f, "unknown: {order}: {why}")?;
        }
        for unseen in &self.unseen {
            writeln!(f, "unknown: {unseen}")?;
        }
        for lack in &self.lacking {
            writeln!(f, "lacking: {lack}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Reason;

    #[test]
    fn a_report_is_a_line_for_each_thing() {
        let order = Order {
            zone: "eu".into(),
            host: "NA".into(),
            from: 1,
            to: 3,
            by_annotations: true,
        };
        let failed = |why: &str| Failed {
            order: order.clone(),
            why: why.into(),
        };
        let report = Report {
            done: vec![order.clone()],
            refused: vec![failed("no")],
            unknown: vec![failed("silence")],
            unseen: vec![Unseen {
                host: "NB".into(),
                why: "silence".into(),
            }],
            lacking: vec![Lack {
                zone: "us".into(),
                missing: 2,
                reason: Reason::NoBid,
            }],
        };
        assert!(!report.found_as_desired());
        assert_eq!(
            report.to_string(),
            "done: zone \"eu\", host NA: from 1 to 3\n\
             refused: zone \"eu\", host NA: from 1 to 3: no\n\
             unknown: zone \"eu\", host NA: from 1 to 3: silence\n\
             unknown: what host NB runs: silence\n\
             lacking: zone \"us\" lacks 2: no host there would run it\n"
        );
        assert_eq!(Report::default().to_string(), "as desired\n");
    }
}
