//! `component.update`. It is answered before the work. From 1.0.1 on the old
//! code goes on running while the inventory shows the new reference.

use super::answers::{Answer, done};
use super::commands::{Update, read};
use super::events::Scaled;
use super::scales::{NAMES_OTHER_HOST, TAKES_ANNOTATIONS, leaves_out};
use super::serve::Work;
use super::table::Component;
use super::{Shared, Version};

const KEEPS_OLD_CODE: &str = "an update left the old code running, for as long as the host lives";

impl Shared {
    /// Answers `component.update`.
    pub async fn take_update(&self, body: &[u8]) -> Result<(Answer, Option<Work>), String> {
        let order: Update = read(body, "component update command")?;
        let (id, new) = (&order.component_id, &order.new_component_ref);
        if self.version == Version::V100 {
            return Ok((done(""), Some(Work::Update(order))));
        }
        let listed = {
            let _compiles = self.compiling.read().await;
            let state = self.state.lock().unwrap();
            let running = state.components.get(id);
            running.map(|component| component.image_ref.clone())
        };
        let old = listed.ok_or_else(|| format!("component {id} not found"))?;
        if old == *new {
            let words = format!("component {id} already updated to {new}");
            return Ok((done(words), None));
        }
        let words = format!("component {id} updating from {old} to {new}");
        Ok((done(words), Some(Work::Update(order))))
    }

    /// Carries out an update. What fails shows nowhere.
    pub async fn update(&self, order: &Update) {
        let id = &order.component_id;
        let running = {
            let state = self.state.lock().unwrap();
            state.components.get(id).cloned()
        };
        let replaces = !self.version.keeps_old_code();
        let Some(running) = running.filter(|r| replaces || r.image_ref != order.new_component_ref)
        else {
            return;
        };
        let Ok(code) = self.fetch_component(&order.new_component_ref) else {
            return;
        };
        if self.named(&order.host_id) != self.id {
            self.hurt(NAMES_OTHER_HOST);
        }
        self.store_claims(code.artifact.as_ref()).await;
        let annotations = order.annotations.clone().unwrap_or_default();
        if leaves_out(&running.annotations, &annotations) {
            self.hurt(TAKES_ANNOTATIONS);
        }
        let updated = Component {
            code: code.clone(),
            image_ref: order.new_component_ref.clone(),
            annotations,
            // The host stops the calls of the code that it has just started,
            // and not those of the old code.
            heard: replaces,
            ..running.clone()
        };
        let mut new = Scaled {
            code: Some(code),
            annotations: updated.annotations.clone(),
            host_id: order.host_id.clone(),
            max: updated.max,
            image_ref: updated.image_ref.clone(),
            id: id.clone(),
        };
        if replaces {
            new.annotations = running.annotations.clone();
            self.say_scaled(new).await;
            let mut old = Scaled::of_update(order, &running);
            old.max = 0;
            self.say_scaled(old.clone()).await;
            self.say_scaled(old).await;
        } else {
            self.hurt(KEEPS_OLD_CODE);
            self.say_scaled(new.clone()).await;
            new.max = 0;
            self.say_scaled(new).await;
        }
        let state = &mut *self.state.lock().unwrap();
        state.components.insert(id.clone(), updated);
        if !replaces && running.heard {
            state.left.push((id.clone(), running));
        }
    }
}

impl Scaled {
    /// Makes the event of an update with the members of what ran before it.
    fn of_update(order: &Update, running: &Component) -> Self {
        Self {
            code: Some(running.code.clone()),
            annotations: running.annotations.clone(),
            host_id: order.host_id.clone(),
            max: running.max,
            image_ref: running.image_ref.clone(),
            id: order.component_id.clone(),
        }
    }
}
