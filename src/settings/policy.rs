//! Which operations and lattices an actor may use: those that its link allows, else
//! those that the provider allows by default.

use crate::contract::{Group, Operation};
use crate::settings::lattice_patterns::LatticePatterns;
use crate::settings::values::ValueError;

/// A set of operations: one bit for each of [`Operation::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Operations(u32);

impl Operations {
    /// Reads names of operations and of groups of them. `None` without any, or if one of
    /// them is unknown.
    fn parse(words: &[&str]) -> Option<Self> {
        let known = words.iter().try_fold(Self::default(), |set, word| {
            let more = match *word {
                "read" => Self::of(|one| one.group() == Group::Read),
                "write" => Self::of(|one| one.group() == Group::Write),
                "credentials" => Self::of(|one| one.group() == Group::Credentials),
                "all" => Self::of(|_| true),
                name => Self::of(|one| one.name() == name),
            };
            (more != Self::default()).then_some(Self(set.0 | more.0))
        });
        known.filter(|set| *set != Self::default())
    }

    /// Makes the set of the operations for which this holds.
    fn of(holds: impl Fn(Operation) -> bool) -> Self {
        let all = Operation::ALL.into_iter();
        let bits = all.filter(|one| holds(*one)).map(|one| 1 << one as u32);
        Self(bits.fold(0, |set, bit: u32| set | bit))
    }

    fn contains(self, operation: Operation) -> bool {
        self.0 & 1 << operation as u32 != 0
    }
}

/// The operations and lattices that a link allows, or the provider by default; `None`
/// where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    operations: Option<Operations>,
    lattices: Option<LatticePatterns>,
}

impl Policy {
    /// Takes the lattices that a list names. A list without words, or with an empty one,
    /// is a mistake: it would allow everything, or nothing.
    ///
    /// # Errors
    /// `NotLattices`.
    pub(super) fn take_lattices(&mut self, words: &[&str]) -> Result<(), ValueError> {
        self.lattices = LatticePatterns::parse(words);
        match self.lattices {
            Some(_) => Ok(()),
            None => Err(ValueError::NotLattices),
        }
    }

    /// Takes the operations that a list names, as [`Self::take_lattices`] does.
    ///
    /// # Errors
    /// `NotOperations`.
    pub(super) fn take_operations(&mut self, words: &[&str]) -> Result<(), ValueError> {
        self.operations = Operations::parse(words);
        match self.operations {
            Some(_) => Ok(()),
            None => Err(ValueError::NotOperations),
        }
    }

    /// Returns what calls over a link may do. `self` is the provider's policy, and counts
    /// for what the link does not say.
    pub fn with_link<'a>(&'a self, link: &'a Self) -> EffectivePolicy<'a> {
        EffectivePolicy {
            operations: decided(link.operations.as_ref(), self.operations.as_ref()),
            lattices: decided(link.lattices.as_ref(), self.lattices.as_ref()),
        }
    }
}

fn decided<'a, T>(link: Option<&'a T>, provider: Option<&'a T>) -> (Decider, Option<&'a T>) {
    match link {
        Some(allowed) => (Decider::Link, Some(allowed)),
        None => (Decider::Provider, provider),
    }
}

/// Whose policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The link's, in `operations` or `lattices`.
    Link,
    /// The provider's, in `default_operations` or `default_lattices`.
    Provider,
}

