//! What tests can see of a host, and what they can switch on it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::host::Received;
use super::super::host::running::Annotations;
use super::{SimHostV1, Version, scales};

impl SimHostV1 {
    /// Returns what it is a host of.
    pub fn version(&self) -> Version {
        self.shared.version
    }

    /// Tells this version from now on, as a host does that is embedded in
    /// another program.
    pub fn call_itself(&self, version: &str) {
        *self.shared.told.lock().unwrap() = version.into();
    }

    /// Answers this late from now on.
    pub fn answer_after(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// Answers this late from now on to messages on subjects with this ending.
    pub fn answer_after_on(&self, end: &str, delay: Duration) {
        self.shared.delays.lock().unwrap().push((end.into(), delay));
    }

    /// Compiles so long from now on when a component starts. Meanwhile it does
    /// not answer what needs its table of components: inventories, auctions for
    /// components, scales and updates.
    pub fn compile_for(&self, time: Duration) {
        *self.shared.compiles.lock().unwrap() = time;
    }

    /// Answers orders at once from now on, and carries them out this much later.
    /// A later order with a shorter lag overtakes an earlier one, as on real
    /// hosts.
    pub fn lag_by(&self, lag: Duration) {
        *self.shared.lag.lock().unwrap() = Some(lag);
    }

    /// Waits until it has carried out all that it acknowledged, and published the
    /// events of it.
    pub async fn catches_up(&self) {
        let caught_up = || async { self.caught_up().then_some(()) };
        super::super::eventually("the host to catch up", caught_up).await;
    }

    /// Returns whether it has carried out all that it acknowledged, and
    /// published the events of it.
    pub fn caught_up(&self) -> bool {
        let owes = !self.shared.owed.lock().unwrap().is_empty();
        !owes && !self.shared.busy.load(Ordering::Relaxed)
    }

    /// Leaves messages on subjects with this ending unanswered from now on.
    pub fn fall_silent_on(&self, end: &str) {
        self.shared.silent.lock().unwrap().push(end.into());
    }

    /// Answers everything again from now on.
    pub fn speak_again(&self) {
        self.shared.silent.lock().unwrap().clear();
    }

    /// Returns everything that it has received so far, each with its subject
    /// after `wasmbus.ctl.v1.{lattice}.`.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Returns what it has received on subjects that contain this, as
    /// `component.scale`.
    pub fn received_on(&self, part: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|message| message.subject.contains(part));
        received
    }

    /// Sends a heartbeat now.
    pub async fn beat(&self) {
        self.shared.beat().await;
    }

    /// Returns the harm that a request did to it.
    pub fn harm(&self) -> Option<&'static str> {
        self.shared.state.lock().unwrap().harm
    }

    /// Returns the harm and forgets it, where a test means it: dropping the
    /// host does not fail then.
    pub fn meant_harm(&self) -> Option<&'static str> {
        self.shared.state.lock().unwrap().harm.take()
    }

    /// Returns whether it was told to stop.
    pub fn stopped(&self) -> bool {
        self.shared.state.lock().unwrap().stopped
    }

    /// Returns the time limit of its stop, where it was given one.
    pub fn ends_within(&self) -> Option<Duration> {
        self.shared.state.lock().unwrap().ends_within
    }

    /// Returns the revisions of a component that answer calls here, listed or
    /// not: one for the table's entry, and one for each that an update left.
    pub fn runs(&self, id: &str) -> Vec<i64> {
        let state = self.shared.state.lock().unwrap();
        let running = state.running(id).into_iter();
        running.map(|component| component.code.revision()).collect()
    }

    /// Returns the references whose code answers calls here, as [`Self::runs`].
    pub fn answers(&self, id: &str) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let running = state.running(id).into_iter();
        running.map(|c| c.code.image_ref.clone()).collect()
    }

    /// Returns how many calls of a component may run at once here with which
    /// annotations.
    pub fn groups(&self, id: &str) -> BTreeMap<Annotations, u64> {
        scales::groups(&self.shared.state.lock().unwrap().running(id))
    }

    /// Returns how many calls of a component may run at once here.
    pub fn instances(&self, id: &str) -> usize {
        self.groups(id).values().sum::<u64>() as usize
    }

    /// Returns the named configs that a component runs with.
    pub fn configs(&self, id: &str) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let component = state.components.get(id);
        component.map(|c| c.config.clone()).unwrap_or_default()
    }

    /// Returns whether the process of a provider is there.
    pub fn runs_provider(&self, id: &str) -> bool {
        let state = self.shared.state.lock().unwrap();
        state.providers.get(id).is_some_and(|p| p.alive)
    }

    /// Has a provider exit. From 1.6.0 on, hosts start it again.
    pub fn exit_provider(&self, id: &str) {
        let mut state = self.shared.state.lock().unwrap();
        let provider = state.providers.get_mut(id).unwrap();
        provider.alive = self.shared.version >= Version::V160;
    }

    /// Sets whether providers of this host leave shutdown requests unanswered.
    pub fn mute_providers(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::Relaxed);
    }

    /// Returns whether it would log in at this registry: no host does so with a
    /// token.
    pub fn logs_in(&self, registry: &str) -> bool {
        let state = self.shared.state.lock().unwrap();
        let entry = state.registries.get(registry);
        entry.is_some_and(|entry| entry.username.is_some() && entry.password.is_some())
    }
}
