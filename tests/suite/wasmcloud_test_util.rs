//! The provider in wasmCloud's own test harness for providers.

use crate::support;
use std::path::PathBuf;

use crate::support::nats::NatsServer;
use wasmbus_rpc::common::Context;
use wasmbus_rpc::core::LinkDefinition;
use wasmbus_rpc::error::{RpcError, RpcResult};
use wasmcloud_interface_lattice_control::{
    LatticeController as _, LatticeControllerSender, SetLatticeCredentialsRequest,
};
use wasmcloud_test_util::provider_test::{Provider, load_config, start_provider_test};

/// Ends the provider also when the test fails, which the harness does not do.
struct Ended(nix::unistd::Pid);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL);
    }
}

async fn sets_credentials_and_finds_no_hosts(provider: &Provider, url: &str) -> RpcResult<()> {
    let ctx = Context::default();
    let client = LatticeControllerSender::via(provider.clone());
    let error = client.get_hosts(&ctx, "default").await.unwrap_err();
    assert!(
        matches!(&error, RpcError::Rpc(text) if text.contains("is unknown")),
        "{error}"
    );
    let request = SetLatticeCredentialsRequest {
        lattice_id: "default".into(),
        nats_url: Some(url.into()),
        ..Default::default()
    };
    assert!(
        client
            .set_lattice_credentials(&ctx, &request)
            .await?
            .accepted
    );
    assert!(client.get_hosts(&ctx, "default").await?.is_empty());
    Ok(())
}

/// This is one test because the harness has one provider for a process.
#[tokio::test]
async fn the_test_harness_starts_calls_and_ends_it() {
    let nats = NatsServer::start();
    let mut config = load_config().unwrap();
    config.insert("nats_url".into(), nats.address().into());
    config.insert(
        "bin_path".into(),
        env!("CARGO_BIN_EXE_lattice-controller").into(),
    );
    let path = PathBuf::from(config["bin_path"].as_str().unwrap());
    let mut link = LinkDefinition::default();
    link.actor_id = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    link.provider_id = nkeys::KeyPair::new(nkeys::KeyPairType::Service).public_key();
    link.contract_id = config["contract_id"].as_str().unwrap().into();
    link.link_name = config["link_name"].as_str().unwrap().into();
    link.values.insert("config_b64".into(), "e30".into());
    let provider = start_provider_test(config, &path, link).await.unwrap();
    let pid = nix::unistd::Pid::from_raw(provider.proc.id() as i32);
    let _ended = Ended(pid);
    support::eventually("health", || async { provider.health_check().await.ok() }).await;
    sets_credentials_and_finds_no_hosts(&provider, &nats.url())
        .await
        .unwrap();
    provider.shutdown().await.unwrap();
    let status = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG)).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(pid, 0));
}
