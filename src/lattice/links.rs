//! Putting and removing links so that every host of a lattice, of whatever
//! generation, takes notice.
//!
//! Hosts from OTP 0.60 on follow the metadata bucket, so a write there reaches
//! all of them. Asking a host instead would not: an OTP host marks a removal in
//! a way that Rust hosts do not see (trap T25), and on 0.78 to 0.79.1 every host
//! writes. Older hosts have no bucket and are asked.

use std::future::Future;

use super::Lattice;
use super::generation::{Generation, Traits};
use super::wire::{Link, LinkKey};
use crate::error::{Error, Kind};

impl Lattice {
    /// Puts a link, or replaces it.
    ///
    /// # Errors
    /// As every request; `NoResponders` where no host is there to take notice.
    pub async fn put_link(&self, link: &Link) -> Result<(), Error> {
        let write = self.write_link(link);
        self.everywhere(write, self.put_link_by_host(link)).await
    }

    /// Removes a link; one that is not there is removed already.
    ///
    /// # Errors
    /// As [`Lattice::put_link`].
    pub async fn remove_link(&self, link: &LinkKey) -> Result<(), Error> {
        let write = self.unwrite_link(link);
        self.everywhere(write, self.remove_link_by_host(link)).await
    }

    /// Does it in the bucket, where there is one, and by a host, where there is
    /// none or a host does not follow it.
    async fn everywhere(
        &self,
        in_bucket: impl Future<Output = Result<bool, Error>>,
        by_host: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let hosts = self.all_traits().await.map_err(Error::before_order)?;
        if hosts.is_empty() {
            return Err(Error::new(
                Kind::NoResponders,
                format!(
                    "no host of {} answers pings, so nobody listens for links; nothing was sent",
                    self.called()
                ),
            ));
        }
        let written = in_bucket.await?;
        let without_bucket = |traits: &Traits| traits.generation == Generation::G1a;
        if written && !hosts.iter().any(without_bucket) {
            return Ok(());
        }
        by_host.await.map_err(|error| match written {
            false => error,
            true => Error::new(
                Kind::Partial,
                format!("done in the lattice's bucket, but hosts before OTP 0.60: {error}"),
            ),
        })
    }
}
