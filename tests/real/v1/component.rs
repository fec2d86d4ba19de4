//! Components whose answer to a call is their revision.
//!
//! A host refuses the text format, and spins where a component has no export.

use std::time::Duration;

use async_nats::Client;
use futures::StreamExt as _;

use crate::support::time::timeout;

/// How long a call may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Returns the binary of a component of this revision.
pub fn bytes(revision: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
             (core module $m (func (export "revision") (result i32) i32.const {revision}))
             (core instance $i (instantiate $m))
             (func $revision (result u32) (canon lift (core func $i "revision")))
             (instance $x (export "revision" (func $revision)))
             (export "test:random/revision" (instance $x)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Calls a component by wRPC, as any other component would, and returns its revision;
/// `None` where nothing answers.
pub async fn call(nats: &Client, lattice: &str, id: &str) -> Option<u32> {
    let reply = nats.new_inbox();
    let mut first = nats.subscribe(reply.clone()).await.unwrap();
    let mut results = nats.subscribe(format!("{reply}.results")).await.unwrap();
    let subject = format!("{lattice}.{id}.wrpc.0.0.1.test:random/revision.revision");
    let called = async {
        nats.publish_with_reply(subject, reply, "".into())
            .await
            .unwrap();
        // The host says where it takes the parameters, or the server that nobody is there.
        let parameters = first.next().await?.reply?;
        let none = nats.publish(format!("{parameters}.params"), "".into());
        none.await.unwrap();
        let result = results.next().await?.payload;
        // LEB128.
        let bits = result.iter().rev();
        Some(bits.fold(0, |number, byte| number << 7 | u32::from(byte & 0x7f)))
    };
    timeout(ANSWERS_WITHIN, called).await.ok().flatten()
}
