//! Which actors are linked to us, and what their links say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dashmap::DashMap;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{debug, info};

use crate::error::quoted;
use crate::front::wasmbus::or_default;
use crate::settings::LinkSettings;
use crate::telemetry::LogLimiter;
use crate::telemetry::security::{self, Cause};

/// Refused links that health tells of, and how much of each.
const TOLD: usize = 3;
const TOLD_CHARS: usize = 300;

/// The contract that we serve.
pub(crate) const CONTRACT: &str = "wasmcloud:latticecontrol";

/// A link definition as hosts send it: MessagePack, or JSON in host data and in
/// test mode. OTP hosts add an `id`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct LinkDefinition {
    /// Public key of the actor.
    #[serde(deserialize_with = "or_default")]
    pub actor_id: String,
    /// Public key of the provider.
    #[serde(deserialize_with = "or_default")]
    pub provider_id: String,
    /// Link name.
    #[serde(deserialize_with = "or_default")]
    pub link_name: String,
    /// Contract id.
    #[serde(deserialize_with = "or_default")]
    pub contract_id: String,
    /// Values: settings of the link. May hold what is not for logs.
    #[serde(deserialize_with = "text_values")]
    pub values: HashMap<String, String>,
}

/// Values that are null count as absent.
fn text_values<'de, D>(input: D) -> Result<HashMap<String, String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let values: HashMap<String, Option<String>> = or_default(input)?;
    let there = values
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    Ok(there.collect())
}

/// Why an actor has no settings.
#[derive(Debug)]
pub enum Unlinked {
    /// It is not linked.
    Never(String),
    /// Its link was refused.
    Refused(String),
}

/// A link, read.
struct Link {
    /// Its settings, or why it was refused.
    read: Result<Arc<LinkSettings>, String>,
    /// Number of the last put of it.
    put: u64,
}

/// Where a link is in the table, under our link name.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Public key of the actor.
    pub actor: String,
    /// Contract id.
    pub contract: String,
}

/// The links of this provider.
pub struct LinkTable {
    provider_key: String,
    link_name: String,
    /// By actor, then by contract: hosts send the same link once per host, and
    /// an actor may be linked under several contracts.
    links: DashMap<String, BTreeMap<String, Link>>,
    /// How many links were put so far.
    puts: watch::Sender<u64>,
    news: LogLimiter,
}

/// Most actors, links of one actor, and characters of what names them.
const MAX_ACTORS: usize = 10_000;
const MAX_CONTRACTS: usize = 16;
const MAX_NAME: usize = 256;

impl LinkTable {
    /// A table without links for this provider under this link name.
    pub fn new(provider_key: &str, link_name: &str) -> Self {
        Self {
            provider_key: provider_key.to_owned(),
            link_name: link_name.to_owned(),
            links: DashMap::new(),
            puts: watch::Sender::default(),
            news: LogLimiter::bursts(),
        }
    }

    /// Takes a link, or its new values; they count from the next call on. A
    /// link whose values are no settings is kept as refused.
    pub fn put(&self, link: LinkDefinition) {
        if self.is_ours(&link) {
            self.take(link, |_| true);
        }
    }

    /// Takes the values that a link has elsewhere, if its last put is not after
    /// this one. What is of another provider there is not ours to take.
    pub fn renew(&self, link: LinkDefinition, up_to: u64) {
        if link.provider_id == self.provider_key && link.link_name == self.link_name {
            self.take(link, |known| known.is_some_and(|known| known.put <= up_to));
        }
    }

