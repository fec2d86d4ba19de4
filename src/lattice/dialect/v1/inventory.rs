//! What runs on a host of 1.x, as it lists it, and what of that the model shows.
//!
//! A host has one entry for each component: a maximum and one set of annotations. It knows
//! neither instances nor link names; both are made up here, the same from call to call.

use serde::Deserialize;
use uuid::Uuid;

use crate::lattice::dialect::v1::ids::DEFAULT_LINK_NAME;
use crate::lattice::model::lenient::{list, optional_text, optional_text_map, revision, text_map};
use crate::lattice::model::{self, Actor, ActorInstance, TextMap};

/// Annotation that holds the link name of a provider that was started under another than
/// the default. Inventories do not show it.
pub const LINK_NAME: &str = "lattice-controller/link-name";
/// Annotation of what wadm starts, and its value.
const MANAGED_BY: (&str, &str) = ("wasmcloud.dev/managed-by", "wadm");
/// The maximum that means "without limit".
pub const UNLIMITED: u32 = u32::MAX;
/// The namespace of the ids of instances.
const INSTANCES: Uuid = Uuid::from_u128(0x0f5c_1b8e_7d0a_4c55_9a43_6e2d_51c1_a9f3);

/// What runs on a host.
#[derive(Debug, Default, Deserialize)]
pub struct Inventory {
    /// Labels.
    #[serde(default, deserialize_with = "text_map")]
    pub labels: TextMap,
    /// Components. The member is required: it tells an inventory from other answers.
    #[serde(deserialize_with = "list")]
    pub components: Vec<Component>,
    /// Providers.
    #[serde(default, deserialize_with = "list")]
    pub providers: Vec<Provider>,
}

/// A component in an inventory.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Component {
    /// Id that it was started with.
    pub id: String,
    /// Image reference, as it was given.
    #[serde(default, deserialize_with = "model::lenient::text_or_empty")]
    pub image_ref: String,
    /// Annotations.
    #[serde(default, deserialize_with = "text_map")]
    pub annotations: TextMap,
    /// Revision, 0 where it is not signed.
    #[serde(default, deserialize_with = "revision")]
    pub revision: i32,
    /// How many may run at once.
    pub max_instances: u32,
    /// Name, where it is signed.
    #[serde(default, deserialize_with = "optional_text")]
    pub name: Option<String>,
    /// Limits of memory and time, from 1.9 on.
    #[serde(default, deserialize_with = "optional_text_map")]
    pub limits: Option<TextMap>,
}

/// A provider in an inventory.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Provider {
    /// Id that it was started with.
    pub id: String,
    /// Image reference, from 1.5 on without its scheme.
    #[serde(default, deserialize_with = "optional_text")]
    pub image_ref: Option<String>,
    /// Annotations, with [`LINK_NAME`].
    #[serde(default, deserialize_with = "text_map")]
    pub annotations: TextMap,
    /// Revision, 0 where it is not signed.
    #[serde(default, deserialize_with = "revision")]
    pub revision: i32,
    /// Name, where it is signed.
    #[serde(default, deserialize_with = "optional_text")]
    pub name: Option<String>,
}

