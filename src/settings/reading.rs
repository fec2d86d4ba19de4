//! What reading settings finds: every mistake, and which numbers are set.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::settings::table::{PARTS, Range, Setting};
use crate::settings::values::ValueError;

/// Settings that cannot be used. What it says holds no value: one may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The configuration of the provider is no JSON object.
    #[error("the configuration is not a JSON object: {0}")]
    NoObject(String),
    /// Every mistake, each with its key.
    #[error("{0}")]
    Mistakes(String),
}

/// Most mistakes that a message lists: more than there are settings.
const LISTED: usize = 50;

fn listed(mistakes: &[String]) -> String {
    let listed = mistakes[..mistakes.len().min(LISTED)].join("; ");
    match mistakes.len().saturating_sub(LISTED) {
        0 => listed,
        more => format!("{listed}; and {more} more mistakes"),
    }
}

/// What has been found so far.
#[derive(Default)]
pub(super) struct Reading {
    numbers: BTreeMap<&'static str, u64>,
    mistakes: Vec<String>,
}

impl Reading {
    /// Adds a mistake.
    pub(super) fn mistake(&mut self, key: &str, problem: impl Display) {
        self.mistakes.push(format!("{key}: {problem}"));
    }

    /// Returns the row of a key. A key without one is a mistake.
    pub(super) fn find(
        &mut self,
        key: &str,
        table: &'static [Setting],
    ) -> Option<&'static Setting> {
        let found = table.iter().find(|setting| setting.key == key);
        if found.is_none() {
            let key: String = key.chars().take(40).collect();
            let mut known: Vec<&str> = table.iter().map(|setting| setting.key).collect();
            known.sort_unstable();
            let known = known.join(", ");
            self.mistakes
                .push(format!("unknown setting {key:?}; known: {known}"));
        }
        found
    }

    /// Returns a number that is within its range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        number: Option<u64>,
        (least, most): Range,
    ) -> Result<u64, ValueError> {
        let number = number.filter(|number| (least..=most).contains(number));
        let number = number.ok_or(ValueError::NotInRange { least, most })?;
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// Ends the reading: a part that is larger than its whole would never count.
    ///
    /// # Errors
    /// Every mistake.
    pub(super) fn end(mut self) -> Result<(), SettingsError> {
        for (key, whole, default) in PARTS {
            let limit = self.numbers.get(whole).copied().or(default);
            if let (Some(part), Some(limit)) = (self.numbers.get(key), limit)
                && *part > limit
            {
                self.mistake(key, format_args!("it must not be more than {whole}"));
            }
        }
        self.mistakes.sort();
        match self.mistakes.is_empty() {
            true => Ok(()),
            false => Err(SettingsError::Mistakes(listed(&self.mistakes))),
        }
    }
}
