//! Which actors are linked to the provider, and the settings of their links.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;
use tracing::{debug, info};

use crate::contract::CONTRACT_ID;
use crate::error::quoted;
use crate::settings::{LinkSettings, SettingsError};
use crate::telemetry::LogLimiter;
use crate::telemetry::security::{self, Cause};

/// How many refused links health names, and how many characters of each problem.
const NAMED: usize = 3;
const NAMED_CHARS: usize = 300;

/// A link between an actor and a provider, as a host defines it.
#[derive(Clone, Default)]
pub struct LinkDefinition {
    /// Public key of the actor.
    pub actor_id: String,
    /// Public key of the provider.
    pub provider_id: String,
    /// Link name.
    pub link_name: String,
    /// Contract id.
    pub contract_id: String,
    /// Values: settings of the link. They may hold what is not for logs.
    pub values: HashMap<String, String>,
}

/// Why an actor has no settings, so that it may not call.
#[derive(Debug, thiserror::Error)]
pub enum Unlinked {
    /// The actor with this public key is not linked.
    #[error("actor {0:?} is not linked to this provider")]
    Never(String),
    /// Its link was refused.
    #[error("the link of actor {actor} was refused: {problem}")]
    Refused {
        /// Public key of the actor.
        actor: String,
        /// What is wrong with the values of the link.
        #[source]
        problem: SettingsError,
    },
}

/// A link in the table.
struct KnownLink {
    /// Its settings, or why it was refused.
    settings: Result<Arc<LinkSettings>, SettingsError>,
    /// The number of its last put.
    put: u64,
}

/// What names a link in the table. All of its links have the same provider and link name.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkId {
    /// Public key of the actor.
    pub actor: String,
    /// Contract id.
    pub contract: String,
}

/// The links of this provider.
pub struct LinkTable {
    provider_key: String,
    link_name: String,
    /// By actor, then by contract. Every host sends the same link, and an actor may be
    /// linked under several contracts.
    links: DashMap<String, BTreeMap<String, KnownLink>>,
    /// How many links were put so far.
    puts: watch::Sender<u64>,
    change_log: LogLimiter,
}

/// Most actors, most links of one actor, and most bytes of an actor or a contract.
const MAX_ACTORS: usize = 10_000;
const MAX_CONTRACTS: usize = 16;
const MAX_NAME: usize = 256;

impl LinkTable {
    /// Makes a table without links for this provider under this link name.
    pub fn new(provider_key: &str, link_name: &str) -> Self {
        Self {
            provider_key: provider_key.to_owned(),
            link_name: link_name.to_owned(),
            links: DashMap::new(),
            puts: watch::Sender::default(),
            change_log: LogLimiter::bursts(),
        }
    }

    /// Takes a link, or the new values of a link, which count from the next call on. A
    /// link whose values are no settings is kept as refused.
    pub fn put(&self, link: LinkDefinition) {
        if self.is_ours(&link) {
            self.take(link, |_| true);
        }
    }

    /// Takes the values that a link has elsewhere, if the table has the link and its last
    /// put is not after `up_to`. A link of another provider is left alone.
    pub fn renew(&self, link: LinkDefinition, up_to: u64) {
        if link.provider_id == self.provider_key && link.link_name == self.link_name {
            self.take(link, |known| known.is_some_and(|known| known.put <= up_to));
        }
    }

    /// Takes a link of this provider if it may replace what the table has of it.
    fn take(&self, link: LinkDefinition, may_replace: impl Fn(Option<&KnownLink>) -> bool) {
        let settings = LinkSettings::parse(&link.values).map(Arc::new);
        let (actor, contract) = (&link.actor_id, &link.contract_id);
        // Puts are not signed, and their sender must not be able to fill the memory.
        let known = self.links.contains_key(actor);
        let fits = actor.len() <= MAX_NAME && contract.len() <= MAX_NAME;
        if !fits || (!known && self.links.len() >= MAX_ACTORS) {
            security::refused_unproved(Cause::Link, actor, "it is one link too many, or too long");
            return;
        }
        let mut links = self.links.entry(actor.clone()).or_default();
        if !may_replace(links.get(contract)) {
            drop(links);
            self.links.remove_if(actor, |_, links| links.is_empty());
            return;
        }
        if links.len() >= MAX_CONTRACTS && !links.contains_key(contract) {
            security::refused_unproved(Cause::Link, actor, "it has too many links");
            return;
        }
        let mut put = 0;
        self.puts.send_modify(|puts| {
            *puts += 1;
            put = *puts;
        });
        if let Some(known) = links.get_mut(contract)
            && known.settings == settings
        {
            known.put = put;
            debug!(actor, contract, "link known");
            return;
        }
        match &settings {
            Ok(_) if self.change_log.is_due() => info!(actor, contract, "link put"),
            Ok(_) => debug!(actor, contract, "link put"),
            Err(problem) => {
                let problem = &*problem.to_string();
                // The limit of security lines may leave the other line out.
                debug!(actor, contract, problem, "link refused");
                security::refused_unproved(Cause::Link, actor, problem);
            }
        }
        links.insert(contract.clone(), KnownLink { settings, put });
    }

