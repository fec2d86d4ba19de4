//! Patterns of lattice ids.

/// Patterns of lattice ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lattices(Vec<Pattern>);

impl Lattices {
    /// Reads ids in which `*` may stand; one that is none spoils all.
    pub(super) fn parse(words: &[&str]) -> Option<Self> {
        let patterns = words.iter().map(|word| Pattern::parse(word));
        Some(Self(patterns.collect::<Option<_>>()?))
    }

    /// Whether one of them fits.
    pub(super) fn contains(&self, lattice: &str) -> bool {
        self.0.iter().any(|pattern| pattern.fits(lattice))
    }
}

/// An id in which `*` stands for any characters: what stands around the stars.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    first: String,
    /// Empty where there is no star.
    others: Vec<String>,
}

impl Pattern {
    fn parse(word: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'*');
        if word.is_empty() || !word.bytes().all(fits) {
            return None;
        }
        let mut parts = word.split('*').map(str::to_owned);
        Some(Self {
            first: parts.next()?,
            others: parts.collect(),
        })
    }

    fn fits(&self, text: &str) -> bool {
        let Some(mut rest) = text.strip_prefix(self.first.as_str()) else {
            return false;
        };
        let Some((last, between)) = self.others.split_last() else {
            return rest.is_empty();
        };
        for part in between {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_a_whole() {
        let fits = |pattern: &str, text| Pattern::parse(pattern).unwrap().fits(text);
        for (pattern, text) in [("*", ""), ("a*", "a"), ("a*b*c", "a1b2bc"), ("*x", "axx")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a", "xa"), ("a*b", "abc"), ("a*a", "a")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
