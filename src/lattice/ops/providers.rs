//! Starting and stopping providers.

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::plan::contains;
use crate::lattice::dialect::v0::subject::Verb;
use crate::lattice::dialect::v0::wire::{self, TextMap};
use crate::name::{HostId, is_file};

impl Lattice {
    /// Starts a provider on a host.
    ///
    /// # Errors
    /// As every request; `Refused` where it runs there already, or would not get
    /// its configuration.
    pub async fn start_provider(
        &self,
        host: &HostId,
        body: &wire::StartProvider<'_>,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        if traits.generation.is_otp() && is_file(body.provider_ref) && body.configuration.is_some()
        {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{} ({traits}) starts providers from files without their configuration; \
                     nothing was sent: start it from a registry, or without a configuration",
                    self.display_host(host)
                ),
            ));
        }
        // Hosts acknowledge, and then do nothing; those that refuse compare image
        // references as they are written.
        let inventory = self.inventory_if_told(host, &traits).await?;
        let runs = inventory.iter().flat_map(|i| &i.providers).any(|provider| {
            provider.link_name == body.link_name.as_str() && provider.is_named(body.provider_ref)
        });
        if runs {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "provider {} runs on {} already under link name {}; nothing was sent",
                    body.provider_ref,
                    self.display_host(host),
                    body.link_name
                ),
            ));
        }
        self.command(host, Verb::StartProvider, body).await
    }

    /// Stops a provider on a host.
    ///
    /// # Errors
    /// As every request; `Refused` where it does not run there, or not with
    /// these annotations.
    pub async fn stop_provider(
        &self,
        host: &HostId,
        body: &wire::StopProvider<'_>,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        let inventory = self.inventory_if_told(host, &traits).await?;
        let none = TextMap::new();
        let wanted = body.annotations.unwrap_or(&none);
        let untold = inventory.is_none() && wanted.is_empty();
        let runs = inventory.iter().flat_map(|i| &i.providers).any(|provider| {
            let annotations = provider.annotations.as_ref().unwrap_or(&none);
            provider.id == body.provider_ref.as_str()
                && provider.link_name == body.link_name.as_str()
                && contains(annotations, wanted)
        });
        if !runs && !untold {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "provider {} with these annotations does not run on {} under link name {}; \
                     nothing was sent",
                    body.provider_ref,
                    self.display_host(host),
                    body.link_name
                ),
            ));
        }
        let stopped = self.command(host, Verb::StopProvider, body).await;
        stopped.map_err(|error| match traits.generation.is_otp() {
            true => ends_all_the_same(error),
            false => error,
        })
    }
}

/// What a time-out means where a provider is stopped on an OTP host: it answers
/// after the provider's own shutdown, and nothing else meanwhile (trap T24).
fn ends_all_the_same(error: Error) -> Error {
    match error.kind() {
        Kind::Timeout => Error::new(
            Kind::Timeout,
            format!(
                "{error}: it ends the provider within 2.3 s all the same, see its inventory then; \
                 the answer comes in time where the RPC timeout of this provider's own host \
                 (WASMCLOUD_RPC_TIMEOUT_MS) is 3000 or more, and neither call_budget_ms nor \
                 request_limit_ms is less"
            ),
        ),
        _ => error,
    }
}
