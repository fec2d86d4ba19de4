//! The metadata bucket of a lattice: JetStream key-value bucket
//! `LATTICEDATA_{lattice}`, in which hosts from OTP 0.60 on keep links
//! (`LINKDEF_{hash}`) and claims (`CLAIMS_{key}`).
//!
//! It is read in one pass and looked for anew by every call: a lattice may get
//! its bucket, or JetStream, later (trap T9). Where there is none, hosts are
//! asked instead. Source: control-interface reference, section 3.
//!
//! - [`place`]: where a bucket that is a mirror has its entries from
//! - `ask`: one question to JetStream
//! - `read`, `write`: what is in it, and a change of it

mod ask;
mod read;
pub mod references;
mod write;

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::timeout_at;
use tracing::debug;

pub(crate) use crate::lattice::bucket::ask::Unanswered;
use crate::lattice::dialect::v0::place::{Place, Shown};

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v0::wire::{Claims, Link};
use crate::nats::jetstream::NoAnswer;

/// Longest wait for JetStream to say whether there is a bucket. Credentials
/// without permission for JetStream get no answer at all.
const LOOK_UP_WITHIN: Duration = Duration::from_millis(500);

/// What a look for the bucket brought.
enum LookUp {
    Found(Place),
    Missing,
    /// Nobody said whether there is one.
    Unanswered(String),
}

impl Lattice {
    /// Every link of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links_from_hosts`], or `NotConnected` where the JetStream
    /// domain does not answer; `Unsupported` where only 1.x hosts do.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        match self.entries_here("LINKDEF_").await? {
            Some(links) => Ok(links),
            None => Ok(self.links_from_hosts().await?.links),
        }
    }

    /// Every set of claims of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links`].
    pub async fn claims(&self) -> Result<Vec<Claims>, Error> {
        match self.entries_here("CLAIMS_").await? {
            Some(claims) => Ok(claims),
            None => Ok(self.claims_from_hosts().await?.claims),
        }
    }

    /// The entries of the bucket, unless only 1.x hosts are there. Hosts that are
    /// silent do not keep what was read: whoever wrote it is there, or was.
    async fn entries_here<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Option<Vec<T>>, Error> {
        let (spoken, entries) = (self.refuse_if_only_v1(), self.entries(prefix));
        tokio::pin!(spoken, entries);
        tokio::select! {
            spoken = &mut spoken => spoken.and(entries.await),
            entries = &mut entries => {
                let entries = entries?;
                let by = self.deadline.within(self.limits.stall);
                match timeout_at(by.at(), spoken).await {
                    Ok(spoken) => spoken.map(|()| entries),
                    Err(_) => Ok(entries),
                }
            }
        }
    }

    /// The bucket, where there is one. Where JetStream does not say, hosts are
    /// not asked instead: what they write might not be seen by others.
    async fn bucket_for_writing(&self) -> Result<Option<Place>, Error> {
        match self.look_up().await? {
            LookUp::Found(place) => Ok(Some(place)),
            LookUp::Missing => Ok(None),
            LookUp::Unanswered(why) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "the bucket of {} cannot be looked up ({why}); nothing was sent",
                    self.display_name()
                ),
            )),
        }
    }

    /// The bucket, where there is one.
    pub(crate) async fn bucket(&self) -> Result<Option<Place>, Error> {
        match self.look_up().await? {
            LookUp::Found(place) => Ok(Some(place)),
            LookUp::Missing => Ok(None),
            LookUp::Unanswered(why) => self.no_bucket(&why).map(|()| None),
        }
    }

    async fn look_up(&self) -> Result<LookUp, Error> {
        if self.roster.is_jetstream_refused() {
            // Refused at once when disconnected.
            drop(self.connection.lost_from_now(&self.id)?);
            let why = "these credentials may not use JetStream".to_owned();
            return Ok(LookUp::Unanswered(why));
        }
        let question = subject::bucket_info(&self.id, self.js_domain.as_ref());
        let by = self.deadline.within(LOOK_UP_WITHIN);
        let shown = self.ask_jetstream::<Shown>(question, Bytes::new(), by);
        Ok(match shown.await {
            Ok(shown) => match shown.place() {
                Ok(place) => LookUp::Found(place),
                Err(problem) => LookUp::Unanswered(problem),
            },
            Err(Unanswered::Down(error)) => return Err(error),
            Err(Unanswered::Refused(refused)) => {
                self.roster.may_not_ask_jetstream();
                LookUp::Unanswered(refused.to_string())
            }
            Err(Unanswered::Unheard(refused)) => LookUp::Unanswered(refused.to_string()),
            Err(Unanswered::By(broke @ NoAnswer::Broke(_))) => return Err(self.not_read(&broke)),
            Err(Unanswered::By(NoAnswer::Nobody)) if self.js_domain.is_none() => LookUp::Missing,
            Err(Unanswered::By(NoAnswer::Silence)) => {
                LookUp::Unanswered("no answer; may these credentials use JetStream?".into())
            }
            Err(Unanswered::By(error)) => match error.code() {
                Some(
                    ErrorCode::STREAM_NOT_FOUND
                    | ErrorCode::JETSTREAM_NOT_ENABLED
                    | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
                ) => LookUp::Missing,
                _ => LookUp::Unanswered(error.to_string()),
            },
        })
    }

    /// Takes that JetStream did not answer: hosts may, unless the lattice was said
    /// to have a domain.
    fn no_bucket(&self, why: &str) -> Result<(), Error> {
        match &self.js_domain {
            Some(domain) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "JetStream domain {:?} of {} does not answer ({why}); \
                     check jsDomain in its credentials",
                    domain.as_str(),
                    self.display_name()
                ),
            )),
            None => {
                debug!(lattice = %self.id, why, "no metadata bucket, hosts are asked");
                Ok(())
            }
        }
    }

    fn not_read(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(
            Kind::NotConnected,
            format!(
                "the metadata bucket of {} cannot be read: {error}",
                self.display_name()
            ),
        )
    }
}
