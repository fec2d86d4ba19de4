//! Of which actor an image reference is, as OTP hosts from 0.60 on keep it in the metadata
//! bucket: they write `REFMAP_{base64url(reference)}` with every start and update.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout_at;

use crate::lattice::Lattice;
use crate::lattice::bucket::ask::Unanswered;
use crate::lattice::dialect::v0::requests::encoded;
use crate::lattice::dialect::v0::subject;
use crate::lattice::model::lenient::parse;
use crate::metadata_bucket::BucketKey;
use crate::name::ActorId;
use crate::nats::is_removal;
use crate::nats::jetstream::Last;

/// Longest wait for the bucket: commands can do without it.
const READ_WITHIN: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct ReferenceEntry {
    public_key: String,
}

impl Lattice {
    /// Reads the key of the actor that a reference is of. Returns `None` where the bucket
    /// does not tell it in time.
    pub(crate) async fn key_in_bucket(&self, image_ref: &str) -> Option<ActorId> {
        let learned = &self.roster.commands.learned;
        if learned.is_bucket_refused() {
            return None;
        }
        let most = READ_WITHIN.min(self.deadline.remaining() / 4);
        let by = self.deadline.within(most);
        let place = timeout_at(by.at(), self.bucket()).await.ok()?.ok()??;
        let subjects = subject::bucket_entries(&self.id, &place);
        let entry = format!("{subjects}{}", BucketKey::of_reference(image_ref));
        let question = subject::bucket_get(&self.id, self.js_domain.as_ref());
        let body = encoded(&Last::under(&entry)).ok()?;
        let message = match self.ask_jetstream::<Last>(question, None, body, by).await {
            Ok(last) => last.message().ok()?,
            Err(Unanswered::Refused(_)) => {
                learned.bucket_refused();
                return None;
            }
            Err(_) => return None,
        };
        if is_removal(Some(&message.headers)) {
            return None;
        }
        let entry: ReferenceEntry = parse(&message.payload).ok()?;
        ActorId::parse(&entry.public_key).ok()
    }
}
