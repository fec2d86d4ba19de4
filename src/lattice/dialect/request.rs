//! A message to hosts, in whichever dialect: its subject and its body.

use async_nats::Subject;
use bytes::Bytes;
use serde::Serialize;

use crate::error::{Error, Kind};
use crate::lattice::model::TextMap;

/// A message for hosts that expects a reply.
pub struct Request {
    /// Where it is published.
    pub subject: Subject,
    /// What it says.
    pub body: Bytes,
}

impl Request {
    /// Makes a question that says nothing beyond its subject.
    pub fn empty(subject: Subject) -> Self {
        Self {
            subject,
            body: Bytes::new(),
        }
    }

    /// Makes a request of a body.
    ///
    /// # Errors
    /// `Internal` where the body cannot be encoded.
    pub(super) fn new(subject: Subject, body: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            subject,
            body: encoded(body)?,
        })
    }
}

/// A JSON object, member by member.
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Begins an object.
    pub(super) fn new() -> Self {
        Self(b"{".to_vec())
    }

    /// Adds a member.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn with(
        mut self,
        name: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, Error> {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        serde_json::to_writer(&mut self.0, name).map_err(not_encoded)?;
        self.0.push(b':');
        serde_json::to_writer(&mut self.0, value).map_err(not_encoded)?;
        Ok(self)
    }

    /// Adds a member where it has a value.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn with_some(
        self,
        name: &str,
        value: Option<&impl Serialize>,
    ) -> Result<Self, Error> {
        match value {
            Some(value) => self.with(name, value),
            None => Ok(self),
        }
    }

    /// Adds annotations, where there are any.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn annotated(self, annotations: &TextMap) -> Result<Self, Error> {
        let annotations = Some(annotations).filter(|map| !map.is_empty());
        self.with_some("annotations", annotations)
    }

    /// Ends the object, as the body of a message on this subject.
    pub(super) fn on(mut self, subject: Subject) -> Request {
        self.0.push(b'}');
        Request {
            subject,
            body: self.0.into(),
        }
    }
}

/// Encodes a body as JSON.
///
/// # Errors
/// `Internal`.
pub fn encoded(body: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(not_encoded)
}

fn not_encoded(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, format!("body not encoded: {error}"))
}