/// What calls over a link may do: everything, unless a policy narrows it.
#[derive(Clone, Copy, Debug)]
pub struct EffectivePolicy<'a> {
    operations: (Decider, Option<&'a Operations>),
    lattices: (Decider, Option<&'a LatticePatterns>),
}

impl EffectivePolicy<'_> {
    /// Checks that the operation may be called.
    ///
    /// # Errors
    /// Whose policy does not allow it.
    pub fn operation(&self, operation: Operation) -> Result<(), Decider> {
        let (decider, allowed) = self.operations;
        match allowed {
            Some(allowed) if !allowed.contains(operation) => Err(decider),
            _ => Ok(()),
        }
    }

    /// Checks that the lattice may be named.
    ///
    /// # Errors
    /// Whose policy does not allow it.
    pub fn lattice(&self, id: &str) -> Result<(), Decider> {
        let (decider, allowed) = self.lattices;
        match allowed {
            Some(allowed) if !allowed.contains(id) => Err(decider),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::{SettingsError, parse};

    fn read(values: &[(&str, Value)]) -> Result<Policy, SettingsError> {
        parse::of(values).map(|settings| settings.default_policy)
    }

    fn operations(text: &str) -> Operations {
        let policy = read(&[("default_operations", text.into())]);
        policy.unwrap().operations.unwrap()
    }

    #[test]
    fn every_operation_is_in_exactly_one_group() {
        for one in Operation::ALL {
            let groups = ["read", "write", "credentials"].map(operations);
            let found = groups.iter().filter(|group| group.contains(one));
            assert_eq!(found.count(), 1, "{one:?}");
            assert!(operations("all").contains(one), "{one:?}");
            assert!(operations("read,write,credentials").contains(one));
        }
    }

    #[test]
    fn groups_and_names_mix() {
        let some = operations("read, StopHost");
        assert!(some.contains(Operation::GetHosts) && some.contains(Operation::StopHost));
        assert!(!some.contains(Operation::StartActor));
    }

    #[test]
    fn a_list_is_the_same_as_its_words_between_commas() {
        for (list, text) in [
            (json!(["read", " StopHost"]), json!("read,StopHost")),
            (json!(["all"]), json!(" all ")),
        ] {
            let (list, text) = (
                read(&[("default_operations", list)]),
                read(&[("default_operations", text)]),
            );
            assert_eq!(list.unwrap(), text.unwrap());
        }
    }

    #[test]
    fn what_allows_nothing_or_cannot_be_meant_is_a_mistake() {
        for value in [
            json!(""),
            json!(","),
            json!(" , "),
            json!("a,,b"),
            json!("a;b"),
            json!([]),
            json!([""]),
            json!(["a,b"]),
            json!(["a", 1]),
            json!(1),
            json!(null),
            json!({}),
            json!("sekret!"),
        ] {
            for key in ["default_lattices", "default_operations"] {
                let problem = read(&[(key, value.clone())]).unwrap_err().to_string();
                assert!(problem.starts_with(key), "{problem}");
                assert!(!problem.contains("sekret"), "{problem}");
            }
        }
        for typo in ["Read", "gethosts", "read write", "*", "Get*"] {
            assert!(
                read(&[("default_operations", typo.into())]).is_err(),
                "{typo}"
            );
        }
    }

    #[test]
    fn each_default_counts_for_the_value_that_is_missing() {
        let provider = read(&[
            ("default_lattices", "a".into()),
            ("default_operations", "read".into()),
        ]);
        let provider = provider.unwrap();
        let none = Policy::default();
        let allowed = provider.with_link(&none);
        assert_eq!(allowed.lattice("b"), Err(Decider::Provider));
        assert_eq!(
            allowed.operation(Operation::StopHost),
            Err(Decider::Provider)
        );
        assert_eq!(allowed.operation(Operation::GetHosts), Ok(()));
        let link = read(&[("default_lattices", "b".into())]).unwrap();
        let allowed = provider.with_link(&link);
        assert_eq!(allowed.lattice("a"), Err(Decider::Link));
        assert_eq!(allowed.lattice("b"), Ok(()));
        assert_eq!(
            allowed.operation(Operation::StopHost),
            Err(Decider::Provider)
        );
        let link = read(&[("default_operations", "all".into())]).unwrap();
        let allowed = provider.with_link(&link);
        assert_eq!(allowed.operation(Operation::StopHost), Ok(()));
        assert_eq!(allowed.lattice("b"), Err(Decider::Provider));
        let allowed = none.with_link(&none);
        assert!(allowed.lattice("b").is_ok() && allowed.operation(Operation::StopHost).is_ok());
    }
}