    /// Takes a link of ours in the place of one that it may replace.
    fn take(&self, link: LinkDefinition, may_replace: impl Fn(Option<&Link>) -> bool) {
        let read = LinkSettings::parse(&link.values)
            .map(Arc::new)
            .map_err(|error| error.to_string());
        let (actor, contract) = (&link.actor_id, &link.contract_id);
        // Puts are not signed: whoever sends them must not fill our memory.
        let known = self.links.contains_key(actor);
        let fits = actor.len() <= MAX_NAME && contract.len() <= MAX_NAME;
        if !fits || (!known && self.links.len() >= MAX_ACTORS) {
            security::refused(Cause::Link, actor, "it is one link too many, or too long");
            return;
        }
        let mut links = self.links.entry(actor.clone()).or_default();
        if !may_replace(links.get(contract)) {
            drop(links);
            self.links.remove_if(actor, |_, links| links.is_empty());
            return;
        }
        if links.len() >= MAX_CONTRACTS && !links.contains_key(contract) {
            security::refused(Cause::Link, actor, "it has too many links");
            return;
        }
        let mut put = 0;
        self.puts.send_modify(|puts| {
            *puts += 1;
            put = *puts;
        });
        if let Some(known) = links.get_mut(contract)
            && known.read == read
        {
            known.put = put;
            debug!(actor, contract, "link known");
            return;
        }
        match &read {
            Ok(_) if self.news.is_due() => info!(actor, contract, "link put"),
            Ok(_) => debug!(actor, contract, "link put"),
            Err(problem) => {
                // The security line may be one too many.
                debug!(actor, contract, problem, "link refused");
                security::refused(Cause::Link, actor, problem);
            }
        }
        links.insert(contract.clone(), Link { read, put });
    }

    /// Forgets a link.
    pub fn delete(&self, link: &LinkDefinition) {
        if !self.is_ours(link) {
            return;
        }
        self.remove(&link.actor_id, &link.contract_id, |_| true);
    }

    /// Forgets a link, if its last put is not after this one.
    pub fn forget(&self, place: &Place, up_to: u64) {
        self.remove(&place.actor, &place.contract, |link| link.put <= up_to);
    }

    fn remove(&self, actor: &str, contract: &str, may_go: impl Fn(&Link) -> bool) {
        if let Some(mut links) = self.links.get_mut(actor)
            && links.get(contract).is_some_and(may_go)
            && links.remove(contract).is_some()
        {
            match self.news.is_due() {
                true => info!(actor, contract, "link deleted"),
                false => debug!(actor, contract, "link deleted"),
            }
        }
        self.links.remove_if(actor, |_, links| links.is_empty());
    }

    /// How many links were put so far.
    pub fn puts(&self) -> watch::Receiver<u64> {
        self.puts.subscribe()
    }

    /// All links whose last put is not after this one.
    pub fn put_up_to(&self, up_to: u64) -> Vec<Place> {
        let of_actor = |(actor, links): (&String, &BTreeMap<String, Link>)| {
            let links = links.iter().filter(|(_, link)| link.put <= up_to);
            let place = |(contract, _): (&String, &Link)| Place {
                actor: actor.clone(),
                contract: contract.clone(),
            };
            links.map(place).collect::<Vec<_>>()
        };
        let all = self.links.iter().flat_map(|links| of_actor(links.pair()));
        all.collect()
    }

    /// Settings of the actor's link: the one under our contract, else the first
    /// under any (hosts check the contract, see wasmbus-abi B.3).
    ///
    /// # Errors
    /// Why the actor may not call.
    pub fn settings(&self, actor: &str) -> Result<Arc<LinkSettings>, Unlinked> {
        let never = || Unlinked::Never(format!("actor {actor:?} is not linked to this provider"));
        let links = self.links.get(actor).ok_or_else(never)?;
        match &counts(&links).ok_or_else(never)?.read {
            Ok(settings) => Ok(settings.clone()),
            Err(problem) => Err(Unlinked::Refused(format!(
                "the link of actor {actor} was refused: {problem}"
            ))),
        }
    }

    /// Which actors' links are refused, and why: how many, and the first few.
    pub fn refused(&self) -> Option<String> {
        let refused = self.links.iter().filter_map(|links| {
            let problem = counts(&links)?.read.as_ref().err()?;
            let problem: String = problem.chars().take(TOLD_CHARS).collect();
            Some(format!("actor {}: {problem}", quoted(links.key())))
        });
        let mut refused: Vec<String> = refused.collect();
        refused.sort();
        let first = refused.iter().take(TOLD).cloned().collect::<Vec<_>>();
        let first = first.join("; ");
        match refused.len() {
            0 => None,
            count @ 1..=TOLD => Some(format!("links refused: {count}; {first}")),
            count => Some(format!(
                "links refused: {count}, the first of them: {first}"
            )),
        }
    }

