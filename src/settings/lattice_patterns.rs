//! Patterns of lattice ids.

use crate::name::fits;

/// Lattice ids in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LatticePatterns(Vec<String>);

impl LatticePatterns {
    /// Reads ids in which `*` may stand; `None` without any, or if one of the words
    /// is no such id.
    pub(super) fn parse(words: &[&str]) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'*');
        let is_pattern = |word: &&str| !word.is_empty() && word.bytes().all(plain);
        let patterns = words.iter().map(|word| (*word).to_owned()).collect();
        let is_list = !words.is_empty() && words.iter().all(is_pattern);
        is_list.then_some(Self(patterns))
    }

    /// Returns whether one of them fits.
    pub(super) fn contains(&self, lattice: &str) -> bool {
        self.0.iter().any(|pattern| fits(pattern, lattice))
    }
}