impl Inventory {
    /// Finds the component with this id.
    pub fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }

    /// Finds the provider with this id.
    pub fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// Turns it into the inventory of the model, as that of this host.
    pub fn into_model(self, host: &str) -> model::Inventory {
        model::Inventory {
            host_id: host.to_owned(),
            labels: self.labels,
            actors: self.components.into_iter().map(Into::into).collect(),
            providers: self.providers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Component> for Actor {
    fn from(component: Component) -> Self {
        let maximum = ActorInstance::with_maximum(
            component.max_instances,
            component.revision,
            component.annotations,
        );
        Self {
            id: component.id,
            image_ref: Some(component.image_ref),
            name: component.name,
            instances: vec![maximum],
        }
    }
}

impl From<Provider> for model::Provider {
    fn from(provider: Provider) -> Self {
        let link_name = link_name(&provider.annotations).to_owned();
        Self {
            id: provider.id,
            link_name,
            image_ref: provider.image_ref,
            name: provider.name,
            revision: provider.revision,
            annotations: Some(without_link_name(provider.annotations)),
        }
    }
}

/// Tells whether wadm manages what has these annotations.
pub fn is_managed_by_wadm(annotations: &TextMap) -> bool {
    let (name, value) = MANAGED_BY;
    annotations.get(name).is_some_and(|found| found == value)
}

/// Returns the link name of a provider with these annotations.
pub fn link_name(annotations: &TextMap) -> &str {
    let name = annotations.get(LINK_NAME);
    name.map_or(DEFAULT_LINK_NAME, String::as_str)
}

/// Returns the annotations of a provider that are its starter's.
pub fn without_link_name(mut annotations: TextMap) -> TextMap {
    annotations.remove(LINK_NAME);
    annotations
}

/// Returns how many instances an entry of an inventory stands for. One that may run
/// without limit counts as one.
pub fn instances_of(entry: &ActorInstance) -> u32 {
    let maximum = entry.maximum();
    maximum.filter(|n| *n < UNLIMITED).unwrap_or(1)
}

/// Makes the id of an instance, which hosts of 1.x have none for: the same for the same
/// host, component and place among its instances.
pub fn instance_id(host: &str, component: &str, index: u32) -> String {
    // Neither a host nor an index has a slash.
    let name = format!("{host}/{index}/{component}");
    Uuid::new_v5(&INSTANCES, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::lattice::model::lenient::parse;

    fn inventory(components: &str, providers: &str) -> Inventory {
        let text = format!(r#"{{"components":{components},"providers":{providers}}}"#);
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_component_is_an_actor_with_a_maximum() {
        let components = r#"[{"id":"shop","image_ref":"r/shop:1","annotations":{"a":"b"},
            "revision":4,"max_instances":3,"name":"Shop","limits":{"max_memory_limit":"7"}},
            {"id":"all","max_instances":4294967295,"limits":null},{"id":"odd"},7]"#;
        let inventory = inventory(components, "[]");
        let shop = inventory.component("shop").unwrap();
        assert_eq!(shop.limits.as_ref().unwrap()["max_memory_limit"], "7");
        assert!(inventory.component("odd").is_none());
        let model = inventory.into_model("N1");
        let [shop, all] = model.actors.as_slice() else {
            panic!("{model:?}");
        };
        assert_eq!(
            (shop.id.as_str(), shop.name.as_deref()),
            ("shop", Some("Shop"))
        );
        assert_eq!(shop.image_ref.as_deref(), Some("r/shop:1"));
        let [entry] = shop.instances.as_slice() else {
            panic!("{shop:?}");
        };
        assert_eq!((entry.revision, instances_of(entry)), (4, 3));
        assert_eq!(entry.annotations.as_ref().unwrap()["a"], "b");
        assert_eq!(instances_of(&all.instances[0]), 1);
    }

    #[test]
    fn the_link_name_of_a_provider_is_in_an_annotation_that_is_not_shown() {
        let providers = r#"[{"id":"kv-a_b","annotations":{"lattice-controller/link-name":"a.b",
            "x":"y"}},{"id":"kv","image_ref":"/srv/kv.par","annotations":null,"revision":7}]"#;
        let model = inventory("[]", providers).into_model("N1");
        let [linked, plain] = model.providers.as_slice() else {
            panic!("{model:?}");
        };
        assert_eq!(linked.link_name, "a.b");
        let shown = TextMap::from([("x".into(), "y".into())]);
        assert_eq!(linked.annotations.as_ref(), Some(&shown));
        assert_eq!((plain.link_name.as_str(), plain.revision), ("default", 7));
    }

    #[test]
    fn ids_of_instances_stay_and_differ() {
        let id = instance_id("N1", "shop", 0);
        assert_eq!(id, instance_id("N1", "shop", 0));
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'5'), "{id}");
        let others = [("N2", "shop", 0), ("N1", "shop2", 0), ("N1", "shop", 1)];
        let mut ids: HashSet<String> = others.map(|(h, c, i)| instance_id(h, c, i)).into();
        assert!(ids.insert(id) && ids.len() == 4);
    }

    #[test]
    fn what_wadm_manages_says_so() {
        let annotated = |value: &str| TextMap::from([(MANAGED_BY.0.into(), value.into())]);
        assert!(is_managed_by_wadm(&annotated("wadm")));
        assert!(!is_managed_by_wadm(&annotated("me")));
        assert!(!is_managed_by_wadm(&TextMap::new()));
    }
}
