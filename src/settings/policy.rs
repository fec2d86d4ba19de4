//! Which operations and lattices an actor may use: those that its link allows, else
//! those that the provider allows by default.

use crate::settings::lattice_patterns::LatticePatterns;

/// The name of every operation of the contract.
pub const OPERATIONS: [&str; 17] = [
    "AdvertiseLink",
    "AuctionActor",
    "AuctionProvider",
    "GetClaims",
    "GetHostInventory",
    "GetHosts",
    "GetLinks",
    "RemoveLink",
    "ScaleActor",
    "SetLatticeCredentials",
    "SetRegistryCredentials",
    "StartActor",
    "StartProvider",
    "StopActor",
    "StopHost",
    "StopProvider",
    "UpdateActor",
];

/// Operations that change nothing.
pub const READ: [&str; 6] = [
    "AuctionActor",
    "AuctionProvider",
    "GetClaims",
    "GetHostInventory",
    "GetHosts",
    "GetLinks",
];
/// Operations that change what runs, or what is linked.
const WRITE: [&str; 9] = [
    "AdvertiseLink",
    "RemoveLink",
    "ScaleActor",
    "StartActor",
    "StartProvider",
    "StopActor",
    "StopHost",
    "StopProvider",
    "UpdateActor",
];
/// Operations whose arguments are credentials.
const CREDENTIALS: [&str; 2] = ["SetLatticeCredentials", "SetRegistryCredentials"];

/// A set of operations: one bit for each of [`OPERATIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Operations(u32);

impl Operations {
    /// Reads names of operations and of groups of them. `None` without any, or if one of
    /// them is unknown.
    fn parse(words: &[&str]) -> Option<Self> {
        let known = words.iter().try_fold(Self::default(), |set, word| {
            let more = match *word {
                "read" => Self::of(&READ),
                "write" => Self::of(&WRITE),
                "credentials" => Self::of(&CREDENTIALS),
                "all" => Self::of(&OPERATIONS),
                name => Self::of(&[name]),
            };
            (more != Self::default()).then_some(Self(set.0 | more.0))
        });
        known.filter(|set| *set != Self::default())
    }

    /// Makes the set of those of these names that the contract has.
    fn of(names: &[&str]) -> Self {
        let bits = OPERATIONS.iter().enumerate();
        let bits = bits.filter(|(_, known)| names.contains(known));
        Self(bits.fold(0, |set, (bit, _)| set | 1 << bit))
    }

    fn contains(self, name: &str) -> bool {
        self.0 & Self::of(&[name]).0 != 0
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
    /// What it must be.
    pub(super) fn take_lattices(&mut self, words: &[&str]) -> Result<(), String> {
        self.lattices = LatticePatterns::parse(words);
        match self.lattices {
            Some(_) => Ok(()),
            None => Err("it must be lattice ids, in which * may stand".into()),
        }
    }

    /// Takes the operations that a list names, as [`Self::take_lattices`] does.
    ///
    /// # Errors
    /// What it must be.
    pub(super) fn take_operations(&mut self, words: &[&str]) -> Result<(), String> {
        self.operations = Operations::parse(words);
        match self.operations {
            Some(_) => Ok(()),
            None => Err("it must be names of operations, read, write, credentials or all".into()),
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
    pub fn operation(&self, name: &str) -> Result<(), Decider> {
        let (decider, allowed) = self.operations;
        match allowed {
            Some(allowed) if !allowed.contains(name) => Err(decider),
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
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::settings::{ProviderSettings, SettingsError};

    fn read(values: &[(&str, Value)]) -> Result<Policy, SettingsError> {
        let settings: Map<_, _> = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        let settings = Value::Object(settings).to_string();
        ProviderSettings::parse(Some(&settings)).map(|settings| settings.default_policy)
    }

    fn operations(text: &str) -> Operations {
        let policy = read(&[("default_operations", text.into())]);
        policy.unwrap().operations.unwrap()
    }

    #[test]
    fn every_operation_is_in_exactly_one_group() {
        for name in OPERATIONS {
            let groups = [&READ[..], &WRITE, &CREDENTIALS];
            let found = groups.into_iter().filter(|group| group.contains(&name));
            assert_eq!(found.count(), 1, "{name}");
            assert!(operations("all").contains(name), "{name}");
            assert!(operations("read,write,credentials").contains(name));
        }
        let named = READ.len() + WRITE.len() + CREDENTIALS.len();
        assert_eq!(named, OPERATIONS.len());
    }

    #[test]
    fn groups_and_names_mix() {
        let some = operations("read, StopHost");
        assert!(some.contains("GetHosts") && some.contains("StopHost"));
        assert!(!some.contains("StartActor") && !some.contains("read") && !some.contains(""));
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
        assert_eq!(allowed.operation("StopHost"), Err(Decider::Provider));
        assert_eq!(allowed.operation("GetHosts"), Ok(()));
        let link = read(&[("default_lattices", "b".into())]).unwrap();
        let allowed = provider.with_link(&link);
        assert_eq!(allowed.lattice("a"), Err(Decider::Link));
        assert_eq!(allowed.lattice("b"), Ok(()));
        assert_eq!(allowed.operation("StopHost"), Err(Decider::Provider));
        let link = read(&[("default_operations", "all".into())]).unwrap();
        let allowed = provider.with_link(&link);
        assert_eq!(allowed.operation("StopHost"), Ok(()));
        assert_eq!(allowed.lattice("b"), Err(Decider::Provider));
        let allowed = none.with_link(&none);
        assert!(allowed.lattice("b").is_ok() && allowed.operation("StopHost").is_ok());
    }
}
