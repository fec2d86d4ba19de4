//! Starting and stopping providers on hosts of 1.x.

use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::locks::{HeldLocks, Hold};
use crate::lattice::commands::target::Target;
use crate::lattice::dialect::Software1x;
use crate::lattice::dialect::v1::configs::ConfigName;
use crate::lattice::dialect::v1::{ids, plan, requests};
use crate::lattice::model::TextMap;
use crate::lattice::ops::components::outcome::{
    LOOK_AGAIN_AFTER, LOOK_AGAIN_AT_MOST, OUTCOME_WITHIN, Outcome, TIME_TO_ANSWER,
};
use crate::name::{ComponentId, HostId, LinkName};

impl Lattice {
    /// Starts a provider on a host of 1.x. Its configuration becomes a named config, which
    /// everybody who may read the lattice's configs can read as long as it runs.
    ///
    /// # Errors
    /// As every command; `Refused` where the id runs there already, or the host says that the
    /// provider did not start.
    pub(in crate::lattice::ops) async fn start_provider_1x(
        &self,
        host: &HostId,
        software: Software1x,
        provider_ref: &str,
        link_name: &LinkName,
        configuration: Option<&str>,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let id = ids::of_provider(&self.components.ids, provider_ref, link_name)?;
        let _lock = self.lock_provider(host, &id).await?;
        let inventory = self.inventory_1x(host, self.deadline).await;
        let inventory = inventory.map_err(Error::before_command)?;
        let start = plan::start_provider(
            software.behaviour,
            host,
            &id,
            inventory.provider(id.as_str()),
            link_name,
            configuration,
            annotations,
        );
        let start = start.map_err(|refusal| self.refused_1x(host, refusal))?;
        let config = start.config.as_ref().map(|(name, _)| name);
        if let Some((name, values)) = &start.config {
            let put = requests::put_config(&self.id, name, values)?;
            let put = self.tell_hosts_1x(put).await;
            put.map_err(|error| self.config_not_put(host, name, error))?;
        }
        let order = requests::start_provider(
            &self.id,
            host,
            &id,
            provider_ref,
            config,
            &start.annotations,
        )?;
        let starts = &self.roster.commands.scales;
        starts.begin_provider(host, &id, provider_ref, self.shows_within(host));
        self.roster.provider_moves(host);
        let started = match self.tell_host_1x(host, order).await {
            Ok(_) => self.provider_outcome(host, &id).await,
            Err(error) => {
                if error.kind().certainly_not_carried_out() {
                    starts.end_provider(host, &id);
                }
                Err(error)
            }
        };
        if let (Err(error), Some(name)) = (&started, config)
            && error.kind().certainly_not_carried_out()
        {
            // It may run all the same, where somebody else started it at the same moment.
            let inventory = self.inventory_1x(host, self.deadline).await;
            if inventory.is_ok_and(|inventory| inventory.provider(id.as_str()).is_none()) {
                self.remove_config(name).await;
            }
        }
        started
    }

    /// Stops a provider on a host of 1.x, and removes the config that it was started with.
    ///
    /// # Errors
    /// As every command; `Refused` where it does not run there, or not with these
    /// annotations.
    pub(in crate::lattice::ops) async fn stop_provider_1x(
        &self,
        host: &HostId,
        id: &ComponentId,
        link_name: &LinkName,
        wanted: &TextMap,
    ) -> Result<(), Error> {
        let _lock = self.lock_provider(host, id).await?;
        let inventory = self.inventory_1x(host, self.deadline).await;
        let inventory = inventory.map_err(Error::before_command)?;
        let running = inventory.provider(id.as_str());
        let stop = plan::stop_provider(host, id, running, link_name, wanted);
        let config = stop.map_err(|refusal| self.refused_1x(host, refusal))?;
        let order = requests::stop_provider(&self.id, host, id)?;
        self.roster.provider_moves(host);
        self.tell_host_1x(host, order).await?;
        self.remove_config(&config).await;
        Ok(())
    }

    /// Takes the lock of a provider, and waits until the host shows what it was told about it
    /// before.
    ///
    /// # Errors
    /// `Busy` where it does not in time.
    async fn lock_provider(&self, host: &HostId, id: &ComponentId) -> Result<HeldLocks, Error> {
        let target = Target {
            host,
            key: Some(id.as_str()),
            image_ref: "",
            names_actor: true,
        };
        let locks = &self.roster.commands.locks;
        let lock = locks.target(target, Hold::Alone, self.deadline).await?;
        let starts = &self.roster.commands.scales;
        if starts.unshown_provider(host, id).is_some() {
            self.find_provider(host, id, self.deadline.half()).await;
        }
        match starts.unshown_provider(host, id) {
            None => Ok(lock),
            Some(waits) => Err(self.not_shown_1x(host, &format!("provider {id}"), waits)),
        }
    }

    /// Finds out what came of the start of a provider.
    ///
    /// # Errors
    /// `Refused` where the host says that it failed.
    async fn provider_outcome(&self, host: &HostId, id: &ComponentId) -> Result<(), Error> {
        let until = self.deadline.earlier(TIME_TO_ANSWER).within(OUTCOME_WITHIN);
        match self.find_provider(host, id, until).await {
            Outcome::Shown | Outcome::Open => Ok(()),
            Outcome::Failed(reason) => Err(Error::new(
                Kind::Refused,
                format!(
                    "{} took the order to start provider {id}, and could not carry it out: {}",
                    self.display_host(host),
                    quoted(&reason)
                ),
            )),
        }
    }

    /// Looks until then whether a provider is shown, or did not start.
    pub(super) async fn find_provider(
        &self,
        host: &HostId,
        id: &ComponentId,
        until: Deadline,
    ) -> Outcome {
        let starts = &self.roster.commands.scales;
        let mut pause = LOOK_AGAIN_AFTER;
        loop {
            let failure = starts.provider_failure(host, id);
            if let Ok(inventory) = self.inventory_1x(host, until).await
                && inventory.provider(id.as_str()).is_some()
            {
                starts.end_provider(host, id);
                return Outcome::Shown;
            }
            // The same order of somebody else may have failed: the inventory came first.
            if let Some(reason) = failure {
                starts.end_provider(host, id);
                return Outcome::Failed(reason);
            }
            if Instant::now() + pause >= until.at() {
                return Outcome::Open;
            }
            tokio::select! {
                () = starts.any_failure() => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LOOK_AGAIN_AT_MOST);
        }
    }

    fn config_not_put(&self, host: &HostId, name: &ConfigName, error: Error) -> Error {
        // Whether or not it was put, the provider does not start.
        let error = error.before_command();
        Error::new(
            error.kind(),
            format!(
                "the configuration could not be put as config {name}, so that {} was not told to \
                 start the provider: {error}",
                self.display_host(host)
            ),
        )
        .caused_by(error)
    }

    /// Removes a config of ours. It is no error where that fails: the next start of the same
    /// provider replaces it, and the log says so.
    async fn remove_config(&self, name: &ConfigName) {
        let removed = self.tell_hosts_1x(requests::delete_config(&self.id, name));
        if let Err(error) = removed.await {
            tracing::warn!(lattice = %self.id, config = %name, %error, "a config was not removed");
        }
    }
}
