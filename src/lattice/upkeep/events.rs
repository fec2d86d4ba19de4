//! The events of the hosts of a lattice.

use async_nats::Message;
use futures::StreamExt as _;
use futures::stream::{BoxStream, select};

use crate::connections::Connection;
use crate::lattice::dialect::{v0, v1};
use crate::lattice::model::Protocol;
use crate::name::LatticeId;

/// The events of a lattice, each with the protocol of its subject.
pub(super) type Events = BoxStream<'static, (Protocol, Message)>;

/// Subscribes to the events of a lattice: those of 0.x hosts come on one subject, those of
/// 1.x hosts on several below it. Returns `None` where the connection is gone.
pub(super) async fn listen(connection: &Connection, id: &LatticeId) -> Option<Events> {
    let client = connection.client();
    let of_0x = client.subscribe(v0::subject::events(id)).await.ok()?;
    let of_1x = client.subscribe(v1::subject::events(id)).await.ok()?;
    let of_0x = of_0x.map(|event| (Protocol::V0, event));
    let of_1x = of_1x.map(|event| (Protocol::V1, event));
    Some(Box::pin(select(of_0x, of_1x)))
}
