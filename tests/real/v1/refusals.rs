//! What a host of 1.x would do otherwise than was asked, or to something else: each is
//! refused with its reason, and what runs stays as it is.

use std::collections::HashMap;

use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use wasmcloud_interface_lattice_control::*;

use crate::support::world::ctx;
use crate::v1::site::LATTICE;
use crate::v1::walk::{NAME, Walk, noted, refused, unexpected};
use crate::walk::{Checked, accepted, shows};

impl Walk<'_> {
    /// Three of revision 2 run when this begins, and when it ends.
    pub async fn refusals(&mut self) {
        let checked = self.other_annotations().await;
        self.check("StartActor with other annotations", checked);
        let checked = self.other_reference().await;
        self.check("orders with another reference", checked);
        let checked = self.unknown_key().await;
        self.check("an order with a key that nobody knows", checked);
        let checked = self.start_that_fails().await;
        self.check("StartActor of an image that is not there", checked);
        let checked = self.of_wadm().await;
        self.check("orders about what wadm manages", checked);
        let checked = self.with_configuration().await;
        self.check("orders about what may have a configuration", checked);
        let checked = self.limits().await;
        self.check("ScaleActor of a component with limits", checked);
        let checked = self.links().await;
        self.check("operations on links", checked);
        let checked = self.bindle().await;
        self.check("SetRegistryCredentials of a bindle server", checked);
        let checked = self.updated_by_others().await;
        self.check("orders about what another client updated", checked);
        let checked = self.runs(3, 2).await;
        self.check("what runs after all refusals", checked);
    }

    async fn other_annotations(&self) -> Checked {
        let image = self.site.image(NAME, 2);
        let other = Some(HashMap::from([("a".to_owned(), "b".to_owned())]));
        refused(self.start_from(&image, 1, None).await, "one set")?;
        refused(self.start_from(&image, 1, other).await, "one set")
    }

    async fn other_reference(&self) -> Checked {
        refused(self.scale(&self.id, 1, 4).await, "use UpdateActor")?;
        let image = self.site.image(NAME, 1);
        refused(self.start_from(&image, 1, noted()).await, "use UpdateActor")
    }

    async fn unknown_key(&self) -> Checked {
        let key = KeyPair::new(KeyPairType::Module).public_key();
        let why = "by the id that they were started with";
        refused(self.stop(&key, 0).await, why)?;
        refused(self.update(&key, &self.site.image(NAME, 1)).await, why)
    }

    async fn start_that_fails(&self) -> Checked {
        let image = self.site.missing_image("nowhere", 1);
        refused(
            self.start_from(&image, 1, None).await,
            "could not carry it out",
        )
    }

    /// Has another client start a component, and waits until the host lists it.
    async fn somebody_starts(&self, id: &str, more: Value) -> Checked {
        let mut order = json!({ "component_id": id, "component_ref": self.site.image(NAME, 1),
            "count": 1, "host_id": self.host() });
        let members = more.as_object().cloned().unwrap_or_default();
        order.as_object_mut().unwrap().extend(members);
        self.somebody_orders("scale", &order).await?;
        self.is_listed(id, 1).await
    }

    async fn somebody_orders(&self, verb: &str, order: &Value) -> Checked {
        let subject = format!("component.{verb}.{}", self.host());
        let ack = self.site.tell(&subject, order).await;
        match ack["success"] == true {
            true => Ok(()),
            false => Err(unexpected(ack)),
        }
    }

    async fn is_listed(&self, id: &str, count: u64) -> Checked {
        shows(
            async || match self.listed(id).await["max_instances"].as_u64() {
                Some(listed) if listed == count => Ok(()),
                other => Err(format!("{id} has {other:?}")),
            },
        )
        .await
    }

    /// Returns what the host lists under an id.
    async fn listed(&self, id: &str) -> Value {
        let get = format!("host.get.{}", self.host());
        let raw = self.site.tell(&get, &Value::Null).await;
        let components = raw["response"]["components"].as_array();
        let mut components = components.into_iter().flatten();
        components
            .find(|one| one["id"] == id)
            .cloned()
            .unwrap_or_default()
    }

    async fn of_wadm(&self) -> Checked {
        let managed = json!({ "annotations": { "wasmcloud.dev/managed-by": "wadm" } });
        self.somebody_starts("of_wadm", managed).await?;
        let why = "managed by wadm";
        refused(self.scale("of_wadm", 1, 2).await, why)?;
        refused(self.stop("of_wadm", 0).await, why)?;
        refused(self.update("of_wadm", &self.site.image(NAME, 2)).await, why)?;
        self.is_listed("of_wadm", 1).await
    }

    async fn with_configuration(&self) -> Checked {
        self.site
            .tell("config.put.theirs", &json!({ "a": "b" }))
            .await;
        let with = json!({ "config": ["theirs"] });
        self.somebody_starts("configured", with).await?;
        let why = "configured_components";
        refused(self.scale("configured", 1, 2).await, why)?;
        let image = self.site.image(NAME, 2);
        refused(self.update("configured", &image).await, why)?;
        accepted(self.stop("configured", 0).await)?;
        self.site.tell("config.del.theirs", &Value::Null).await;
        Ok(())
    }

    async fn limits(&self) -> Checked {
        let limits = json!({ "component_limits": { "max_execution_time": "5000" } });
        self.somebody_starts("limited", limits).await?;
        let before = self.listed("limited").await["limits"].clone();
        accepted(self.scale("limited", 1, 3).await)?;
        self.is_listed("limited", 3).await?;
        let after = self.listed("limited").await["limits"].clone();
        match before == after {
            true => accepted(self.stop("limited", 0).await),
            false => Err(format!("{before} became {after}")),
        }
    }

    async fn links(&self) -> Checked {
        let why = "does not control their links";
        let listed = self.client.get_links(&ctx(), LATTICE).await;
        if !listed
            .as_ref()
            .is_err_and(|error| error.to_string().contains(why))
        {
            return Err(unexpected(listed));
        }
        let request = RemoveLinkDefinitionRequest {
            lattice_id: LATTICE.into(),
            actor_id: KeyPair::new(KeyPairType::Module).public_key(),
            contract_id: "a:b".into(),
            link_name: "default".into(),
        };
        refused(self.client.remove_link(&ctx(), &request).await, why)
    }

    async fn bindle(&self) -> Checked {
        match self.registries("bindle").await {
            Err(error) if error.contains("OCI registries only") => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn updated_by_others(&self) -> Checked {
        self.somebody_starts("updated", json!({})).await?;
        let order = json!({ "component_id": "updated", "host_id": self.host(),
            "new_component_ref": self.site.image(NAME, 2) });
        self.somebody_orders("update", &order).await?;
        let image = json!(self.site.image(NAME, 2));
        shows(
            async || match self.listed("updated").await["image_ref"] == image {
                true => Ok(()),
                false => Err("it is not updated".into()),
            },
        )
        .await?;
        let why = "another client updated component";
        refused(self.update("updated", &self.site.image(NAME, 3)).await, why)?;
        refused(self.stop("updated", 0).await, why)
    }
}
