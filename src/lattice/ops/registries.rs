//! Credentials for registries of images.

use std::collections::BTreeMap;

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v0::requests;
use crate::lattice::model::RegistryLogin;

impl Lattice {
    /// Gives every host credentials, by registry; one of the hosts acknowledges them.
    ///
    /// # Errors
    /// As every command; `Unsupported` where all hosts are too old for commands.
    pub async fn put_registries(
        &self,
        logins: &BTreeMap<&str, RegistryLogin<'_>>,
    ) -> Result<(), Error> {
        let command = requests::put_registries(&self.id, logins)?;
        let dialects = self.dialects_for_command().await?;
        let may_ignore = |dialect: &Dialect| {
            let quirks = dialect.quirks();
            quirks.is_some_and(|quirks| quirks.may_ignore_registries)
        };
        let all_may_ignore = !dialects.is_empty() && dialects.iter().all(may_ignore);
        let Err(error) = self.tell_hosts(command).await else {
            return Ok(());
        };
        match error.kind() {
            // OTP up to 0.54.4. Two later versions tell no version, either, and do
            // acknowledge.
            Kind::Timeout if all_may_ignore => Err(Error::new(
                Kind::Timeout,
                format!(
                    "{error}, and tell no version: OTP hosts up to 0.54.4 confirm no registry \
                     credentials, and use them nowhere; give such hosts theirs where they \
                     start (OCI_REGISTRY_USER, OCI_REGISTRY_PASSWORD), or update them"
                ),
            )
            .caused_by(error)),
            _ => Err(error),
        }
    }
}
