//! Starting and stopping providers.

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::request::Request;
use crate::lattice::dialect::v0::requests;
use crate::lattice::model::{TextMap, contains};
use crate::name::{ComponentId, HostId, LinkName, ProviderId, is_file};

impl Lattice {
    /// Starts a provider on a host.
    ///
    /// # Errors
    /// As every command; `Refused` where it runs there already, or would not get
    /// its configuration.
    pub async fn start_provider(
        &self,
        host: &HostId,
        provider_ref: &str,
        link_name: &LinkName,
        configuration: Option<&str>,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let software = match self.dialect_for_command(host).await? {
            Dialect::V0(software) => software,
            Dialect::V1(software) => {
                let started = self.start_provider_1x(
                    host,
                    software,
                    provider_ref,
                    link_name,
                    configuration,
                    annotations,
                );
                return Box::pin(started).await;
            }
        };
        let quirks = software.quirks;
        if quirks.loses_configuration_for_files && is_file(provider_ref) && configuration.is_some()
        {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{} ({software}) starts providers from files without their configuration; \
                     nothing was sent: start it from a registry, or without a configuration",
                    self.display_host(host)
                ),
            ));
        }
        // Hosts would acknowledge, and then do nothing. Those that refuse compare image
        // references as they are written.
        let inventory = self.inventory_unless_hidden(host, quirks).await?;
        let runs =
            inventory.is_some_and(|listed| listed.runs_provider(provider_ref, link_name.as_str()));
        if runs {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "provider {provider_ref} runs on {} already under link name {link_name}; \
                     nothing was sent",
                    self.display_host(host)
                ),
            ));
        }
        let command = requests::start_provider(
            &self.id,
            host,
            provider_ref,
            link_name,
            configuration,
            annotations,
        )?;
        self.move_provider(host, command).await
    }

    /// Stops a provider on a host.
    ///
    /// # Errors
    /// As every command; `Refused` where it does not run there, or not with
    /// these annotations.
    pub async fn stop_provider(
        &self,
        host: &HostId,
        provider: &ComponentId,
        link_name: &LinkName,
        contract_id: &str,
        wanted: &TextMap,
    ) -> Result<(), Error> {
        let quirks = match self.dialect_for_command(host).await? {
            Dialect::V0(software) => software.quirks,
            Dialect::V1(_) => {
                let stopped = self.stop_provider_1x(host, provider, link_name, wanted);
                return Box::pin(stopped).await;
            }
        };
        let provider = &ProviderId::parse(provider.as_str())?;
        let inventory = self.inventory_unless_hidden(host, quirks).await?;
        let none = TextMap::new();
        let may_run = inventory.is_none() && wanted.is_empty();
        let runs = inventory.iter().flat_map(|i| &i.providers).any(|listed| {
            let annotations = listed.annotations.as_ref().unwrap_or(&none);
            listed.id == provider.as_str()
                && listed.link_name == link_name.as_str()
                && contains(annotations, wanted)
        });
        if !runs && !may_run {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "provider {provider} with these annotations does not run on {} under link \
                     name {link_name}; nothing was sent",
                    self.display_host(host)
                ),
            ));
        }
        let command =
            requests::stop_provider(&self.id, host, provider, link_name, contract_id, wanted)?;
        let stopped = self.move_provider(host, command).await;
        stopped.map_err(|error| match error.kind() {
            Kind::Timeout if quirks.answers_after_provider_shutdown => Error::new(
                Kind::Timeout,
                format!(
                    "{error}: it ends the provider within 2.3 s all the same, see its inventory \
                     then; the answer comes in time where the RPC timeout of this provider's own \
                     host (WASMCLOUD_RPC_TIMEOUT_MS) is 3000 or more, and neither call_budget_ms \
                     nor request_limit_ms is less"
                ),
            )
            .caused_by(error),
            _ => error,
        })
    }

    /// Tells a host to start or stop a provider.
    async fn move_provider(&self, host: &HostId, command: Request) -> Result<(), Error> {
        self.roster.provider_moves(host);
        let told = self.tell_host(host, command).await;
        // Again: it may have said meanwhile what ran before.
        self.roster.provider_moves(host);
        told
    }
}
