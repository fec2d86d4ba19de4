//! Hosts of 1.x: a walk through all operations, and random commands.
//!
//! The provider stands alone here: it cannot run on such hosts yet. Components come from a
//! registry, so that one reference and another are tags of one image, as they are for most
//! people.

mod component;
mod refusals;
mod registry;
mod site;
mod walk;

use crate::host::Binary;
use crate::orders::run::{Plan, run};
use crate::orders::tally::Tally;
use crate::report::Walked;
use crate::support::world::set;
use site::{LATTICE, Site1x};

/// Walks through all operations.
pub async fn walked(binary: &Binary) -> Walked {
    let mut site = Site1x::start(binary).await;
    let (right, wrong) = walk::walk(&mut site).await;
    let log = (!wrong.is_empty()).then(|| site.host.log());
    let checks = walk::CHECKS;
    Walked {
        right,
        checks,
        wrong,
        log,
    }
}

/// Gives random commands.
pub async fn ordered(binary: &Binary, plan: &Plan) -> Tally {
    let mut site = Site1x::start(binary).await;
    let url = site.nats.url();
    let ack = set(&site.callers[0], LATTICE, &url).await.unwrap();
    assert!(ack.accepted, "{}", ack.error);
    run(&mut site, plan).await
}
