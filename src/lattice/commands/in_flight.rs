//! What hosts acknowledged, or may have, and do not show yet: most hosts acknowledge, then
//! download, then start. A thing is in flight until the inventory shows it, until it is
//! known to have failed, or until its time is over.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

pub use crate::lattice::commands::pending::SHOWN_WITHIN;
use crate::lattice::commands::pending::{Aim, Pending, Wait, may_be_one};
use crate::lattice::commands::target::Target;
use crate::lattice::dialect::v0::plan::After;
use crate::lattice::model::{Running, TextMap};
use crate::lock::Lock;
use crate::name::HostId;

/// Starts within this time are kept as one entry.
const KEPT_AS_ONE: Duration = Duration::from_secs(1);
/// Most hosts that are kept.
const MAX_HOSTS: usize = 10_000;
/// Most things in flight that are kept of each host: somebody could list very many sets of
/// annotations, all of which a stop changes.
pub const MAX_PENDING: usize = 1000;
/// Most bytes of a set of annotations that is kept. Callers cannot give larger ones.
const MAX_ANNOTATION_BYTES: usize = 64 * 1024;
/// Most failures that are kept of each host.
const MAX_FAILURES: usize = 16;

/// What is in flight to the hosts of a lattice.
#[derive(Default)]
pub struct InFlight(Lock<HashMap<HostId, OfHost>>);

#[derive(Default)]
struct OfHost {
    pending: Vec<Pending>,
    failures: Vec<Failure>,
}

/// A host's word that something failed.
struct Failure {
    image_ref: String,
    reason: String,
    at: Instant,
}

/// What else an inventory shows.
pub struct Seen<'a> {
    /// When the host was asked for the inventory.
    pub asked: Instant,
    /// Returns the key of the actor that a reference is of.
    pub key_of: &'a dyn Fn(&str) -> Option<String>,
    /// Returns what runs of the actor with this key.
    pub running: &'a dyn Fn(&str) -> Running,
}

/// What an inventory will show when all that is in flight has taken effect.
pub struct ExpectedRunning {
    /// What will run.
    pub running: Running,
    /// What of that the host does not show yet.
    waits: Vec<Wait>,
}

impl ExpectedRunning {
    /// Returns since when the host should have shown what a plan must wait for. `None`:
    /// the plan can be carried out now.
    pub fn in_the_way_of(&self, after: &After) -> Option<Instant> {
        let blocks = |wait: &&Wait| match (after, &wait.annotations) {
            // Starts from another reference do not add up.
            (After::AllButStarts, annotations) => !wait.adds || annotations.is_none(),
            (After::Groups(groups), Some(annotations)) => groups.contains(annotations),
            (After::Groups(_), None) | (After::Everything, _) => true,
        };
        let waits = self.waits.iter().filter(blocks);
        waits.map(|wait| wait.since).min()
    }
}

impl InFlight {
    /// Notes that `count` shall run under these annotations, where `before` did.
    pub fn expect_count(&self, target: Target<'_>, annotations: &TextMap, count: u32, before: u32) {
        if count != before {
            self.put(
                target,
                annotations,
                Aim::Count {
                    count,
                    grows: count > before,
                    since: Instant::now(),
                },
            );
        }
    }

    /// Notes that the host is about to be told something that it does before it
    /// acknowledges.
    pub fn begin(&self, target: Target<'_>) {
        let since = Instant::now();
        self.put(target, &TextMap::new(), Aim::Unacknowledged { since });
    }

    /// Notes that the host acknowledged that, or never will.
    pub fn end(&self, target: Target<'_>) {
        if let Some(host) = self.0.lock().get_mut(target.host) {
            let is_unacknowledged =
                |pending: &Pending| matches!(pending.aim, Aim::Unacknowledged { .. });
            host.pending.retain(|pending| {
                !(pending.is(target, &TextMap::new()) && is_unacknowledged(pending))
            });
        }
    }

    /// Notes that something may have been done which no inventory shows.
    pub fn may_have_happened(&self, target: Target<'_>) {
        let since = Instant::now();
        self.put(target, &TextMap::new(), Aim::Unseen { since });
    }

    fn put(&self, target: Target<'_>, annotations: &TextMap, aim: Aim) {
        let hosts = &mut *self.0.lock();
        let Some(host) = entry(hosts, target.host) else {
            return;
        };
        host.sweep();
        let kind = std::mem::discriminant(&aim);
        host.pending.retain(|pending| {
            let same = std::mem::discriminant(&pending.aim) == kind;
            !(same && pending.is(target, annotations))
        });
        host.push(target, annotations, aim);
    }

