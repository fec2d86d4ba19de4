//! How a lattice comes to be bound: by what an actor sets, and by what the store
//! has.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::connections::reach;
use crate::credentials::bindings::{Binding, Bound};
use crate::credentials::ledger::Room;
use crate::credentials::vault::bucket::{Stored, Version};
use crate::credentials::vault::write::{Verdict, Wanted};
use crate::credentials::vault::{Entry, Mark, Opened, Unopened};
use crate::credentials::{Credentials, Pool, foreign};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;

/// A sealed entry that should be in the bucket.
pub(crate) struct NotStored {
    pub(crate) lattice: LatticeId,
    pub(crate) sealed: Bytes,
    owner: Arc<str>,
    mark: Mark,
    set_at: u64,
    /// Than what was there when it was set.
    pub(crate) is_newer: bool,
}

/// Why what stands in the store is not used.
pub(crate) enum NotTaken {
    /// It cannot be opened.
    Unopened(Unopened),
    /// There is no room for what this actor set.
    Full(Error, Arc<str>),
}

impl<K: Default + Send + Sync + 'static> Pool<K> {
    /// Binds a lattice to what an actor set, from the next lease on, once it is
    /// kept. The same again changes nothing, and writes nothing that is there; calls
    /// that use other credentials end on their connection. Of those who set one
    /// lattice at once, each waits for the one before.
    ///
    /// # Errors
    /// `Invalid` as [`Credentials::new`], `Denied` where they are another
    /// actor's or the provider may not connect there, `LimitReached`, `Busy`,
    /// `StoreUnavailable`; `Timeout` where nobody knows whether it was kept.
    pub async fn set(&self, entry: Entry, deadline: Deadline) -> Result<(), Error> {
        let credentials = Credentials::new(&entry)?;
        reach::check(&self.shared.allowed, &credentials, &entry.actor)?;
        let (lattice, actor) = (entry.lattice.clone(), entry.actor.clone());
        let _turn = self.turns.take(&lattice, deadline).await?;
        let bound = self.bindings.get(&lattice);
        if let Some(bound) = &bound
            && !self.bindings.may(&actor, &bound.owner)
        {
            return Err(foreign(&lattice, &actor));
        }
        let owner: Arc<str> = actor.as_str().into();
        let room = self.bindings.room(&lattice, &owner, entry.bytes())?;
        let mark = entry.mark(&self.key);
        let version = bound.as_ref().and_then(|bound| bound.version);
        let same = bound.filter(|bound| bound.mark == mark);
        let sealed = self.store.sealed(&entry);
        let wanted = sealed.clone().map(|value| Wanted {
            lattice: &lattice,
            value,
            known: version,
            is_known: version.is_some() && same.is_some(),
        });
        // What others put there that we have not heard of yet.
        let judge = |stored: &Stored| match self.opened(&lattice, stored) {
            Some(there) if !self.bindings.may(&actor, &there.entry.actor) => {
                Verdict::Forbidden(foreign(&lattice, &actor))
            }
            Some(there) if there.is_placed && there.entry.mark(&self.key) == mark => Verdict::Same,
            _ => Verdict::Replaceable,
        };
        let kept = self.store.keep(wanted, judge, deadline).await?;
        match (&same, &kept) {
            (Some(same), Some(kept)) if same.version == Some(kept.version) => {
                debug!(%lattice, actor, "the same credentials were set again");
                same.slot.retry();
                return Ok(());
            }
            _ => info!(
                %lattice,
                server = credentials.address(),
                fingerprint = %credentials.fingerprint(&self.key),
                actor,
                kept = kept.is_some(),
                "credentials set"
            ),
        }
        let (sealed, version) = match kept {
            Some(kept) => (Some(kept.value), Some(kept.version)),
            None => (sealed, None),
        };
        match self.bind(entry, credentials, sealed, version, room) {
            Bound::Foreign => Err(foreign(&lattice, &actor)),
            _ => Ok(()),
        }
    }

    /// Whether what was set while there was no store goes before what is stored.
    /// What cannot be opened is ignored: it is nobody's.
    pub(crate) fn goes_before(&self, ours: &NotStored, stored: &Stored) -> Verdict {
        let Some(there) = self.opened(&ours.lattice, stored) else {
            return Verdict::Replaceable;
        };
        if !self.bindings.may(&ours.owner, &there.entry.actor) {
            return Verdict::Forbidden(foreign(&ours.lattice, &ours.owner));
        }
        if there.is_placed && there.entry.mark(&self.key) == ours.mark {
            return Verdict::Same;
        }
        match there.entry.set_at > ours.set_at {
            true => Verdict::Forbidden(Error::new(
                Kind::Refused,
                "others were set later, and are kept".to_owned(),
            )),
            false => Verdict::Replaceable,
        }
    }

    fn opened(&self, lattice: &LatticeId, stored: &Stored) -> Option<Opened> {
        let value = stored.value.as_ref()?;
        self.store.opened(lattice, value).ok()
    }

    /// Takes over what the store has for a lattice; what it is to be replaced with
    /// there, where an earlier release wrote it.
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn take_stored(
        &self,
        lattice: &LatticeId,
        stored: Stored,
    ) -> Result<Option<Bytes>, NotTaken> {
        let Some(value) = stored.value else {
            if self.bindings.remove(lattice, stored.version) {
                info!(%lattice, "credentials were removed from the store");
            }
            return Ok(None);
        };
        let opened = self.store.opened(lattice, &value);
        let Opened { entry, is_placed } = opened.map_err(NotTaken::Unopened)?;
        let credentials = Credentials::kept(&entry);
        let credentials = credentials.map_err(|_| NotTaken::Unopened(Unopened::Malformed))?;
        let owner: Arc<str> = entry.actor.as_str().into();
        let room = match self.bindings.room(lattice, &owner, entry.bytes()) {
            Ok(room) => room,
            Err(error) => {
                // What it replaced does not count any more.
                self.bindings.let_go(lattice, stored.version);
                if self.full.is_due() {
                    warn!(%error, "credentials were left out");
                }
                return Err(NotTaken::Full(error, owner));
            }
        };
        let placed = match is_placed {
            true => None,
            false => self.store.sealed(&entry),
        };
        self.bind(entry, credentials, Some(value), Some(stored.version), room);
        Ok(placed)
    }

    /// What is bound and should be in the bucket, and is not: these lattices were
    /// `seen` in it when `newest` was its newest version. What was in the same
    /// bucket before that, and is not any more, was removed.
    pub(crate) fn not_stored(&self, seen: &HashSet<LatticeId>, newest: Version) -> Vec<NotStored> {
        let mut missing = Vec::new();
        for (lattice, binding) in self.bindings.all() {
            let is_there = seen.contains(&lattice);
            match (binding.version, binding.sealed) {
                (Some(bound), _) if bound.era == newest.era => {
                    let gone = !is_there && bound <= newest;
                    if gone && self.bindings.remove(&lattice, bound) {
                        info!(%lattice, "credentials were removed from the store");
                    }
                }
                (version, Some(sealed)) if version.is_none() || !is_there => {
                    missing.push(NotStored {
                        lattice,
                        sealed,
                        owner: binding.owner,
                        mark: binding.mark,
                        set_at: binding.set_at,
                        is_newer: version.is_none(),
                    });
                }
                _ => {}
            }
        }
        missing
    }

    /// Whether something was set that should be in the bucket, and is not.
    pub(crate) fn is_unstored(&self) -> bool {
        let unstored = |bound: &Binding<K>| bound.version.is_none() && bound.sealed.is_some();
        self.bindings.any(unstored)
    }

    fn bind(
        &self,
        entry: Entry,
        credentials: Credentials,
        sealed: Option<Bytes>,
        version: Option<Version>,
        room: Room,
    ) -> Bound {
        let credentials = credentials.with_tls(self.tls.clone());
        let fingerprint = credentials.fingerprint(&self.key);
        let slot = self.slot(fingerprint, credentials);
        let mark = entry.mark(&self.key);
        let binding = Binding {
            slot: slot.clone(),
            js_domain: entry.js_domain,
            kept: Arc::default(),
            owner: entry.actor.as_str().into(),
            mark,
            set_at: entry.set_at,
            sealed,
            version,
        };
        let (lattice, actor) = (entry.lattice, entry.actor);
        let bound = self.bindings.put(lattice.clone(), binding, room);
        if matches!(bound, Bound::Anew | Bound::Same) {
            slot.retry();
        }
        if bound == Bound::Anew {
            debug!(%lattice, server = slot.address(), %fingerprint, actor, "bound");
            self.shared.sweep();
        }
        bound
    }

    /// Whether what a rewrite is about to replace still counts.
    pub(crate) fn is_bound_at(&self, lattice: &LatticeId, version: Version) -> bool {
        let bound = self.bindings.get(lattice);
        bound.is_some_and(|bound| bound.version == Some(version))
    }
}
