//! Whether a component may lose its configuration by an order.
//!
//! A scale takes the named configs of a component away, and nobody can read which it had
//! (docs/hosts.md#scale-takes-configuration). Where the lattice has a config that no link
//! and none of our providers uses, it may be that of any component.

use std::collections::HashSet;

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v1::configs::{of_nothing_known, used_by_links};

impl Lattice {
    /// Returns the name of a config that nothing known uses, where there is one.
    ///
    /// # Errors
    /// `Refused` where the configs or the links cannot be read: then nobody knows. As
    /// [`Lattice::entries`] otherwise.
    pub(super) async fn config_of_nothing_known(&self) -> Result<Option<String>, Error> {
        let names = self.config_names().await.map_err(Error::before_command)?;
        // Hosts of 1.x always have the bucket.
        let names = names.ok_or_else(|| self.configs_not_read("configs (CONFIGDATA)"))?;
        if names.is_empty() {
            return Ok(None);
        }
        let read = |entry: &[u8]| Ok(used_by_links(entry));
        let used = self.entries("COMPONENT_", read).await;
        let used = used.map_err(Error::before_command)?;
        let used = used.ok_or_else(|| self.configs_not_read("links (LATTICEDATA)"))?;
        let used: HashSet<String> = used.iter().flatten().cloned().collect();
        let unknown = of_nothing_known(names.iter().map(String::as_str), &used);
        Ok(unknown.map(str::to_owned))
    }

    fn configs_not_read(&self, what: &str) -> Error {
        Error::new(
            Kind::Refused,
            format!(
                "hosts of wasmCloud 1.x take the configuration from a component that is scaled, and \
                 the {what} of {} cannot be read, which would tell whether it may have one; nothing \
                 was sent: check jsDomain and the permissions of its credentials, or set \
                 configured_components",
                self.display_name()
            ),
        )
    }
}