    /// Notes that `added` more shall run under these annotations. `base` is what ran
    /// before, where that is known; starts that are in flight already have theirs.
    pub fn add_starts(
        &self,
        target: Target<'_>,
        annotations: &TextMap,
        base: Option<u32>,
        added: u32,
    ) {
        let hosts = &mut *self.0.lock();
        let Some(host) = entry(hosts, target.host) else {
            return;
        };
        let now = Instant::now();
        for pending in &mut host.pending {
            if let (true, Aim::Starts { parts, .. }) =
                (pending.is(target, annotations), &mut pending.aim)
            {
                pending.key = pending.key.take().or_else(|| target.key.map(str::to_owned));
                match parts.last_mut() {
                    Some((count, since)) if since.elapsed() < KEPT_AS_ONE => {
                        *count = count.saturating_add(added);
                    }
                    _ => parts.push((added, now)),
                }
                return;
            }
        }
        host.sweep();
        host.pending
            .retain(|pending| !pending.is(target, annotations));
        let parts = vec![(added, now)];
        host.push(target, annotations, Aim::Starts { base, parts });
    }

    /// Notes that so many of the starts in flight have come, or never will.
    pub fn remove_starts(&self, target: Target<'_>, annotations: &TextMap, added: u32) {
        let hosts = &mut *self.0.lock();
        let Some(host) = hosts.get_mut(target.host) else {
            return;
        };
        host.pending.retain_mut(|pending| {
            if let (true, Aim::Starts { parts, .. }) =
                (pending.is(target, annotations), &mut pending.aim)
            {
                let mut left = added;
                for (count, _) in parts.iter_mut().rev() {
                    let from_here = left.min(*count);
                    (*count, left) = (*count - from_here, left - from_here);
                }
                parts.retain(|(count, _)| *count > 0);
                return !parts.is_empty();
            }
            true
        });
    }

    /// Notes that no such count is in flight any more.
    pub fn remove_count(&self, target: Target<'_>, annotations: &TextMap) {
        if let Some(host) = self.0.lock().get_mut(target.host) {
            let is_count = |pending: &Pending| matches!(pending.aim, Aim::Count { .. });
            host.pending
                .retain(|pending| !(pending.is(target, annotations) && is_count(pending)));
        }
    }

    /// Tells whether starts from this reference under these annotations are in flight, so
    /// that a further one only adds to them.
    pub fn has_starts(&self, target: Target<'_>, annotations: &TextMap) -> bool {
        let hosts = self.0.lock();
        of_host(&hosts, target.host).any(|pending| {
            pending.is(target, annotations)
                && matches!(pending.aim, Aim::Starts { .. })
                && pending.counts()
        })
    }

    /// Returns the references of what is in flight to a host, except this one.
    pub fn other_references(&self, host: &HostId, image_ref: &str) -> Vec<String> {
        let hosts = self.0.lock();
        let pending = of_host(&hosts, host).filter(|pending| {
            pending.counts() && !pending.image_ref.is_empty() && pending.image_ref != image_ref
        });
        pending.map(|pending| pending.image_ref.clone()).collect()
    }

    /// Returns references in flight to a host of which the actor is not known, and may be
    /// the same as that of this one.
    pub fn references_of_unknown_actors(&self, host: &HostId, image_ref: &str) -> Vec<String> {
        let hosts = self.0.lock();
        let unknown = of_host(&hosts, host).filter(|pending| {
            let unknown = pending.key.is_none() && pending.counts();
            unknown && may_be_one(&pending.image_ref, image_ref)
        });
        unknown.map(|pending| pending.image_ref.clone()).collect()
    }

