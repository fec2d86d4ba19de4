//! Puts an object into an object store in the form in which its clients read it: its body
//! in pieces, then a description with their digest.
//!
//! async-nats waits until a piece is stored before it sends the next one. Here several are
//! on their way at a time.

use std::collections::{HashMap, VecDeque};

use async_nats::HeaderMap;
use async_nats::datetime::from_nanos;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use bytes::Bytes;
use data_encoding::BASE64URL;
use sha2::{Digest as _, Sha256};

use crate::deadline::unix_time;

/// Bytes of a piece, as the clients of object stores cut them.
pub const CHUNK: usize = 128 * 1024;
/// Most pieces on their way at a time: what the connection has to send to others waits
/// behind them.
const ON_THEIR_WAY: usize = 8;

/// An object that is put into a store.
pub(super) struct Object<'a> {
    bucket: &'a str,
    name: &'a str,
    /// What the subject of its pieces ends with, unlike that of any other's.
    nuid: String,
    body: Bytes,
}

impl<'a> Object<'a> {
    /// Makes an object of this name and body.
    pub(super) fn new(context: &Context, bucket: &'a str, name: &'a str, body: Vec<u8>) -> Self {
        // The last token of an inbox is an id that occurs once.
        let inbox = context.client().new_inbox();
        let nuid = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        Self {
            bucket,
            name,
            nuid,
            body: body.into(),
        }
    }

    /// Returns the subject of its pieces.
    pub(super) fn pieces(&self) -> String {
        pieces(self.bucket, &self.nuid)
    }

    /// Stores the pieces and returns their digest.
    ///
    /// # Errors
    /// Why one of them is not stored. Others may be.
    pub(super) async fn put_pieces(&self, context: &Context) -> Result<String, PublishError> {
        let (subject, mut rest) = (self.pieces(), self.body.clone());
        let (mut on_their_way, mut digest) = (VecDeque::new(), Sha256::new());
        while !rest.is_empty() {
            let piece = rest.split_to(CHUNK.min(rest.len()));
            // One after the other: they are stored in the order in which they are sent.
            let sent = context.publish(subject.clone(), piece.clone()).await?;
            on_their_way.push_back(sent);
            digest.update(&piece);
            if on_their_way.len() == ON_THEIR_WAY
                && let Some(first) = on_their_way.pop_front()
            {
                first.await?;
            }
        }
        for sent in on_their_way {
            sent.await?;
        }
        Ok(format!("SHA-256={}", BASE64URL.encode(&digest.finalize())))
    }

    /// Stores the description, from which on the object is there. It takes the place of
    /// another object's with this name.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) async fn put_description(
        &self,
        context: &Context,
        digest: String,
    ) -> Result<(), PublishError> {
        let made = from_nanos(unix_time().as_nanos() as i128);
        let description = ObjectInfo {
            name: self.name.to_owned(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions {
                link: None,
                max_chunk_size: Some(CHUNK),
            }),
            bucket: self.bucket.to_owned(),
            nuid: self.nuid.clone(),
            size: self.body.len(),
            chunks: self.body.len().div_ceil(CHUNK),
            modified: made.ok(),
            digest: Some(digest),
            deleted: false,
        };
        let described = serde_json::to_vec(&description);
        let described =
            described.map_err(|error| PublishError::with_source(PublishErrorKind::Other, error))?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        let subject = description_of(self.bucket, self.name);
        let sent = context.publish_with_headers(subject, headers, described.into());
        sent.await?.await.map(drop)
    }
}

/// Returns the subject of the pieces with this id.
pub(super) fn pieces(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

/// Returns the subject of the description of an object.
pub(super) fn description_of(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{}", BASE64URL.encode(name.as_bytes()))
}