    fn is_ours(&self, link: &LinkDefinition) -> bool {
        let ours = link.provider_id == self.provider_key && link.link_name == self.link_name;
        if !ours || link.actor_id.is_empty() {
            let detail = "a link that is not for this provider was ignored";
            security::refused(Cause::Link, &link.actor_id, detail);
        }
        ours && !link.actor_id.is_empty()
    }
}

/// Of an actor's links, the one that counts.
fn counts(links: &BTreeMap<String, Link>) -> Option<&Link> {
    links.get(CONTRACT).or_else(|| links.values().next())
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
        table.put(link(CONTRACT, &[]));
        assert!(allows(&table, "b"));
        table.put(link(CONTRACT, &[("lattices", "a")]));
        assert!(!allows(&table, "b"));
        table.put(link(CONTRACT, &[("bogus", "a")]));
        let refused = table.settings("M1").unwrap_err();
        assert!(matches!(refused, Unlinked::Refused(why) if why.contains("bogus")));
    }

    #[test]
    fn deleting_one_of_two_contracts_leaves_the_other() {
        let table = LinkTable::new("V1", "default");
        table.put(link(CONTRACT, &[("lattices", "a")]));
        table.put(link("other:contract", &[]));
        table.delete(&link(CONTRACT, &[]));
        assert!(allows(&table, "b"));
        table.delete(&link("other:contract", &[]));
        table.delete(&link("other:contract", &[]));
        assert!(matches!(table.settings("M1"), Err(Unlinked::Never(_))));
    }

    #[test]
    fn what_was_put_later_is_neither_renewed_nor_forgotten() {
        let table = LinkTable::new("V1", "default");
        let place = || Place {
            actor: "M1".into(),
            contract: CONTRACT.into(),
        };
        // Also where a put said nothing new.
        for _ in 0..2 {
            table.put(link(CONTRACT, &[]));
        }
        assert_eq!(table.put_up_to(1), []);
        table.forget(&place(), 1);
        table.renew(link(CONTRACT, &[("lattices", "a")]), 1);
        assert!(allows(&table, "b"));
        assert_eq!(table.put_up_to(2), [place()]);
        let mut moved = link(CONTRACT, &[("lattices", "a")]);
        moved.provider_id = "V2".into();
        table.renew(moved, 2);
        assert!(allows(&table, "b"));
        table.renew(link(CONTRACT, &[("lattices", "a")]), 2);
        assert!(!allows(&table, "b"));
        // That was another put.
        table.forget(&place(), 2);
        assert!(allows(&table, "a"));
        table.forget(&place(), 3);
        assert!(table.settings("M1").is_err());
        // A link that is not here is not made by a look at the bucket.
        table.renew(link(CONTRACT, &[]), 9);
        assert!(table.settings("M1").is_err());
        assert!(table.links.is_empty());
    }

    #[test]
    fn links_of_other_providers_are_ignored() {
        let table = LinkTable::new("V1", "default");
        let mut other = link(CONTRACT, &[]);
        other.provider_id = "V2".into();
        table.put(other);
        assert!(table.settings("M1").is_err());
    }

    #[test]
    fn refused_links_are_told_of_until_they_are_put_right_and_only_the_first_few() {
        let table = LinkTable::new("V1", "default");
        let many = "x".repeat(40);
        for number in (0..100).rev() {
            let mut bad = link(CONTRACT, &[("lattices", ","), (&many, "")]);
            bad.actor_id = format!("M{number:02}");
            table.put(bad);
        }
        let told = table.refused().unwrap();
        assert!(told.contains("100") && told.contains("\"M00\": "), "{told}");
        assert!(told.contains("M02") && !told.contains("M03"), "{told}");
        assert!(told.len() < 1500, "{told}");
        for number in 0..100 {
            let mut good = link(CONTRACT, &[]);
            good.actor_id = format!("M{number:02}");
            match number % 2 {
                0 => table.put(good),
                _ => table.delete(&good),
            }
        }
        assert_eq!(table.refused(), None);
    }
}
