//! The providers that hosts run, as their inventories, events and heartbeats say.
//!
//! This is kept once an auction of a provider was held in a lattice, so that the next one
//! needs no inventories. It counts as long as the events of the host arrive without a gap.

use tokio::time::Instant;

use crate::lattice::model::{Provider, ProviderSeen};
use crate::lattice::roster::known::{KnownHost, KnownProviders};
use crate::lattice::roster::listening::HEARD_FOR;
use crate::lattice::roster::{Roster, State};
use crate::name::HostId;

impl Roster {
    /// Keeps from now on which providers hosts run.
    pub fn keep_providers(&self) {
        self.state.lock().keeps_providers = true;
    }

    /// Tells whether a host runs a provider of this reference under a link name; `None`
    /// where that is not known for sure.
    pub fn runs_provider(
        &self,
        host: &HostId,
        epoch: u64,
        reference: &str,
        link_name: &str,
    ) -> Option<bool> {
        let state = self.state.lock();
        let listening = state.listening.since(epoch)?;
        let known = state.hosts.get(host)?;
        let heard = known.heard?;
        let providers = known.providers.as_ref()?;
        let is_fresh =
            heard >= listening && heard.elapsed() < HEARD_FOR && providers.since >= listening;
        is_fresh
            .then(|| providers.runs(reference, link_name))
            .flatten()
    }

    /// Notes the providers in an inventory that was `asked` for then.
    pub fn note_inventory(&self, host: &HostId, asked: Instant, providers: &[Provider]) {
        let seen = |listed: &Provider| ProviderSeen {
            key: listed.id.clone(),
            link_name: listed.link_name.clone(),
            image_ref: listed.image_ref.clone(),
        };
        let state = &mut *self.state.lock();
        // Where one moved since, the inventory may show it or not.
        let moved = |known: &KnownHost| known.provider_moved.is_some_and(|at| at >= asked);
        if state.keeps_providers && !state.hosts.get(host).is_none_or(moved) {
            self.set_providers(state, host, providers.iter().map(seen).collect(), asked);
        }
    }

    /// Notes the providers in a heartbeat.
    pub fn note_beat(&self, host: &HostId, mut providers: Vec<ProviderSeen>) {
        let state = &mut *self.state.lock();
        if !state.keeps_providers {
            return;
        }
        let known = state.hosts.get(host);
        let before = known.and_then(|known| known.providers.as_ref());
        // Most hosts do not say references in heartbeats.
        for one in &mut providers {
            let is_it = |other: &&ProviderSeen| {
                (&other.key, &other.link_name) == (&one.key, &one.link_name)
            };
            let before = before.and_then(|before| before.all.iter().find(is_it));
            if one.image_ref.is_none() {
                one.image_ref = before.and_then(|before| before.image_ref.clone());
            }
        }
        self.set_providers(state, host, providers, Instant::now());
    }

    /// Notes that a host started a provider.
    pub fn provider_started(&self, host: &HostId, started: ProviderSeen) {
        self.change_providers(host, |all| {
            all.retain(|one| (&one.key, &one.link_name) != (&started.key, &started.link_name));
            all.push(started);
        });
    }

    /// Notes that a provider of a host stopped.
    pub fn provider_stopped(&self, host: &HostId, key: &str, link_name: &str) {
        self.change_providers(host, |all| {
            all.retain(|one| (one.key.as_str(), one.link_name.as_str()) != (key, link_name));
        });
    }

    /// Notes that a host did not start a provider.
    pub fn provider_failed(&self, host: &HostId) {
        self.change_providers(host, |_| ());
    }

    /// Notes that a host is told to start or stop a provider.
    pub fn provider_moves(&self, host: &HostId) {
        if let Some(known) = self.state.lock().hosts.get_mut(host) {
            known.provider_moved = Some(Instant::now());
            known.providers = None;
        }
    }

    /// Notes a change of the providers of a host.
    fn change_providers(&self, host: &HostId, change: impl FnOnce(&mut Vec<ProviderSeen>)) {
        let state = &mut *self.state.lock();
        let Some(known) = state.hosts.get_mut(host) else {
            return;
        };
        known.provider_moved = Some(Instant::now());
        if let Some(known) = known.providers.take() {
            let (mut all, since) = (known.all, known.since);
            change(&mut all);
            self.set_providers(state, host, all, since);
        }
    }

    /// Keeps the providers of a host, unless there is no room.
    fn set_providers(
        &self,
        state: &mut State,
        host: &HostId,
        all: Vec<ProviderSeen>,
        since: Instant,
    ) {
        let Some(known) = state.hosts.get_mut(host) else {
            return;
        };
        // Those from before give up their room first.
        known.providers = None;
        let room = self.texts().share(host.clone());
        known.providers = KnownProviders::new(all, since, room).map(Box::new);
    }
}

#[cfg(test)]
#[path = "providers_tests.rs"]
mod tests;
