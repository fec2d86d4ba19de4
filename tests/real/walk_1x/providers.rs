//! Providers, each with the config that it is started with.

use std::collections::HashMap;

use futures::future::join;
use serde_json::{Value, json};
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use super::{Annotations, Walk};
use crate::modules::plain;
use crate::site::LATTICE;
use crate::stand_in;
use crate::support::world::ctx;
use crate::walk::{Checked, accepted, noted, refused, shows, unexpected};

/// The link names of providers.
const DEFAULT: &str = "default";
const LINK: &str = "walk";

impl Walk<'_> {
    /// Returns what the provider that a reference names is called under this link name.
    fn provider_id(&self, reference: &str, link_name: &str) -> String {
        let id = plain(reference.strip_prefix("file://").unwrap());
        match link_name {
            DEFAULT => id,
            link_name => format!("{id}-{link_name}"),
        }
    }

    fn stand_in(&self) -> String {
        self.site.archive.reference.clone()
    }

    /// Returns the config that a provider has on the host.
    async fn config(&self, id: &str) -> Result<Value, String> {
        let question = format!("config.get.{id}-{}", self.host());
        self.somebody(&question, &Value::Null).await
    }

    async fn start_provider_of(
        &self,
        reference: &str,
        link_name: &str,
        configuration: Option<&str>,
    ) -> RpcResult<CtlOperationAck> {
        let command = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            provider_ref: reference.into(),
            link_name: link_name.into(),
            annotations: noted(),
            configuration: configuration.map(str::to_owned),
        };
        self.client.start_provider(&ctx(), &command).await
    }

    async fn stop_provider_of(
        &self,
        id: &str,
        link_name: &str,
        annotations: Annotations,
    ) -> RpcResult<CtlOperationAck> {
        let command = StopProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.host(),
            provider_id: id.into(),
            link_name: link_name.into(),
            contract_id: "wasmcloud:latticecontrol".into(),
            annotations,
        };
        self.client.stop_provider(&ctx(), &command).await
    }

    /// Checks that exactly these run, by id and link name.
    async fn providers_run(&self, expected: &[(&str, &str)]) -> Checked {
        shows(async || {
            let providers = self.inventory().await?.providers;
            let mut run: Vec<_> = providers
                .iter()
                .map(|one| (one.id.as_str(), one.link_name.as_str()))
                .collect();
            run.sort();
            match run == expected {
                true => Ok(()),
                false => Err(unexpected(providers)),
            }
        })
        .await
    }

    pub async fn start_provider(&self) -> Checked {
        let reference = self.stand_in();
        let id = self.provider_id(&reference, DEFAULT);
        let other = self.provider_id(&reference, LINK);
        let given = r#"{"address":"0.0.0.0","retries":3}"#;
        let expected = json!({"address": "0.0.0.0", "retries": "3"});
        accepted(
            self.start_provider_of(&reference, DEFAULT, Some(given))
                .await,
        )?;
        self.providers_run(&[(&id, DEFAULT)]).await?;
        let config = self.config(&id).await?;
        if config != expected {
            return Err(unexpected(config));
        }
        shows(async || match stand_in::told(self.site.host.folder()) {
            Some(told) if told["config"] == expected => Ok(()),
            told => Err(format!("the host told it {told:?}")),
        })
        .await?;
        accepted(self.start_provider_of(&reference, LINK, None).await)?;
        self.providers_run(&[(&id, DEFAULT), (&other, LINK)]).await
    }

    pub async fn start_provider_refused(&self) -> Checked {
        let reference = self.stand_in();
        let again = self
            .start_provider_of(&reference, DEFAULT, Some("{}"))
            .await;
        refused(again, "is already running there")?;
        for text in ["text", "[]", r#"{"a":{}}"#, r#"{"a":null}"#] {
            let started = self
                .start_provider_of(&reference, "third", Some(text))
                .await;
            refused(started, "JSON object of texts")?;
        }
        // The refused start changed nothing of the config.
        let config = self.config(&self.provider_id(&reference, DEFAULT)).await?;
        match config["address"] == "0.0.0.0" {
            true => Ok(()),
            false => Err(unexpected(config)),
        }
    }

    /// One of two orders starts it, and the stop comes when it runs.
    pub async fn provider_at_once(&self) -> Checked {
        let reference = self.stand_in();
        let id = self.provider_id(&reference, "once");
        let (one, other) = join(
            self.start_provider_of(&reference, "once", None),
            self.start_provider_of(&reference, "once", None),
        )
        .await;
        let (started, again) = match accepted(one) {
            Ok(()) => (Ok(()), other),
            Err(_) => (
                accepted(other),
                self.start_provider_of(&reference, "once", None).await,
            ),
        };
        started?;
        refused(again, "is already running there")?;
        accepted(self.stop_provider_of(&id, "once", None).await)?;
        match self
            .inventory()
            .await?
            .providers
            .iter()
            .any(|one| one.id == id)
        {
            true => Err("it runs on".into()),
            false => Ok(()),
        }
    }

    pub async fn start_provider_that_fails(&self) -> Checked {
        let nowhere = "file:///nowhere/at_all.par.gz";
        let started = self.start_provider_of(nowhere, DEFAULT, Some(r#"{"a":"b"}"#));
        refused(started.await, "could not carry it out")?;
        let config = self.config(&self.provider_id(nowhere, DEFAULT)).await?;
        match config.is_null() {
            true => Ok(()),
            false => Err(format!("its config is left: {config}")),
        }
    }

    /// A host bids for what does not run under that link name.
    pub async fn bids_beside_provider(&self) -> Checked {
        for (link_name, bids) in [(DEFAULT, 0), (LINK, 0), ("third", 1)] {
            let request = ProviderAuctionRequest {
                lattice_id: LATTICE.into(),
                provider_ref: self.stand_in(),
                link_name: link_name.into(),
                constraints: HashMap::new(),
            };
            match self.client.auction_provider(&ctx(), &request).await {
                Ok(held) if held.len() == bids => {}
                other => return Err(format!("{link_name}: {}", unexpected(other))),
            }
        }
        Ok(())
    }

    pub async fn stop_provider_refused(&self) -> Checked {
        let id = self.provider_id(&self.stand_in(), DEFAULT);
        let other = Some(HashMap::from([("managed-by".into(), "another".into())]));
        let why = "does not run there under this link name";
        refused(self.stop_provider_of(&id, LINK, None).await, why)?;
        refused(self.stop_provider_of(&id, DEFAULT, other).await, why)?;
        refused(self.stop_provider_of("nobody", DEFAULT, None).await, why)
    }

    pub async fn stop_provider(&self) -> Checked {
        let reference = self.stand_in();
        let id = self.provider_id(&reference, DEFAULT);
        let other = self.provider_id(&reference, LINK);
        accepted(self.stop_provider_of(&id, DEFAULT, noted()).await)?;
        self.providers_run(&[(&other, LINK)]).await?;
        let config = self.config(&id).await?;
        if !config.is_null() {
            return Err(format!("its config is left: {config}"));
        }
        accepted(self.stop_provider_of(&other, LINK, None).await)?;
        self.providers_run(&[]).await?;
        let again = self.stop_provider_of(&other, LINK, None).await;
        refused(again, "does not run there under this link name")
    }
}
