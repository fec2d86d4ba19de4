#![cfg(target_arch = "wasm32")]
//! The autoscaler as an actor: the operation `Autoscaler.Run` around the crate
//! `autoscaler`.
//!
//! An actor is a module for wasm32; natively, this crate is empty. It is built
//! with
//!
//! ```sh
//! rustup target add wasm32-unknown-unknown
//! cargo build --locked --release -p autoscaler-actor --target wasm32-unknown-unknown
//! ```
//!
//! `Autoscaler.Run` takes a MessagePack map of texts, which [`Request::parse`]
//! reads, and answers with the report as a MessagePack text. `wash call` makes
//! the map from JSON and shows the text:
//!
//! ```sh
//! wash call --cluster-seed "$SEED" "$AUTOSCALER" Autoscaler.Run \
//!     '{"lattice":"default","actor":"M…","image":"registry.example/shop:0.3.0","zones":"eu=2,us=1"}'
//! ```

#![forbid(unsafe_code)]

use std::collections::HashMap;

use autoscaler::{Request, serve};
use wasmbus_rpc::actor::prelude::*;
use wasmbus_rpc::common::{deserialize, serialize};
use wasmcloud_interface_lattice_control::LatticeControllerSender;

/// The actor. Hosts make a new instance for each call.
#[derive(Debug, Default, Actor, HealthResponder)]
#[services(Actor, Autoscaler)]
struct AutoscalerActor {}

/// What the actor does when it is called.
#[async_trait]
trait Autoscaler {
    /// Brings a lattice to the desired state, and returns the report.
    async fn run(&self, ctx: &Context, members: &HashMap<String, String>) -> RpcResult<String>;
}

#[async_trait]
impl Autoscaler for AutoscalerActor {
    async fn run(&self, ctx: &Context, members: &HashMap<String, String>) -> RpcResult<String> {
        let request = Request::parse(members)
            .map_err(|error| RpcError::InvalidParameter(error.to_string()))?;
        // The link with the name "default".
        let client = LatticeControllerSender::new();
        let report = serve(&client, ctx, &request).await;
        let report = report.map_err(|error| RpcError::Other(error.to_string()))?;
        Ok(report.to_string())
    }
}

/// Decodes calls and encodes answers as generated receivers do.
#[async_trait]
trait AutoscalerReceiver: MessageDispatch + Autoscaler {
    async fn dispatch(&self, ctx: &Context, message: Message<'_>) -> RpcResult<Vec<u8>> {
        match message.method {
            "Run" => serialize(&self.run(ctx, &deserialize(&message.arg)?).await?),
            other => Err(RpcError::MethodNotHandled(format!("Autoscaler.{other}"))),
        }
    }
}

/// The executor that `derive(Actor)` names. Calls to the host have their answer
/// when they return, so no future of an actor ever waits.
mod futures {
    pub(crate) mod executor {
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
            let mut future = pin!(future);
            let mut context = Context::from_waker(Waker::noop());
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return output;
                }
            }
        }
    }
}
