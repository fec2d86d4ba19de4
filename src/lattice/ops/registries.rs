//! Credentials for registries of images.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::{Dialect, v0, v1};
use crate::lattice::model::{Protocol, RegistryLogin};

impl Lattice {
    /// Gives every host credentials, by registry. One of the 0.x hosts acknowledges them, and
    /// every 1.x host.
    ///
    /// # Errors
    /// As every command; `Unsupported` where all hosts are too old for commands; `Refused`
    /// where no host could use them; `Partial` where those of one kind took them, and those
    /// of the other did not.
    pub async fn put_registries(
        &self,
        logins: &BTreeMap<&str, RegistryLogin<'_>>,
    ) -> Result<(), Error> {
        let dialects = self.dialects_for_command().await?;
        let of_1x = dialects
            .iter()
            .filter(|one| one.protocol() == Protocol::V1)
            .count();
        let of_0x = dialects.len() - of_1x;
        let knows_bindle = |one: &Dialect| one.quirks().is_some_and(|quirks| quirks.knows_bindle);
        if !dialects.is_empty() && !dialects.iter().any(knows_bindle) {
            self.refuse_bindle(logins)?;
        }
        if of_1x == 0 {
            return self.put_registries_0x(logins, &dialects).await;
        }
        // Hosts of 1.x would take those of a bindle server for those of an OCI registry.
        let mut logins_1x = logins.clone();
        logins_1x.retain(|_, login| login.registry_type != "bindle");
        if logins_1x.is_empty() {
            return self.put_registries_0x(logins, &dialects).await;
        }
        self.refuse_while_a_host_starts().await?;
        let order = v1::requests::put_registries(&self.id, &logins_1x)?;
        if of_0x == 0 {
            return self.tell_every_host_1x(order, of_1x).await;
        }
        let taken = tokio::join!(
            self.put_registries_0x(logins, &dialects),
            self.tell_every_host_1x(order, of_1x)
        );
        let partial = |which: &str, error: Error| {
            Error::new(
                Kind::Partial,
                format!("the hosts of wasmCloud {which} have them, but: {error}"),
            )
            .caused_by(error)
        };
        match taken {
            (Ok(()), Ok(())) => Ok(()),
            (Ok(()), Err(error)) => Err(partial("0.x", error)),
            (Err(error), Ok(())) => Err(partial("1.x", error)),
            (Err(error), Err(other)) => Err(neither(error, other)),
        }
    }

    /// Refuses credentials for bindle servers where no host knows these: it would take them
    /// for those of an OCI registry.
    fn refuse_bindle(&self, logins: &BTreeMap<&str, RegistryLogin<'_>>) -> Result<(), Error> {
        let mut logins = logins.iter();
        match logins.find(|(_, login)| login.registry_type == "bindle") {
            None => Ok(()),
            Some((server, _)) => Err(Error::new(
                Kind::Refused,
                format!(
                    "no host of {} knows bindle servers, so that none could use the credentials \
                     for {}: hosts from wasmCloud 0.80.1 on know OCI registries only; nothing was \
                     sent",
                    self.display_name(),
                    quoted(server)
                ),
            )),
        }
    }

    /// Refuses while a host of 1.x does not show yet what it was told. It may wait for a
    /// registry, and with new credentials behind that, it would start, scale and stop nothing
    /// until that ends (docs/hosts.md#what-waits-for-what).
    async fn refuse_while_a_host_starts(&self) -> Result<(), Error> {
        for (host, id, told) in self.roster.commands.scales.all_unshown() {
            if self.is_still_unshown(&host, &id, &told).await {
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "{} may still download {}, and given credentials meanwhile it would \
                         start, scale and stop nothing until that ends; nothing was sent: try \
                         again",
                        self.display_host(&host),
                        quoted(id.as_str())
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn put_registries_0x(
        &self,
        logins: &BTreeMap<&str, RegistryLogin<'_>>,
        dialects: &[Dialect],
    ) -> Result<(), Error> {
        let command = v0::requests::put_registries(&self.id, logins)?;
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

/// Returns the error where the order failed on hosts of both kinds. It may have been carried
/// out by some where either error leaves that open.
fn neither(of_0x: Error, of_1x: Error) -> Error {
    match of_0x.kind().certainly_not_carried_out() {
        true => {
            let text = format!("{of_1x}; and the hosts of wasmCloud 0.x: {of_0x}");
            Error::new(of_1x.kind(), text).caused_by(of_1x)
        }
        false => {
            let text = format!("{of_0x}; and the hosts of wasmCloud 1.x: {of_1x}");
            Error::new(of_0x.kind(), text).caused_by(of_0x)
        }
    }
}
