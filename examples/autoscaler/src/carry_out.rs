//! Gives commands to hosts.

use std::collections::HashMap;

use wasmbus_rpc::common::{Context, Transport};
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::{
    CtlOperationAck, LatticeController as _, LatticeControllerSender, ScaleActorCommand,
    StopActorCommand,
};

use crate::plan::{Order, Step, Unseen};
use crate::report::{Failed, Report};
use crate::{Desired, MANAGED_BY};

/// Carries out a plan, one command after the other. A command that fails does
/// not keep the next one from being given. `unseen` is the report's list of
/// hosts that the plan leaves out.
pub async fn carry_out<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    desired: &Desired,
    unseen: Vec<Unseen>,
    steps: Vec<Step>,
) -> Report {
    let mut report = Report {
        unseen,
        ..Report::default()
    };
    for step in steps {
        let order = match step {
            Step::Order(order) => order,
            Step::Lack(lack) => {
                report.lacking.push(lack);
                continue;
            }
        };
        match give(client, ctx, desired, &order).await {
            Ok(ack) if ack.accepted => report.done.push(order),
            Ok(CtlOperationAck { error: why, .. }) => report.refused.push(Failed { order, why }),
            Err(error) => {
                let why = error.to_string();
                report.unknown.push(Failed { order, why });
            }
        }
    }
    report
}

async fn give<T: Transport + Sync>(
    client: &LatticeControllerSender<T>,
    ctx: &Context,
    desired: &Desired,
    order: &Order,
) -> RpcResult<CtlOperationAck> {
    let (name, value) = MANAGED_BY;
    let ours = || HashMap::from([(name.to_owned(), value.to_owned())]);
    // Hosts that ignore annotations get none: what they run has none.
    let annotations = order.by_annotations.then(ours);
    if order.to == 0 {
        let command = StopActorCommand {
            lattice_id: desired.lattice.clone(),
            host_id: order.host.clone(),
            actor_id: desired.actor.clone(),
            annotations,
            // All matching instances.
            count: 0,
        };
        return client.stop_actor(ctx, &command).await;
    }
    let command = ScaleActorCommand {
        lattice_id: desired.lattice.clone(),
        host_id: order.host.clone(),
        actor_id: desired.actor.clone(),
        actor_ref: desired.image_ref.clone(),
        annotations,
        count: order.to,
    };
    client.scale_actor(ctx, &command).await
}