    /// Forgets a link.
    pub fn delete(&self, link: &LinkDefinition) {
        if !self.is_ours(link) {
            return;
        }
        self.remove(&link.actor_id, &link.contract_id, |_| true);
    }

    /// Forgets a link, if its last put is not after `up_to`.
    pub fn forget(&self, key: &LinkId, up_to: u64) {
        self.remove(&key.actor, &key.contract, |link| link.put <= up_to);
    }

    fn remove(&self, actor: &str, contract: &str, may_go: impl Fn(&KnownLink) -> bool) {
        if let Some(mut links) = self.links.get_mut(actor)
            && links.get(contract).is_some_and(may_go)
            && links.remove(contract).is_some()
        {
            match self.change_log.is_due() {
                true => info!(actor, contract, "link deleted"),
                false => debug!(actor, contract, "link deleted"),
            }
        }
        self.links.remove_if(actor, |_, links| links.is_empty());
    }

    /// Returns how many links were put so far, and follows it.
    pub fn puts(&self) -> watch::Receiver<u64> {
        self.puts.subscribe()
    }

    /// Returns all links whose last put is not after `up_to`.
    pub fn put_up_to(&self, up_to: u64) -> Vec<LinkId> {
        let of_actor = |(actor, links): (&String, &BTreeMap<String, KnownLink>)| {
            let links = links.iter().filter(|(_, link)| link.put <= up_to);
            let key = |(contract, _): (&String, &KnownLink)| LinkId {
                actor: actor.clone(),
                contract: contract.clone(),
            };
            links.map(key).collect::<Vec<_>>()
        };
        let all = self.links.iter().flat_map(|links| of_actor(links.pair()));
        all.collect()
    }

    /// Returns the settings of the actor's link: of the one under our contract, else of the
    /// first under any (hosts check the contract, see docs/wasmbus.md#who-may-call).
    ///
    /// # Errors
    /// Why the actor may not call.
    pub fn settings(&self, actor: &str) -> Result<Arc<LinkSettings>, Unlinked> {
        let never = || Unlinked::Never(actor.to_owned());
        let links = self.links.get(actor).ok_or_else(never)?;
        match &effective(&links).ok_or_else(never)?.settings {
            Ok(settings) => Ok(settings.clone()),
            Err(problem) => Err(Unlinked::Refused {
                actor: actor.to_owned(),
                problem: problem.clone(),
            }),
        }
    }

    /// Says which actors' links are refused and why: how many there are, and the first few.
    pub fn refused(&self) -> Option<String> {
        let refused = self.links.iter().filter_map(|links| {
            let problem = effective(&links)?.settings.as_ref().err()?;
            let problem: String = problem.to_string().chars().take(NAMED_CHARS).collect();
            Some(format!("actor {}: {problem}", quoted(links.key())))
        });
        let mut refused: Vec<String> = refused.collect();
        refused.sort();
        let first = refused.iter().take(NAMED).cloned().collect::<Vec<_>>();
        let first = first.join("; ");
        match refused.len() {
            0 => None,
            count @ 1..=NAMED => Some(format!("links refused: {count}; {first}")),
            count => Some(format!(
                "links refused: {count}, the first of them: {first}"
            )),
        }
    }

    fn is_ours(&self, link: &LinkDefinition) -> bool {
        let ours = link.provider_id == self.provider_key && link.link_name == self.link_name;
        if !ours || link.actor_id.is_empty() {
            let detail = "a link that is not for this provider was ignored";
            security::refused_unproved(Cause::Link, &link.actor_id, detail);
        }
        ours && !link.actor_id.is_empty()
    }
}

