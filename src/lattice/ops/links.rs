//! Putting and removing links so that every host of a lattice notices.
//!
//! Hosts from OTP 0.60 on follow the metadata bucket, so that a write there reaches
//! all of them. To tell a host instead would not: an OTP host marks a removal in
//! a way that Rust hosts do not see (docs/hosts.md#removal-unseen-by-rust-hosts),
//! and on 0.78 to 0.79.1 every host writes. Older hosts have no bucket and get a
//! command.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v0::requests;
use crate::lattice::model::{Link, Protocol};

/// How long hosts may go on listing a link that was removed: they follow the bucket
/// within milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// Pause before the second look whether it is gone; it doubles with each further one.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Time that the answer to the caller needs.
const TIME_TO_ANSWER: Duration = Duration::from_millis(50);

impl Lattice {
    /// Puts a link, or replaces it.
    ///
    /// # Errors
    /// As every command; `NoResponders` where no host is there to notice, and `Unsupported`
    /// where there are 1.x hosts only.
    pub async fn put_link(&self, link: &Link) -> Result<(), Error> {
        let command = requests::put_link(&self.id, link)?;
        self.everywhere(self.write_link(link), self.tell_hosts(command))
            .await
    }

    /// Removes a link. It is no error where there is none.
    ///
    /// # Errors
    /// As [`Lattice::put_link`]; `Partial` where a host goes on listing it.
    pub async fn remove_link(&self, link: &Link) -> Result<(), Error> {
        let command = requests::remove_link(&self.id, link)?;
        self.everywhere(self.remove_link_from_bucket(link), self.tell_hosts(command))
            .await?;
        self.wait_until_gone(link).await
    }

    /// Waits until hosts no longer list a link that was removed. There are links that they
    /// keep (docs/hosts.md#links-that-cannot-be-removed). It is no error where hosts do
    /// not answer, for example because their list is too long for a message.
    ///
    /// # Errors
    /// `Partial` where a host lists it to the end.
    async fn wait_until_gone(&self, link: &Link) -> Result<(), Error> {
        let until = self.deadline.earlier(TIME_TO_ANSWER).within(GONE_WITHIN);
        let (mut listed, mut pause) = (false, LOOK_AGAIN_AFTER);
        while let Ok(Ok(links)) = timeout_at(until.at(), self.links_from_hosts()).await {
            listed = links.iter().any(|there| there.is_replaced_by(link));
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

    /// Makes a change in the bucket, where there is one, and by a host, where there is none
    /// or a host does not follow it.
    async fn everywhere(
        &self,
        in_bucket: impl Future<Output = Result<bool, Error>>,
        by_host: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let hosts = self.dialects_for_command().await?;
        if hosts.is_empty() {
            return Err(Error::new(
                Kind::NoResponders,
                format!(
                    "no host of {} answers pings, so nobody listens for links; nothing was sent",
                    self.display_name()
                ),
            ));
        }
        if hosts.iter().all(|one| one.protocol() == Protocol::V1) {
            return Err(self.links_of_1x());
        }
        let without_bucket = |dialect: &Dialect| {
            let quirks = dialect.quirks();
            quirks.is_some_and(|quirks| !quirks.keeps_links_in_bucket)
        };
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
            )
            .caused_by(error),
        })
    }
}
