//! How a lattice comes to be bound: by what an actor sets, and by what the store
//! has.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, info, warn};

use super::bindings::{Binding, Bound};
use super::store::bucket::{Stored, Version};
use super::store::{Entry, Unopened};
use super::{Credentials, Pool, foreign, reach};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;

/// A sealed entry that should be in the bucket.
pub(super) struct NotStored {
    pub(super) lattice: LatticeId,
    pub(super) sealed: Bytes,
    pub(super) owner: Box<str>,
    pub(super) set_at: u64,
    /// Than what was there when it was set.
    pub(super) is_newer: bool,
}

impl<K: Default + Send + Sync + 'static> Pool<K> {
    /// Binds a lattice to what an actor set, from the next lease on, once it is
    /// kept. The same again changes nothing; calls that use other credentials
    /// end on their connection.
    ///
    /// # Errors
    /// `Invalid` as [`Credentials::new`], `Denied` where they are another
    /// actor's or the provider may not connect there, `LimitReached`,
    /// `StoreUnavailable`; `Timeout` where nobody knows whether it was kept.
    pub async fn set(&self, entry: Entry, deadline: Deadline) -> Result<(), Error> {
        let credentials = Credentials::new(&entry)?;
        reach::check(&self.shared.allowed, &credentials, &entry.actor)?;
        self.check_room(&entry.lattice)?;
        let sealed = self.store.key().and_then(|key| entry.seal(key));
        let sealed = sealed.map(Bytes::from);
        let lattice = &entry.lattice;
        let known = self.bindings.get(lattice);
        if let Some(known) = &known
            && !self.bindings.may(&entry.actor, &known.owner)
        {
            return Err(foreign(lattice, &entry.actor));
        }
        let known = known.and_then(|binding| binding.version);
        // What others put there that we have not heard of yet.
        let replaces = |stored: &Stored| self.may_replace(lattice, stored, &entry.actor);
        let kept = self
            .store
            .keep(lattice, sealed.as_ref(), known, replaces, deadline);
        let version = kept.await?;
        info!(
            lattice = %entry.lattice,
            server = credentials.address(),
            fingerprint = %credentials.fingerprint(&self.key),
            actor = entry.actor,
            kept = version.is_some(),
            "credentials set"
        );
        let (lattice, actor) = (entry.lattice.clone(), entry.actor.clone());
        match self.bind(entry, credentials, sealed, version) {
            Bound::Foreign => Err(foreign(&lattice, &actor)),
            _ => Ok(()),
        }
    }

    /// Whether an actor may put other credentials in the place of these. What
    /// cannot be opened is ignored: it is nobody's.
    fn may_replace(&self, lattice: &LatticeId, stored: &Stored, actor: &str) -> Result<(), Error> {
        match self.opened(lattice, stored) {
            Some(entry) if !self.bindings.may(actor, &entry.actor) => Err(foreign(lattice, actor)),
            _ => Ok(()),
        }
    }

    /// Whether what was set while there was no store goes before what is stored.
    pub(super) fn goes_before(&self, ours: &NotStored, stored: &Stored) -> Result<(), Error> {
        self.may_replace(&ours.lattice, stored, &ours.owner)?;
        match self.opened(&ours.lattice, stored) {
            Some(entry) if entry.set_at > ours.set_at => Err(Error::new(
                Kind::Refused,
                "others were set later, and are kept".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn opened(&self, lattice: &LatticeId, stored: &Stored) -> Option<Entry> {
        let (value, key) = (stored.value.as_ref()?, self.store.key()?);
        Entry::open(key, lattice, value).ok()
    }

    /// Takes over what the store has for a lattice.
    ///
    /// # Errors
    /// Why it cannot be opened; it is ignored.
    pub(super) fn take_stored(&self, lattice: &LatticeId, stored: Stored) -> Result<(), Unopened> {
        let Some(value) = stored.value else {
            if self.bindings.remove(lattice, stored.version) {
                info!(%lattice, "credentials were removed from the store");
            }
            return Ok(());
        };
        let key = self.store.key().ok_or(Unopened::Sealed)?;
        let entry = Entry::open(key, lattice, &value)?;
        let credentials = Credentials::kept(&entry).map_err(|_| Unopened::Malformed)?;
        match self.check_room(lattice) {
            Ok(()) => drop(self.bind(entry, credentials, Some(value), Some(stored.version))),
            Err(error) if self.full.is_due() => warn!(%error, "credentials were left out"),
            Err(_) => {}
        }
        Ok(())
    }

    /// What is bound and should be in the bucket, and is not: these lattices were
    /// `seen` in it when `newest` was its newest version. What was in the same
    /// bucket before that, and is not any more, was removed.
    pub(super) fn not_stored(&self, seen: &HashSet<LatticeId>, newest: Version) -> Vec<NotStored> {
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
    pub(super) fn is_unstored(&self) -> bool {
        let unstored = |bound: &Binding<K>| bound.version.is_none() && bound.sealed.is_some();
        self.bindings.any(unstored)
    }

    fn bind(
        &self,
        entry: Entry,
        credentials: Credentials,
        sealed: Option<Bytes>,
        version: Option<Version>,
    ) -> Bound {
        let credentials = credentials.with_tls(self.tls.clone());
        let fingerprint = credentials.fingerprint(&self.key);
        let slot = self.slot(fingerprint, credentials);
        let binding = Binding {
            slot: slot.clone(),
            js_domain: entry.js_domain,
            kept: Arc::default(),
            owner: entry.actor.as_str().into(),
            set_at: entry.set_at,
            sealed,
            version,
        };
        let (lattice, actor) = (entry.lattice, entry.actor);
        let bound = self.bindings.put(lattice.clone(), binding);
        if matches!(bound, Bound::Anew | Bound::Same) {
            slot.retry();
        }
        if bound == Bound::Anew {
            debug!(%lattice, server = slot.address(), %fingerprint, actor, "bound");
            self.shared.sweep();
        }
        bound
    }

    pub(super) fn check_room(&self, lattice: &LatticeId) -> Result<(), Error> {
        if self.bindings.has_room_for(lattice) {
            return Ok(());
        }
        Err(Error::new(
            Kind::LimitReached,
            format!(
                "lattice {:?}: credentials of {} lattices are known, and the provider takes no \
                 more (max_lattices)",
                lattice.as_str(),
                self.shared.limits.lattices
            ),
        ))
    }
}
