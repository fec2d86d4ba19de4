//! `SetLatticeCredentials`: checked, kept, then bound.

use std::sync::Arc;

use tracing::{debug, info};

use crate::credentials::bindings::Bound;
use crate::credentials::given::GivenCredentials;
use crate::credentials::owners::of_another_actor;
use crate::credentials::registry::Registry;
use crate::credentials::value::Credentials;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::telemetry::security::{self, Cause};

impl Registry {
    /// Binds a lattice to what an actor gave, once that is kept: the next call uses
    /// it. Calls in flight keep the connection of other credentials until they end.
    /// Giving the same again changes nothing, and writes nothing that is there.
    /// Calls that set the same lattice wait for each other.
    ///
    /// # Errors
    /// `Invalid` as [`Credentials::new`], `Denied` where the lattice belongs to
    /// another actor or the provider may not connect there, `LimitReached`, `Busy`,
    /// `StoreUnavailable`; `Timeout` where it is not known whether they were kept.
    pub async fn set(&self, given: GivenCredentials, deadline: Deadline) -> Result<(), Error> {
        let credentials = Credentials::new(&given)?;
        self.check_servers(&credentials, &given.actor)?;
        let (lattice, actor) = (given.lattice.clone(), given.actor.clone());
        let _lock = self.locks.lock(&lattice, deadline).await?;
        let bound = self.bindings.get(&lattice);
        if let Some(bound) = &bound {
            self.owners.check(&lattice, &actor, &bound.owner)?;
        }
        let owner: Arc<str> = actor.as_str().into();
        let reservation = self.ledger.reserve(&lattice, &owner, given.bytes())?;
        let hash = given.content_hash(&self.key);
        let version = bound.as_ref().and_then(|bound| bound.kept.version);
        let same = bound.filter(|bound| bound.hash == hash);
        let known = version.map(|version| (version, same.is_some()));
        let kept = self.vault.keep(&given, hash, known, deadline).await?;
        if let Some(same) = same
            && kept.version.is_some()
            && kept.version == same.kept.version
        {
            debug!(%lattice, actor, "the same credentials were set again");
            same.route.credentials.set_again();
            return Ok(());
        }
        info!(
            %lattice,
            server = credentials.address(),
            fingerprint = %credentials.fingerprint(&self.key),
            actor,
            kept = kept.version.is_some(),
            "credentials set"
        );
        match self.bind(given, credentials, kept, reservation) {
            Bound::OtherOwner => Err(of_another_actor(&lattice, &actor)),
            _ => Ok(()),
        }
    }

    /// Checks that the provider may connect to the servers, as far as that is known
    /// without resolving their names.
    fn check_servers(&self, credentials: &Credentials, actor: &str) -> Result<(), Error> {
        let checked = self.allowed.check(credentials.access().servers());
        checked.map_err(|forbidden| {
            let message = forbidden.to_string();
            security::refused(Cause::Server, actor, &message);
            Error::new(Kind::Denied, message)
        })
    }
}