    /// Computes what an inventory that shows `shown` of the actor will show later. What
    /// the inventory shows by now, of this actor or another, is in flight no more.
    pub fn expected(&self, target: Target<'_>, shown: Running, seen: &Seen<'_>) -> ExpectedRunning {
        let mut expected = ExpectedRunning {
            running: shown,
            waits: Vec::new(),
        };
        let hosts = &mut *self.0.lock();
        let Some(host) = hosts.get_mut(target.host) else {
            return expected;
        };
        let shown = expected.running.clone();
        let refs = shown.groups.iter().map(|group| group.image_ref.as_str());
        let mut refs: Vec<&str> = refs.chain([target.image_ref]).collect();
        refs.extend(shown.listed.as_deref());
        host.pending.retain_mut(|pending| {
            if !pending.still_counts() || pending.was_confirmed_before(seen.asked) {
                return false;
            }
            pending.key = pending
                .key
                .take()
                .or_else(|| (seen.key_of)(&pending.image_ref));
            let key = pending.key.as_deref();
            let ours = match (key, target.key) {
                (Some(theirs), Some(ours)) => theirs == ours,
                _ => refs.contains(&pending.image_ref.as_str()),
            };
            if ours {
                if pending.is_shown_by(&shown) {
                    return false;
                }
                expected
                    .waits
                    .push(pending.wait(Some(pending.annotations.clone())));
                if let Some(count) = pending.count() {
                    let running = &mut expected.running;
                    running.set(&pending.annotations, count, &pending.image_ref);
                }
                return true;
            }
            // Where the key of one is not known, they may be of the same actor.
            let one_unknown = key.is_none() || target.key.is_none();
            let nothing =
                target.names_actor && target.image_ref.is_empty() && shown.groups.is_empty();
            if one_unknown && pending.may_concern(&refs, nothing) {
                if key.is_some_and(|key| pending.is_shown_by(&(seen.running)(key))) {
                    return false;
                }
                expected.waits.push(pending.wait(None));
            }
            true
        });
        expected
    }

    /// Notes that a host confirmed a number in an event.
    pub fn confirmed(&self, host: &HostId, image_ref: &str, annotations: &TextMap) {
        if let Some(host) = self.0.lock().get_mut(host) {
            for pending in &mut host.pending {
                let grows = matches!(pending.aim, Aim::Count { grows: true, .. });
                if grows && pending.image_ref == image_ref && pending.annotations == *annotations {
                    pending.confirmed = Some(Instant::now());
                }
            }
        }
    }

    /// Notes that a host did not start what it was told to start from a reference, for
    /// this reason.
    pub fn failed(
        &self,
        host: &HostId,
        image_ref: &str,
        annotations: Option<&TextMap>,
        reason: &str,
    ) {
        let hosts = &mut *self.0.lock();
        // Only what was told from here counts: others send commands, too.
        let Some(of_host) = hosts.get_mut(host) else {
            return;
        };
        let before = of_host.pending.len();
        of_host.pending.retain(|pending| {
            let same = pending.image_ref == image_ref
                && annotations.is_none_or(|annotations| pending.annotations == *annotations);
            !same || matches!(pending.aim, Aim::Unseen { .. } | Aim::Unacknowledged { .. })
        });
        if of_host.pending.len() < before {
            if of_host.failures.len() >= MAX_FAILURES {
                of_host.failures.remove(0);
            }
            of_host.failures.push(Failure {
                image_ref: image_ref.to_owned(),
                reason: reason.to_owned(),
                at: Instant::now(),
            });
        }
    }

    /// Returns why a host could not start a reference, where it said so since then.
    pub fn failure(&self, host: &HostId, image_ref: &str, since: Instant) -> Option<String> {
        let hosts = self.0.lock();
        let failures = &hosts.get(host)?.failures;
        let mut ours = failures.iter().filter(|failure| failure.at >= since);
        let ours = ours.find(|failure| failure.image_ref == image_ref)?;
        Some(ours.reason.clone())
    }

    /// Forgets all that a host was told.
    pub fn forget(&self, host: &HostId) {
        self.0.lock().remove(host);
    }
}

/// Iterates over what is in flight to a host.
fn of_host<'a>(
    hosts: &'a HashMap<HostId, OfHost>,
    host: &HostId,
) -> impl Iterator<Item = &'a Pending> + use<'a> {
    hosts.get(host).into_iter().flat_map(|host| &host.pending)
}

/// Returns the entry of a host, unless there are too many.
fn entry<'a>(hosts: &'a mut HashMap<HostId, OfHost>, host: &HostId) -> Option<&'a mut OfHost> {
    if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
        hosts.retain(|_, host| host.pending.iter_mut().any(Pending::still_counts));
        if hosts.len() >= MAX_HOSTS {
            return None;
        }
    }
    Some(hosts.entry(host.clone()).or_default())
}

impl OfHost {
    /// Keeps one more thing, unless that is too much.
    fn push(&mut self, target: Target<'_>, annotations: &TextMap, aim: Aim) {
        let texts = annotations.iter();
        let bytes = texts.fold(0, |all, (name, value)| all + name.len() + value.len());
        if self.pending.len() < MAX_PENDING && bytes <= MAX_ANNOTATION_BYTES {
            self.pending.push(Pending::new(target, annotations, aim));
        }
    }

    fn sweep(&mut self) {
        self.pending.retain_mut(Pending::still_counts);
    }
}

#[cfg(test)]
#[path = "in_flight_tests.rs"]
mod tests;
