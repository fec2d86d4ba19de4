//! Changes of links in the metadata bucket. Where JetStream answers with an error, or
//! nobody listens, nothing was written. Where no answer comes, it is not known.

use async_nats::HeaderMap;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::bucket::ask::Unanswered;
use crate::lattice::dialect::v0::place::Place;
use crate::lattice::dialect::v0::requests::encoded;
use crate::lattice::dialect::v0::subject;
use crate::lattice::model::Link;
use crate::metadata_bucket::BucketKey;
use crate::nats::jetstream::NoAnswer;

impl Lattice {
    /// Writes a link, and waits until JetStream has it. Returns whether there is a bucket.
    ///
    /// # Errors
    /// As every question to JetStream; `Refused` where it does not take the write.
    pub(crate) async fn write_link(&self, link: &Link) -> Result<bool, Error> {
        self.write(link, None, encoded(link)?).await
    }

    /// Marks a link as removed, in a way that every host notices. Returns whether there is
    /// a bucket.
    ///
    /// # Errors
    /// As [`Lattice::write_link`].
    pub(crate) async fn remove_link_from_bucket(&self, link: &Link) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.write(link, Some(headers), Bytes::new()).await
    }

    async fn write(
        &self,
        link: &Link,
        headers: Option<HeaderMap>,
        body: Bytes,
    ) -> Result<bool, Error> {
        let Some(place) = self.bucket_for_writing().await? else {
            return Ok(false);
        };
        let key = BucketKey::of_link(&link.actor_id, &link.contract_id, &link.link_name);
        let entry = subject::bucket_entry(&self.id, self.js_domain.as_ref(), &place, &key);
        let written = self.ask_jetstream::<PublishAck>(entry, headers, body, self.deadline);
        match written.await {
            Ok(_) => Ok(true),
            Err(Unanswered::By(error)) => Err(self.not_written(&place, error)),
            Err(
                Unanswered::Down(error) | Unanswered::Refused(error) | Unanswered::Unheard(error),
            ) => Err(error),
        }
    }

    fn not_written(&self, place: &Place, error: NoAnswer) -> Error {
        let bucket = match place {
            Place::Here => format!("the bucket of {}", self.display_name()),
            Place::Origin(origin) => format!(
                "the bucket of {}, which mirrors KV_{}{}",
                self.display_name(),
                origin.bucket,
                origin
                    .api
                    .as_ref()
                    .map(|api| format!(" of {api}"))
                    .unwrap_or_default()
            ),
        };
        let (kind, what) = match &error {
            NoAnswer::No(_) | NoAnswer::Refused(_) => (Kind::Refused, "did not take the write: "),
            NoAnswer::Nobody => (Kind::NoResponders, "cannot be written now: "),
            NoAnswer::NotSent(_) => (Kind::Invalid, "was not sent the write: "),
            NoAnswer::TooLarge(_) => (Kind::Invalid, "did not take the write: "),
            NoAnswer::Silence | NoAnswer::Unheard(_) => {
                (Kind::Timeout, "did not confirm the write in time: ")
            }
            NoAnswer::Broke(_) => (Kind::ConnectionLost, "did not confirm the write: "),
            NoAnswer::Unreadable(_) => (Kind::BadReply, "did not confirm the write: "),
        };
        Error::new(kind, format!("{bucket} {what}{error}")).caused_by(error)
    }
}
