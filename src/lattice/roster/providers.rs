//! The providers that hosts run, as their inventories, events and heartbeats say.
//!
//! This is kept once an auction of a provider was held in a lattice, so that the next one
//! needs no inventories. It counts as long as the events of the host arrive without a gap.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::model::{Provider, ProviderSeen};
use crate::lattice::roster::known::{KnownHost, KnownProviders};
use crate::lattice::roster::listening::HEARD_FOR;
use crate::lattice::roster::{Roster, State};
use crate::name::HostId;

/// Events of a host are published within this time of what they tell.
const OVERTAKES_WITHIN: Duration = Duration::from_secs(2);

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
        (is_fresh && providers.are_all)
            .then(|| providers.runs(reference, link_name))
            .flatten()
    }

    /// Notes the providers in an inventory that was `asked` for then.
    pub fn note_inventory(&self, host: &HostId, asked: Instant, providers: &[Provider]) {
        let seen = |listed: &Provider| ProviderSeen {
            key: listed.id.clone(),
            link_name: listed.link_name.clone(),
            image_ref: Some(listed.image_ref.clone().unwrap_or_default()),
        };
        let state = &mut *self.state.lock();
        // Where one moved since, the inventory may show it or not. A provider without a
        // reference has none.
        let moved = |known: &KnownHost| known.provider_moved.is_some_and(|at| at >= asked);
        if state.keeps_providers && !state.hosts.get(host).is_none_or(moved) {
            let all = providers.iter().map(seen).collect();
            self.set_providers(state, host, all, true, asked);
        }
    }

    /// Notes the providers in a heartbeat over the connection of this epoch; `None` where it
    /// does not say them in a way that can be read.
    pub fn note_beat(&self, host: &HostId, epoch: u64, providers: Option<Vec<ProviderSeen>>) {
        let state = &mut *self.state.lock();
        let (Some(listening), Some(known)) =
            (state.listening.since(epoch), state.hosts.get_mut(host))
        else {
            return;
        };
        // One that was made before a provider moved may come after the event of that.
        let moved = known.provider_moved;
        let is_settled = moved.is_none_or(|at| at.elapsed() > OVERTAKES_WITHIN);
        let is_kept = state.keeps_providers && is_settled;
        let Some(mut providers) = providers.filter(|_| is_kept) else {
            known.doubt_providers();
            return;
        };
        let before = known.providers.take();
        // Most hosts do not say references in heartbeats. What was known before a gap may
        // have been replaced in it.
        if let Some(before) = before.filter(|before| before.since >= listening) {
            for one in &mut providers {
                one.image_ref = one.image_ref.take().or_else(|| before.reference_of(one));
            }
        }
        self.set_providers(state, host, providers, true, Instant::now());
    }

    /// Notes that a host started a provider.
    pub fn provider_started(&self, host: &HostId, started: ProviderSeen) {
        self.change_providers(host, |all| {
            all.retain(|one| !one.is(&started.key, &started.link_name));
            all.push(started);
        });
    }

    /// Notes that a provider of a host stopped.
    pub fn provider_stopped(&self, host: &HostId, key: &str, link_name: &str) {
        self.change_providers(host, |all| all.retain(|one| !one.is(key, link_name)));
    }

    /// Notes that a host did not start a provider.
    pub fn provider_failed(&self, host: &HostId) {
        self.change_providers(host, |_| ());
    }

    /// Notes that a host is told to start or stop a provider, or that one did.
    pub fn provider_moves(&self, host: &HostId) {
        if let Some(known) = self.state.lock().hosts.get_mut(host) {
            known.provider_moved = Some(Instant::now());
            known.doubt_providers();
        }
    }

    /// Notes a change of the providers of a host.
    fn change_providers(&self, host: &HostId, change: impl FnOnce(&mut Vec<ProviderSeen>)) {
        let state = &mut *self.state.lock();
        let Some(known) = state.hosts.get_mut(host) else {
            return;
        };
        let now = Instant::now();
        known.provider_moved = Some(now);
        let before = known.providers.take();
        if state.keeps_providers {
            let before = before.map(|known| (known.all, known.are_all, known.since));
            let (mut all, are_all, since) = before.unwrap_or((Vec::new(), false, now));
            change(&mut all);
            self.set_providers(state, host, all, are_all, since);
        }
    }

    /// Keeps the providers of a host, unless there is no room.
    fn set_providers(
        &self,
        state: &mut State,
        host: &HostId,
        all: Vec<ProviderSeen>,
        are_all: bool,
        since: Instant,
    ) {
        let Some(known) = state.hosts.get_mut(host) else {
            return;
        };
        // Those from before give up their room first.
        known.providers = None;
        let room = self.texts().share(host.clone());
        known.providers = KnownProviders::new(all, are_all, since, room).map(Box::new);
    }
}

#[cfg(test)]
#[path = "providers_tests.rs"]
mod tests;
