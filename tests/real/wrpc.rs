//! A call of a component, as other components and providers of 1.x make it.

use std::time::Duration;

use async_nats::{Client, StatusCode};
use futures::StreamExt as _;

use crate::support::time::timeout;

/// How long a call may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Calls a function of a component that takes nothing and returns a number; `None` where
/// it is not answered.
pub async fn call(
    client: &Client,
    lattice: &str,
    id: &str,
    instance: &str,
    function: &str,
) -> Option<u32> {
    let subject = format!("{lattice}.{id}.wrpc.0.0.1.{instance}.{function}");
    timeout(ANSWERS_WITHIN, called(client, subject))
        .await
        .ok()?
}

async fn called(client: &Client, subject: String) -> Option<u32> {
    let inbox = client.new_inbox();
    let mut accepted = client.subscribe(inbox.clone()).await.ok()?;
    let mut results = client.subscribe(format!("{inbox}.results")).await.ok()?;
    let asked = client.publish_with_reply(subject, inbox, "".into());
    asked.await.ok()?;
    let accepted = accepted.next().await?;
    if accepted.status == Some(StatusCode::NO_RESPONDERS) {
        return None;
    }
    let parameters = format!("{}.params", accepted.reply?);
    client.publish(parameters, "".into()).await.ok()?;
    let mut bytes = Vec::new();
    loop {
        let part = results.next().await?.payload;
        if part.is_empty() {
            return Some(number(&bytes));
        }
        bytes.extend_from_slice(&part);
    }
}

/// Reads a number in LEB128.
fn number(bytes: &[u8]) -> u32 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, byte| number << 7 | u32::from(byte & 0x7f))
}