/// Returns the link of an actor that its calls come by.
fn effective(links: &BTreeMap<String, KnownLink>) -> Option<&KnownLink> {
    links.get(CONTRACT_ID).or_else(|| links.values().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Policy;

    fn allows(table: &LinkTable, lattice: &str) -> bool {
        let (provider, link) = (Policy::default(), table.settings("M1").unwrap());
        provider.with_link(&link.policy).lattice(lattice).is_ok()
    }

    fn link(contract: &str, values: &[(&str, &str)]) -> LinkDefinition {
        LinkDefinition {
            actor_id: "M1".into(),
            provider_id: "V1".into(),
            link_name: "default".into(),
            contract_id: contract.into(),
            values: values
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
        }
    }

    #[test]
    fn changed_values_take_effect() {
        let table = LinkTable::new("V1", "default");
        table.put(link(CONTRACT_ID, &[]));
        assert!(allows(&table, "b"));
        table.put(link(CONTRACT_ID, &[("lattices", "a")]));
        assert!(!allows(&table, "b"));
        table.put(link(CONTRACT_ID, &[("bogus", "a")]));
        let refused = table.settings("M1").unwrap_err();
        assert!(matches!(refused, Unlinked::Refused { .. }));
        assert!(refused.to_string().contains("bogus"), "{refused}");
    }

    #[test]
    fn deleting_one_of_two_contracts_leaves_the_other() {
        let table = LinkTable::new("V1", "default");
        table.put(link(CONTRACT_ID, &[("lattices", "a")]));
        table.put(link("other:contract", &[]));
        table.delete(&link(CONTRACT_ID, &[]));
        assert!(allows(&table, "b"));
        table.delete(&link("other:contract", &[]));
        table.delete(&link("other:contract", &[]));
        assert!(matches!(table.settings("M1"), Err(Unlinked::Never(_))));
    }

    #[test]
    fn what_was_put_later_is_neither_renewed_nor_forgotten() {
        let table = LinkTable::new("V1", "default");
        let key = || LinkId {
            actor: "M1".into(),
            contract: CONTRACT_ID.into(),
        };
        // A put that says nothing new counts as well.
        for _ in 0..2 {
            table.put(link(CONTRACT_ID, &[]));
        }
        assert_eq!(table.put_up_to(1), []);
        table.forget(&key(), 1);
        table.renew(link(CONTRACT_ID, &[("lattices", "a")]), 1);
        assert!(allows(&table, "b"));
        assert_eq!(table.put_up_to(2), [key()]);
        let mut moved = link(CONTRACT_ID, &[("lattices", "a")]);
        moved.provider_id = "V2".into();
        table.renew(moved, 2);
        assert!(allows(&table, "b"));
        table.renew(link(CONTRACT_ID, &[("lattices", "a")]), 2);
        assert!(!allows(&table, "b"));
        // The renewal was another put.
        table.forget(&key(), 2);
        assert!(allows(&table, "a"));
        table.forget(&key(), 3);
        assert!(table.settings("M1").is_err());
        // A renewal makes no link that the table does not have.
        table.renew(link(CONTRACT_ID, &[]), 9);
        assert!(table.settings("M1").is_err());
        assert!(table.links.is_empty());
    }

    #[test]
    fn links_of_other_providers_are_ignored() {
        let table = LinkTable::new("V1", "default");
        let mut other = link(CONTRACT_ID, &[]);
        other.provider_id = "V2".into();
        table.put(other);
        assert!(table.settings("M1").is_err());
    }

    #[test]
    fn health_names_the_first_few_refused_links_until_they_are_put_right() {
        let table = LinkTable::new("V1", "default");
        let many = "x".repeat(40);
        for number in (0..100).rev() {
            let mut bad = link(CONTRACT_ID, &[("lattices", ","), (&many, "")]);
            bad.actor_id = format!("M{number:02}");
            table.put(bad);
        }
        let told = table.refused().unwrap();
        assert!(told.contains("100") && told.contains("\"M00\": "), "{told}");
        assert!(told.contains("M02") && !told.contains("M03"), "{told}");
        assert!(told.len() < 1500, "{told}");
        for number in 0..100 {
            let mut good = link(CONTRACT_ID, &[]);
            good.actor_id = format!("M{number:02}");
            match number % 2 {
                0 => table.put(good),
                _ => table.delete(&good),
            }
        }
        assert_eq!(table.refused(), None);
    }
}
