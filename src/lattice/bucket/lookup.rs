//! Whether a lattice has a metadata bucket, and where that is written.

use std::error::Error as StdError;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use tracing::debug;

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::bucket::ask::Unanswered;
use crate::lattice::dialect::v0::place::{OddOrigin, Place, StreamInfo};
use crate::lattice::dialect::v0::subject;
use crate::nats::jetstream::NoAnswer;

/// Longest wait for JetStream to say whether there is a bucket. Credentials
/// without permission for JetStream get no answer at all.
const LOOK_UP_WITHIN: Duration = Duration::from_millis(500);

/// The result of looking for the bucket.
enum LookUp {
    Found(Place),
    Missing,
    Unknown(LookUpError),
}

/// Why it is not known whether there is a bucket.
#[derive(Debug, thiserror::Error)]
enum LookUpError {
    #[error("these credentials may not use JetStream")]
    RefusedBefore,
    #[error("{0}")]
    Refused(#[source] Error),
    #[error("no answer; may these credentials use JetStream?")]
    Silence,
    #[error("{0}")]
    NoAnswer(#[source] NoAnswer),
    #[error("{0}")]
    OddOrigin(#[source] OddOrigin),
}

impl Lattice {
    /// Looks for the bucket in order to write. Where JetStream does not say whether there
    /// is one, hosts are not asked instead: others might not see what they write.
    ///
    /// # Errors
    /// `NotConnected`, and nothing was sent.
    pub(super) async fn bucket_for_writing(&self) -> Result<Option<Place>, Error> {
        match self.look_up().await? {
            LookUp::Found(place) => Ok(Some(place)),
            LookUp::Missing => Ok(None),
            LookUp::Unknown(why) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "the bucket of {} cannot be looked up ({why}); nothing was sent",
                    self.display_name()
                ),
            )
            .caused_by(why)),
        }
    }

    /// Looks for the bucket in order to read. Returns `None` where hosts are asked instead.
    ///
    /// # Errors
    /// `NotConnected`.
    pub(super) async fn bucket(&self) -> Result<Option<Place>, Error> {
        match self.look_up().await? {
            LookUp::Found(place) => Ok(Some(place)),
            LookUp::Missing => Ok(None),
            LookUp::Unknown(why) => self.ask_hosts_instead(why).map(|()| None),
        }
    }

    async fn look_up(&self) -> Result<LookUp, Error> {
        if self.roster.is_jetstream_refused() {
            // Fails at once where the lattice is not connected.
            drop(self.connection.lost_from_now(&self.id)?);
            return Ok(LookUp::Unknown(LookUpError::RefusedBefore));
        }
        let question = subject::bucket_info(&self.id, self.js_domain.as_ref());
        let by = self.deadline.within(LOOK_UP_WITHIN);
        let info = self.ask_jetstream::<StreamInfo>(question, None, Bytes::new(), by);
        Ok(match info.await {
            Ok(info) => match info.place() {
                Ok(place) => LookUp::Found(place),
                Err(odd) => LookUp::Unknown(LookUpError::OddOrigin(odd)),
            },
            Err(Unanswered::Down(error)) => return Err(error),
            Err(Unanswered::Refused(refused)) => {
                self.roster.jetstream_refused();
                LookUp::Unknown(LookUpError::Refused(refused))
            }
            Err(Unanswered::Unheard(refused)) => LookUp::Unknown(LookUpError::Refused(refused)),
            Err(Unanswered::By(broke @ NoAnswer::Broke(_))) => return Err(self.not_read(broke)),
            Err(Unanswered::By(NoAnswer::Nobody)) if self.js_domain.is_none() => LookUp::Missing,
            Err(Unanswered::By(NoAnswer::Silence)) => LookUp::Unknown(LookUpError::Silence),
            Err(Unanswered::By(error)) => match error.code() {
                Some(
                    ErrorCode::STREAM_NOT_FOUND
                    | ErrorCode::JETSTREAM_NOT_ENABLED
                    | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
                ) => LookUp::Missing,
                _ => LookUp::Unknown(LookUpError::NoAnswer(error)),
            },
        })
    }

    /// Decides that hosts are asked, because JetStream does not answer.
    ///
    /// # Errors
    /// `NotConnected` where the lattice has a domain, and so must have JetStream.
    pub(super) fn ask_hosts_instead(
        &self,
        why: impl StdError + Send + Sync + 'static,
    ) -> Result<(), Error> {
        match &self.js_domain {
            Some(domain) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "JetStream domain {:?} of {} does not answer ({why}); \
                     check jsDomain in its credentials",
                    domain.as_str(),
                    self.display_name()
                ),
            )
            .caused_by(why)),
            None => {
                let why = why.to_string();
                debug!(lattice = %self.id, why, "no metadata bucket, hosts are asked");
                Ok(())
            }
        }
    }

    pub(super) fn not_read(&self, error: impl StdError + Send + Sync + 'static) -> Error {
        Error::new(
            Kind::NotConnected,
            format!(
                "the metadata bucket of {} cannot be read: {error}",
                self.display_name()
            ),
        )
        .caused_by(error)
    }
}
