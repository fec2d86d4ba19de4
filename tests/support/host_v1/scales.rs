//! `component.scale`. It is answered before the work, and what it does later
//! shows in events at most.

use std::collections::BTreeMap;

use super::super::host::lattice::Fetched;
use super::super::host::running::Annotations;
use super::answers::{Answer, done};
use super::commands::{Scale, Update, read};
use super::events::Scaled;
use super::serve::Work;
use super::table::{Code, Component};
use super::{Shared, Version};

const TAKES_CONFIG: &str = "a scale without `config` took the component's configuration away";
pub const TAKES_ANNOTATIONS: &str = "an order took annotations away that it did not name";
const TAKES_LIMITS: &str = "a scale without `component_limits` took the component's limits away";
const LISTS_OTHER: &str = "a scale has the inventory list a reference whose code does not run";
pub const NAMES_OTHER_HOST: &str =
    "an order whose body names another host has its events tell that";

/// Returns whether `sent` leaves out some of these members.
pub fn leaves_out<T>(running: &BTreeMap<String, T>, sent: &BTreeMap<String, T>) -> bool {
    running.keys().any(|name| !sent.contains_key(name))
}

impl Shared {
    /// Returns the host that the events of an order name: up to 1.5 this one,
    /// later whatever the body says.
    pub fn named<'a>(&'a self, host_id: &'a str) -> &'a str {
        match self.version.believes_bodies() {
            true => host_id,
            false => &self.id,
        }
    }

    /// Answers `component.scale`.
    pub async fn take_scale(&self, body: &[u8]) -> Result<(Answer, Work), String> {
        let mut order: Scale = read(body, "component scale command")?;
        order.allow_update &= self.version >= Version::V110;
        if self.version < Version::V192 {
            order.component_limits = None;
        }
        let listed = {
            let _compiles = self.compiling.read().await;
            let state = self.state.lock().unwrap();
            let running = state.components.get(&order.component_id);
            running.map(|component| component.image_ref.clone())
        };
        let new = &order.component_ref;
        let other = listed.filter(|old| old != new);
        let message = match (&other, order.allow_update) {
            (None, _) => String::new(),
            (Some(old), false) => format!(
                "Requested to scale existing component to a different image reference: {old} != \
                 {new}. The component will be scaled but the image reference will not be \
                 updated. If you meant to update this component to a new image ref, use the \
                 update command."
            ),
            (Some(old), true) => format!(
                "Requested to scale existing component, with a changed image reference: {old} \
                 != {new}. The component will be scaled, and the image reference will be \
                 updated afterwards."
            ),
        };
        let then_update = order.allow_update && other.is_some();
        Ok((done(message), Work::Scale(order, then_update)))
    }

    /// Carries out a scale, and then the update that it asked for.
    pub async fn scale(&self, order: &Scale, then_update: bool) {
        if self.named(&order.host_id) != self.id {
            self.hurt(NAMES_OTHER_HOST);
        }
        if let Err(error) = self.try_scale(order).await {
            if self.version.says_every_failure() {
                self.say_scale_failed(order, &error).await;
            }
            return;
        }
        if then_update {
            // A scale that changed something has listed the new reference
            // already. Its update does nothing then.
            let update = Update {
                component_id: order.component_id.clone(),
                new_component_ref: order.component_ref.clone(),
                annotations: None,
                host_id: order.host_id.clone(),
            };
            self.update(&update).await;
        }
    }

    async fn try_scale(&self, order: &Scale) -> Result<(), String> {
        let code = self.fetch_component(&order.component_ref);
        if !self.version.stops_without_image() {
            code.as_ref().map_err(Clone::clone)?;
        }
        let running = {
            let state = self.state.lock().unwrap();
            state.components.get(&order.component_id).cloned()
        };
        match (running, order.count) {
            (None, 0) if self.version.says_every_failure() => {
                self.say_scaled(Scaled::by(order, code.ok().as_ref())).await;
                Ok(())
            }
            (None, 0) => Ok(()),
            (None, _) => self.start_component(order, code).await,
            (Some(running), 0) => {
                self.stop_component(order, &running, code.ok().as_ref())
                    .await;
                Ok(())
            }
            (Some(running), _) => self.rescale(order, running, code.ok().as_ref()).await,
        }
    }

