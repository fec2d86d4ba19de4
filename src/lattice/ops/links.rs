//! Putting and removing links so that every host of a lattice, of whatever
//! generation, takes notice.
//!
//! Hosts from OTP 0.60 on follow the metadata bucket, so a write there reaches
//! all of them. Asking a host instead would not: an OTP host marks a removal in
//! a way that Rust hosts do not see (trap T25), and on 0.78 to 0.79.1 every host
//! writes. Older hosts have no bucket and are asked.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::{Generation, Traits};
use crate::lattice::dialect::v0::wire::{Link, LinkKey};

/// How long hosts are given to let go of a link that was removed: they follow
/// the bucket within milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// Pause before the second look whether it is gone; twice as long before the next.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// What the answer to the caller needs of the time that is left.
const TIME_TO_ANSWER: Duration = Duration::from_millis(50);

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
    /// As [`Lattice::put_link`]; `Partial` where a host goes on to list it.
    pub async fn remove_link(&self, link: &LinkKey) -> Result<(), Error> {
        let write = self.unwrite_link(link);
        self.everywhere(write, self.remove_link_by_host(link))
            .await?;
        self.let_go(link).await
    }

    /// That the hosts have let go of a link that was removed. There are links
    /// that they keep (trap T51). Where they do not say, as where their list is
    /// too long for a message, what was done counts.
    ///
    /// # Errors
    /// `Partial` where a host lists it to the end.
    async fn let_go(&self, link: &LinkKey) -> Result<(), Error> {
        let until = self.deadline.earlier(TIME_TO_ANSWER).within(GONE_WITHIN);
        let (mut listed, mut pause) = (false, LOOK_AGAIN_AFTER);
        while let Ok(Ok(reply)) = timeout_at(until.at(), self.links_from_hosts()).await {
            listed = reply.links.iter().any(|there| there.is_under(link));
            if !listed || Instant::now() + pause >= until.at() {
                break;
            }
            sleep(pause).await;
            pause *= 2;
        }
        match listed {
            false => Ok(()),
            true => Err(Error::new(
                Kind::Partial,
                format!(
                    "the link was removed, and the hosts of {} list it all the same: it was put \
                     again meanwhile, or put into the bucket by somebody else without values or \
                     with an id of its own, and stays until these hosts end",
                    self.display_name()
                ),
            )),
        }
    }

    /// Does it in the bucket, where there is one, and by a host, where there is
    /// none or a host does not follow it.
    async fn everywhere(
        &self,
        in_bucket: impl Future<Output = Result<bool, Error>>,
        by_host: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let hosts = self.all_traits_for_order().await?;
        if hosts.is_empty() {
            return Err(Error::new(
                Kind::NoResponders,
                format!(
                    "no host of {} answers pings, so nobody listens for links; nothing was sent",
                    self.display_name()
                ),
            ));
        }
        let without_bucket = |traits: &Traits| traits.generation == Generation::G1a;
        // Where no host follows a bucket, the credentials need not allow to look
        // for one.
        let written = match hosts.iter().all(without_bucket) {
            true => false,
            false => in_bucket.await?,
        };
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
