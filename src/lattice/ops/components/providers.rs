//! Starting and stopping providers on hosts of 1.x.

use crate::error::Error;
use crate::lattice::Lattice;
use crate::lattice::dialect::Software1x;
use crate::lattice::dialect::v1::configs::ConfigName;
use crate::lattice::dialect::v1::plan::{Noun, Told};
use crate::lattice::dialect::v1::{ids, plan, requests};
use crate::lattice::model::TextMap;
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
        let _lock = self.lock_when_shown(host, Noun::Provider, &id).await?;
        let inventory = self.inventory_before_order(host).await?;
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
        let told = Told::StartProvider(provider_ref.to_owned());
        self.roster.provider_moves(host);
        let started = match self.send_order(host, &id, order, &told).await {
            Ok(_) => self.outcome(host, &id, &told).await,
            Err(error) => Err(error),
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
        let _lock = self.lock_when_shown(host, Noun::Provider, id).await?;
        let inventory = self.inventory_before_order(host).await?;
        let running = inventory.provider(id.as_str());
        let stop = plan::stop_provider(host, id, running, link_name, wanted);
        let config = stop.map_err(|refusal| self.refused_1x(host, refusal))?;
        let order = requests::stop_provider(&self.id, host, id)?;
        self.roster.provider_moves(host);
        self.tell_host_1x(host, order).await?;
        self.remove_config(&config).await;
        Ok(())
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
