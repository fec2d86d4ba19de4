//! What runs after a command.

use crate::lattice::dialect::quirks::{Counts, Quirks};
use crate::lattice::dialect::v0::plan::command::Command;
use crate::lattice::model::{Running, TextMap, total};

/// Computes how many of the actor run after a command, for each set of annotations that
/// the command certainly changes.
pub fn effect(quirks: &Quirks, running: &Running, command: &Command) -> Vec<(TextMap, u32)> {
    let here = |annotations: &TextMap| running.under(annotations);
    match command {
        Command::Start {
            annotations, count, ..
        } => {
            let new = here(annotations).saturating_add(u32::from(*count));
            vec![(annotations.clone(), new)]
        }
        Command::Scale {
            annotations, count, ..
        } => {
            let count = count.unwrap_or(quirks.unbounded_count);
            if quirks.counts == Counts::Maximums {
                return vec![(annotations.clone(), count)];
            }
            let matching = running.matching(annotations);
            let others = total(&matching).saturating_sub(here(annotations));
            match (matching.as_slice(), count.checked_sub(others)) {
                ([only], _) if count <= only.count => vec![(only.annotations.clone(), count)],
                (_, Some(new)) => vec![(annotations.clone(), new)],
                (_, None) => Vec::new(),
            }
        }
        Command::Stop {
            annotations,
            count: None | Some(0),
        } => {
            let matching = running.matching(annotations).into_iter();
            let gone = matching.map(|group| (group.annotations.clone(), 0));
            gone.collect()
        }
        Command::Stop {
            annotations,
            count: Some(count),
        } => match running.matching(annotations).as_slice() {
            [only] => {
                let left = only.count.saturating_sub(u32::from(*count));
                vec![(only.annotations.clone(), left)]
            }
            // Which of them stop is the host's choice.
            _ => Vec::new(),
        },
        Command::Update { .. } | Command::StopAmongFirst { .. } => Vec::new(),
    }
}
