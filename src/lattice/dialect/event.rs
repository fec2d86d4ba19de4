//! The envelope of an event of a host, in whichever dialect: a CloudEvent of a type
//! `com.wasmcloud.lattice.…`, whose source is the host.

use std::borrow::Cow;

use serde::Deserialize;

use crate::lattice::model::lenient::parse;

/// An event, without what it says.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Event<T> {
    data: T,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of an event; `None` of what is none.
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        parse(payload).ok()
    }

    /// Returns what kind of event it is, such as `host_started`; `None` of another family.
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.strip_prefix("com.wasmcloud.lattice.")
    }

    /// Returns the id of the host, as the event says.
    pub(super) fn host(self) -> String {
        self.source.into_owned()
    }
}

/// Reads what an event says.
pub(super) fn data<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    let event: Event<T> = parse(payload).ok()?;
    Some(event.data)
}
