//! The credentials of every lattice that the provider knows, and the path of
//! `SetLatticeCredentials`: checked, kept, then bound.

use std::sync::Arc;

use tracing::{debug, info};

use crate::credentials::bindings::{Binding, Bindings, Bound};
use crate::credentials::fingerprint::{FingerprintKey, NoRandomNumbers};
use crate::credentials::given::{ContentHash, GivenCredentials};
use crate::credentials::ledger::{Ledger, Reservation};
use crate::credentials::locks::LatticeLocks;
use crate::credentials::owners::{Owners, of_another_actor};
use crate::credentials::route::Route;
use crate::credentials::shared::{SharedCredentials, SharedTable};
use crate::credentials::value::Credentials;
use crate::credentials::vault::key::SealingKey;
use crate::credentials::vault::write::Known;
use crate::credentials::vault::{Kept, Vault};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::nats::AllowedServers;
use crate::settings::LatticeSettings;
use crate::telemetry::LogLimiter;
use crate::telemetry::security::{self, Cause};

/// Which lattice is bound to which credentials, and what is kept of that.
pub struct Registry {
    pub(super) bindings: Bindings,
    pub(super) owners: Owners,
    pub(super) ledger: Arc<Ledger>,
    locks: LatticeLocks,
    pub(super) vault: Vault,
    /// Key of fingerprints and content hashes.
    pub(super) key: FingerprintKey,
    /// Servers that lattices may have.
    allowed: AllowedServers,
    pub(super) shared: SharedTable,
    /// Limits the log lines about credentials that were left out for a limit.
    pub(super) left_out: LogLimiter,
}

impl Registry {
    /// Makes a registry without lattices. What it keeps is sealed with `key`.
    ///
    /// # Errors
    /// Where there is no key and the operating system gives no random numbers.
    pub fn new(
        settings: &LatticeSettings,
        key: Option<SealingKey>,
    ) -> Result<Self, NoRandomNumbers> {
        let owners = Owners(settings.isolation);
        Ok(Self {
            bindings: Bindings::new(owners),
            owners,
            ledger: Ledger::new(settings.limits, settings.isolation),
            locks: LatticeLocks::default(),
            key: match &key {
                Some(key) => key.fingerprint_key(),
                None => FingerprintKey::random()?,
            },
            vault: Vault::new(settings.store, owners, settings.unplaced, key),
            allowed: settings.allowed.clone(),
            shared: SharedTable::default(),
            left_out: LogLimiter::default(),
        })
    }

    /// Whether credentials are kept where they should be.
    ///
    /// # Errors
    /// Why they are not.
    pub fn health(&self) -> Result<(), String> {
        self.vault.health()
    }

    /// Binds a lattice to what an actor gave, once that is kept: the next call uses
    /// it. Calls in flight keep the connection of other credentials until they end.
    /// Giving the same again changes nothing, and writes nothing that is there.
    /// Calls that set the same lattice wait for each other.
    ///
    /// Returns the way that calls go from now on, where this is what changed it.
    ///
    /// # Errors
    /// `Invalid` as [`Credentials::new`], `Denied` where the lattice belongs to
    /// another actor or the provider may not connect there, `LimitReached`, `Busy`,
    /// `StoreUnavailable`; `Timeout` where it is not known whether they were kept.
    pub async fn set(
        &self,
        given: GivenCredentials,
        deadline: Deadline,
    ) -> Result<Option<Arc<Route>>, Error> {
        let credentials = Credentials::new(&given)?;
        self.check_servers(&credentials, &given.actor)?;
        let credentials = self.shared.share(&self.key, credentials);
        let (lattice, actor) = (given.lattice.clone(), given.actor.clone());
        let _lock = self.locks.lock(&lattice, deadline).await?;
        let bound = self.bindings.get(&lattice);
        if let Some(bound) = &bound {
            self.owners.check(&lattice, &actor, &bound.owner)?;
        }
        let owner: Arc<str> = actor.as_str().into();
        let reservation = self.ledger.reserve(&lattice, &owner, given.bytes())?;
        let hash = given.content_hash(&self.key);
        let known = bound.as_ref().and_then(|bound| {
            Some(Known {
                version: bound.kept.version?,
                is_same: bound.hash == hash,
            })
        });
        let (kept, was_there) = self.vault.keep(&given, hash, known, deadline).await?;
        if let (Some(bound), Some(known)) = (&bound, known)
            && known.is_same
            && kept.version == Some(known.version)
        {
            debug!(%lattice, actor, "the same credentials were set again");
            bound.route.credentials.set_again();
            return Ok(None);
        }
        info!(
            %lattice,
            server = &**credentials.address(),
            fingerprint = %credentials.fingerprint(),
            actor,
            kept = kept.version.is_some(),
            "credentials set"
        );
        let wanted = Route::new(credentials.clone(), given.js_domain.clone());
        match self.bind(given, hash, credentials, kept, reservation) {
            Bound::OtherOwner => return Err(of_another_actor(&lattice, &actor)),
            _ if was_there => return Ok(None),
            _ => {}
        }
        // The follower of the bucket may have bound it before: what counts is what was.
        let before = bound.map(|bound| bound.route.number);
        let route = self.bindings.get(&lattice).map(|bound| bound.route);
        Ok(route.filter(|route| Some(route.number) != before && route.is_like(&wanted)))
    }

    /// Checks that the provider may connect to the servers, as far as that is known
    /// without resolving their names.
    fn check_servers(&self, credentials: &Credentials, actor: &str) -> Result<(), Error> {
        let checked = self.allowed.check(credentials.access().servers());
        checked.map_err(|forbidden| {
            let message = forbidden.to_string();
            security::refused(Cause::Server, actor, &message);
            Error::new(Kind::Denied, message).caused_by(forbidden)
        })
    }

    /// Binds a lattice to credentials, unless it is bound to newer ones.
    pub(super) fn bind(
        &self,
        given: GivenCredentials,
        hash: ContentHash,
        credentials: Arc<SharedCredentials>,
        kept: Kept,
        reservation: Reservation,
    ) -> Bound {
        let binding = Binding {
            hash,
            owner: given.actor.as_str().into(),
            set_at: given.set_at,
            route: Arc::new(Route::new(credentials.clone(), given.js_domain)),
            kept,
        };
        let (lattice, actor) = (given.lattice, given.actor);
        let bound = self.bindings.put(lattice.clone(), binding, reservation);
        if matches!(bound, Bound::NewRoute | Bound::SameRoute) {
            credentials.set_again();
        }
        if bound == Bound::NewRoute {
            let fingerprint = credentials.fingerprint();
            debug!(%lattice, server = %credentials.address(), %fingerprint, actor, "bound");
        }
        bound
    }
}
