//! Starting and stopping providers.

use super::Lattice;
use super::generation::Generation;
use super::plan::contains;
use super::subject::Verb;
use super::wire::{self, TextMap};
use crate::error::{Error, Kind};
use crate::name::HostId;

impl Lattice {
    /// Starts a provider on a host.
    ///
    /// # Errors
    /// As every request; `Refused` where it runs there already.
    pub async fn start_provider(
        &self,
        host: &HostId,
        body: &wire::StartProvider<'_>,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        // All but these acknowledge, and then do nothing.
        if traits.generation != Generation::G1b {
            let inventory = self.inventory_if_told(host, &traits).await?;
            let runs = inventory.iter().flat_map(|i| &i.providers).any(|provider| {
                provider.image_ref.as_deref() == Some(body.provider_ref)
                    && provider.link_name == body.link_name.as_str()
            });
            if runs {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "provider {} runs on {} already under link name {}; nothing was sent",
                        body.provider_ref,
                        self.host_called(host),
                        body.link_name
                    ),
                ));
            }
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
                    self.host_called(host),
                    body.link_name
                ),
            ));
        }
        self.command(host, Verb::StopProvider, body).await
    }
}
