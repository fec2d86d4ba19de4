//! The metadata bucket of a lattice: JetStream key-value bucket
//! `LATTICEDATA_{lattice}`, in which hosts from OTP 0.60 on keep links
//! (`LINKDEF_{hash}`) and claims (`CLAIMS_{key}`).
//!
//! It is read in one pass and looked for anew by every call: a lattice may get
//! its bucket, or JetStream, later (trap T9). Where there is none, hosts are
//! asked instead. Source: control-interface reference, section 3.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push::OrderedConfig};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout_at;
use tracing::{debug, warn};

use super::Lattice;
use super::wire::{self, Claims, Link};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};

/// Longest wait for JetStream to say whether there is a bucket. Credentials
/// without permission for JetStream get no answer at all.
const LOOK_UP_WITHIN: Duration = Duration::from_millis(500);

impl Lattice {
    /// Every link of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links_from_hosts`], or `NotConnected` where the JetStream
    /// domain does not answer.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        match self.entries("LINKDEF_").await? {
            Some(links) => Ok(links),
            None => Ok(self.links_from_hosts().await?.links),
        }
    }

    /// Every set of claims of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links`].
    pub async fn claims(&self) -> Result<Vec<Claims>, Error> {
        match self.entries("CLAIMS_").await? {
            Some(claims) => Ok(claims),
            None => Ok(self.claims_from_hosts().await?.claims),
        }
    }

    /// Every readable value under keys that start with `prefix`; `None` where
    /// there is no bucket.
    async fn entries<T: DeserializeOwned>(&self, prefix: &str) -> Result<Option<Vec<T>>, Error> {
        let Some(stream) = self.bucket().await? else {
            return Ok(None);
        };
        let mut items = Vec::new();
        let mut unreadable = 0;
        let read = self.read(&stream, |key, value| {
            if key.starts_with(prefix) {
                match wire::parse(value) {
                    Ok(item) => items.push(item),
                    Err(_) => unreadable += 1,
                }
            }
        });
        timeout_at(self.deadline.at(), read).await.map_err(|_| {
            Error::new(
                Kind::Timeout,
                format!(
                    "the metadata bucket of {} was not read in time",
                    self.called()
                ),
            )
        })??;
        if unreadable > 0 {
            warn!(lattice = %self.id, prefix, unreadable, "entries of the bucket cannot be read");
        }
        Ok(Some(items))
    }

    async fn bucket(&self) -> Result<Option<Stream>, Error> {
        // Refused at once when disconnected: JetStream requests would queue.
        drop(self.connection.lost_from_now(&self.id)?);
        let client = self.connection.client().clone();
        let jetstream = match &self.js_domain {
            Some(domain) => jetstream::with_domain(client, domain.as_str()),
            None => jetstream::new(client),
        };
        let name = format!("KV_LATTICEDATA_{}", self.id);
        let until: Deadline = self.deadline.within(LOOK_UP_WITHIN);
        match timeout_at(until.at(), jetstream.get_stream(name)).await {
            Ok(Ok(stream)) => Ok(Some(stream)),
            Ok(Err(error)) if is_missing(&error) => Ok(None),
            Ok(Err(error)) => self.no_bucket(&error.to_string()),
            Err(_) => self.no_bucket("no answer; may these credentials use JetStream?"),
        }
    }

    /// JetStream did not answer: hosts may, unless the lattice was said to have
    /// a domain.
    fn no_bucket(&self, why: &str) -> Result<Option<Stream>, Error> {
        match &self.js_domain {
            Some(domain) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "JetStream domain {:?} of {} does not answer ({why}); \
                     check jsDomain in its credentials",
                    domain.as_str(),
                    self.called()
                ),
            )),
            None => {
                debug!(lattice = %self.id, why, "no metadata bucket, hosts are asked");
                Ok(None)
            }
        }
    }

    /// Hands the newest value under every key to `each`; removed keys are left
    /// out.
    async fn read(&self, stream: &Stream, mut each: impl FnMut(&str, &[u8])) -> Result<(), Error> {
        let subjects = format!("$KV.LATTICEDATA_{}.", self.id);
        let consumer = stream
            .create_consumer(OrderedConfig {
                deliver_subject: self.connection.client().new_inbox(),
                filter_subject: format!("{subjects}>"),
                deliver_policy: DeliverPolicy::LastPerSubject,
                replay_policy: ReplayPolicy::Instant,
                ..OrderedConfig::default()
            })
            .await
            .map_err(|error| self.not_read(&error))?;
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let mut messages = consumer.messages().await.map_err(|e| self.not_read(&e))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| self.not_read(&error))?;
            let removed = message
                .headers
                .as_ref()
                .is_some_and(|headers| headers.get("KV-Operation").is_some());
            if let (false, Some(key)) = (removed, message.subject.strip_prefix(&subjects)) {
                each(key, &message.payload);
            }
            if message.info().map_err(|e| self.not_read(&e))?.pending == 0 {
                return Ok(());
            }
        }
        Err(self.not_read(&"the stream ended"))
    }

    fn not_read(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(
            Kind::NotConnected,
            format!(
                "the metadata bucket of {} cannot be read: {error}",
                self.called()
            ),
        )
    }
}

/// Whether JetStream says that there is no such stream, or that it is not
/// enabled.
fn is_missing(error: &GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => matches!(
            error.error_code(),
            ErrorCode::STREAM_NOT_FOUND
                | ErrorCode::JETSTREAM_NOT_ENABLED
                | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        ),
        _ => false,
    }
}