    async fn start_component(
        &self,
        order: &Scale,
        code: Result<Code, String>,
    ) -> Result<(), String> {
        self.check_config(&order.config).await?;
        let code = code?;
        self.store_claims(code.artifact.as_ref()).await;
        let spec = self.ensure_spec(&order.component_id, &order.component_ref);
        if let Err(error) = spec.await {
            // The older hosts say this failure, too.
            if !self.version.says_every_failure() {
                self.say_scale_failed(order, &error).await;
            }
            return Err(error);
        }
        let _compiling = self.compiling.write().await;
        let takes = *self.compiles.lock().unwrap();
        tokio::time::sleep(takes).await;
        let component = Component {
            code: code.clone(),
            image_ref: order.component_ref.clone(),
            annotations: order.annotations.clone().unwrap_or_default(),
            config: order.config.clone(),
            limits: order.component_limits.clone(),
            max: order.count,
            heard: true,
        };
        let id = order.component_id.clone();
        self.state.lock().unwrap().components.insert(id, component);
        let mut scaled = Scaled::by(order, Some(&code));
        scaled.host_id = self.id.clone();
        self.say_scaled(scaled).await;
        if self.version.says_every_failure() {
            self.say_scaled(Scaled::by(order, Some(&code))).await;
        }
        Ok(())
    }

    async fn stop_component(&self, order: &Scale, running: &Component, code: Option<&Code>) {
        {
            let components = &mut self.state.lock().unwrap().components;
            components.remove(&order.component_id);
        }
        let scaled = Scaled::of(order, running, code);
        if self.version == Version::V100 {
            self.say_scaled(scaled.clone()).await;
        }
        self.say_scaled(scaled).await;
    }

    /// Gives a running component another maximum or other configs. Annotations,
    /// reference and limits become those of the order; the code stays.
    async fn rescale(
        &self,
        order: &Scale,
        running: Component,
        code: Option<&Code>,
    ) -> Result<(), String> {
        let other_max = running.max != order.count;
        let other_config = running.config != order.config;
        let says = self.version.says_every_failure();
        if other_config {
            self.check_config(&order.config).await?;
        }
        // The claims are those of the image that the order names; on hosts up
        // to 1.1.0, those of what runs.
        let code = if says { code } else { Some(&running.code) };
        let scaled = Scaled::of(order, &running, code);
        if other_max || other_config {
            let annotations = order.annotations.clone().unwrap_or_default();
            let limits = order.component_limits.clone();
            if order.config.is_empty() && !running.config.is_empty() {
                self.hurt(TAKES_CONFIG);
            }
            if leaves_out(&running.annotations, &annotations) {
                self.hurt(TAKES_ANNOTATIONS);
            }
            if running.limits.is_some() && limits.is_none() {
                self.hurt(TAKES_LIMITS);
            }
            if order.component_ref != running.image_ref {
                self.hurt(LISTS_OTHER);
            }
            if other_max && !says {
                self.say_scaled(scaled.clone()).await;
            }
            let entry = Component {
                code: running.code.clone(),
                image_ref: order.component_ref.clone(),
                annotations,
                config: order.config.clone(),
                limits,
                max: order.count,
                heard: true,
            };
            let id = order.component_id.clone();
            self.state.lock().unwrap().components.insert(id, entry);
            if self.version == Version::V100 {
                // The end of the instance that it replaced.
                let mut ended = scaled.clone();
                ended.max = 0;
                self.say_scaled(ended).await;
            }
        }
        if says {
            self.say_scaled(scaled).await;
        }
        Ok(())
    }

    async fn check_config(&self, names: &[String]) -> Result<(), String> {
        match self.missing_config(names).await {
            None => Ok(()),
            Some(name) => Err(format!(
                "Unable to fetch requested config: Config {name} does not exist"
            )),
        }
    }

    pub fn fetch_component(&self, image_ref: &str) -> Result<Code, String> {
        let artifact = match self.lattice.fetch(image_ref) {
            Fetched::Module(artifact) => Some(artifact),
            Fetched::Unsigned => None,
            Fetched::Missing => {
                return Err(
                    "failed to fetch component: failed to read component: No such file \
                            or directory (os error 2)"
                        .into(),
                );
            }
        };
        Ok(Code {
            image_ref: image_ref.into(),
            artifact,
        })
    }
}

impl Scaled {
    /// Makes the event of an order with the order's own members.
    fn by(order: &Scale, code: Option<&Code>) -> Self {
        Self {
            code: code.cloned(),
            annotations: order.annotations.clone().unwrap_or_default(),
            host_id: order.host_id.clone(),
            max: order.count,
            image_ref: order.component_ref.clone(),
            id: order.component_id.clone(),
        }
    }

    /// Makes the event of an order with the members of what runs.
    fn of(order: &Scale, running: &Component, code: Option<&Code>) -> Self {
        Self {
            annotations: running.annotations.clone(),
            image_ref: running.image_ref.clone(),
            ..Self::by(order, code)
        }
    }
}

/// Groups what runs of a component by annotations.
pub fn groups(running: &[&Component]) -> BTreeMap<Annotations, u64> {
    let mut groups = BTreeMap::new();
    for component in running {
        let count = groups.entry(component.annotations.clone()).or_default();
        *count += u64::from(component.max);
    }
    groups
}
