//! What others do on the host and in the lattice, and what is refused because of it.

use serde_json::{Value, json};

use super::Walk;
use crate::modules::Module;
use crate::orders::run::Ground as _;
use crate::walk::{Checked, accepted, noted, refused, shows, unexpected};

/// What a host says of a component that may run any number of times.
const UNLIMITED: u32 = u32::MAX;

impl Walk<'_> {
    /// Has the host scale a component as somebody else would, and waits until it shows it.
    async fn somebody_scales(&self, id: &str, count: u32, more: Value) -> Checked {
        let mut body = json!({
            "component_id": id, "component_ref": self.reference(1), "count": count,
            "config": [], "annotations": {}, "host_id": self.host(),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.somebody(&format!("component.scale.{}", self.host()), &body)
            .await?;
        shows(async || {
            let listed = self.component(id).await?;
            match listed["max_instances"].as_u64().unwrap_or(0) == u64::from(count) {
                true => Ok(()),
                false => Err(unexpected(listed)),
            }
        })
        .await
    }

    /// Returns what the host itself says of a component.
    async fn component(&self, id: &str) -> Result<Value, String> {
        let question = format!("host.get.{}", self.host());
        let mut inventory = self.somebody(&question, &Value::Null).await?;
        let components = inventory["components"].as_array_mut();
        let mut components = components.into_iter().flatten();
        let found = components.find(|component| component["id"] == id);
        Ok(found.map(Value::take).unwrap_or_default())
    }

    /// Limits stay with a scale, and what runs without limit is no number.
    pub async fn limits_of_others(&self) -> Checked {
        let limits = json!({"max_memory_limit": "33554432"});
        let limited = json!({"component_limits": limits});
        self.somebody_scales("limited", 1, limited).await?;
        let reference = self.reference(1);
        accepted(self.scale_of("limited", &reference, 2, None).await)?;
        let listed = self.component("limited").await?;
        if listed["max_instances"] != 2 || listed["limits"] != limits {
            return Err(unexpected(listed));
        }
        self.somebody_scales("limited", UNLIMITED, json!({}))
            .await?;
        let stopped = self.stop_of("limited", 1, None).await;
        refused(stopped, "it runs without limit there")?;
        let actors = self.inventory().await?.actors;
        let mut limited = actors.iter().filter(|actor| actor.id == "limited");
        match limited.next() {
            Some(actor) if actor.instances.len() == 1 => {}
            other => return Err(unexpected(other)),
        }
        accepted(self.stop_of("limited", 0, None).await)
    }

    /// Once somebody has updated a component, its old code answers until the host ends.
    pub async fn updated_by_others(&self) -> Checked {
        let (one, two) = (self.reference(1), self.reference(2));
        accepted(self.scale_of("spoiled", &one, 1, None).await)?;
        let update = json!({
            "component_id": "spoiled", "new_component_ref": two, "host_id": self.host(),
        });
        self.somebody(&format!("component.update.{}", self.host()), &update)
            .await?;
        shows(async || {
            let listed = self.component("spoiled").await?;
            match listed["image_ref"] == *two {
                true => Ok(()),
                false => Err(unexpected(listed)),
            }
        })
        .await?;
        let why = "another client updated component spoiled there";
        refused(self.scale_of("spoiled", &two, 2, None).await, why)?;
        refused(self.update_of("spoiled", &two, None).await, why)?;
        refused(self.stop_of("spoiled", 0, None).await, why)?;
        self.somebody_scales("spoiled", 0, json!({})).await?;
        refused(self.scale_of("spoiled", &two, 1, None).await, why)?;
        let answers = self.site.answers("spoiled").await.unwrap_or_default();
        match answers.keys().eq(["R1"]) {
            true => Ok(()),
            false => Err(format!("it is not spoiled: {answers:?}")),
        }
    }

    /// A registry that says nothing is waited for without end.
    pub async fn silent_registry(&self) -> Checked {
        let silent = Module::component(self.site.registry.clone(), "silent/shop");
        let reference = silent.reference(1);
        accepted(self.start_of(&reference, 1, None).await)?;
        let again = self.start_of(&reference, 1, None).await;
        refused(again, "nothing was sent: try again")?;
        match self.give_login().await {
            Err(error) if error.to_string().contains("may still download") => {}
            other => return Err(unexpected(other)),
        }
        let two = self.reference(2);
        accepted(self.scale_of(&self.shop, &two, 4, noted()).await)?;
        self.runs(4, 2).await?;
        accepted(self.scale_of(&self.shop, &two, 3, noted()).await)?;
        self.runs(3, 2).await?;
        self.site.registry.hang_up();
        shows(async || {
            let again = self.start_of(&reference, 1, None).await;
            refused(again, "could not carry it out")
        })
        .await
    }

    /// What wadm manages is left alone, also where somebody else could stop it.
    pub async fn managed_by_wadm(&self) -> Checked {
        let (one, two) = (self.reference(1), self.reference(2));
        let manages = json!({"annotations": {"wasmcloud.dev/managed-by": "wadm"}});
        self.somebody_scales("managed", 1, manages.clone()).await?;
        let why = "managed by wadm: change its manifest";
        refused(self.scale_of("managed", &one, 2, None).await, why)?;
        refused(self.update_of("managed", &two, None).await, why)?;
        refused(self.stop_of("managed", 0, None).await, why)?;
        self.somebody_scales("managed", 0, manages).await
    }

    /// A scale would take a configuration that nobody can read.
    pub async fn config_of_others(&self) -> Checked {
        let two = self.reference(2);
        self.somebody("config.put.theirs", &json!({"a": "b"}))
            .await?;
        let why = "take the configuration from a component that is scaled";
        let scaled = self.scale_of(&self.shop, &two, 3, noted()).await;
        refused(scaled, why)?;
        let started = self.start_of(&two, 1, noted()).await;
        refused(started, why)?;
        let updated = self
            .update_of(&self.shop, &self.reference(3), noted())
            .await;
        refused(updated, why)?;
        let stopped = self.stop_of(&self.shop, 1, noted()).await;
        refused(stopped, why)?;
        self.runs(2, 2).await?;
        self.somebody("config.del.theirs", &json!({})).await?;
        accepted(self.scale_of(&self.shop, &two, 3, noted()).await)?;
        self.runs(3, 2).await
    }
}
