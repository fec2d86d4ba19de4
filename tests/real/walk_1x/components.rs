//! Components: started, scaled, updated and stopped.

use std::collections::HashMap;

use futures::future::join_all;
use nkeys::{KeyPair, KeyPairType};

use super::{Annotations, Walk};
use crate::orders::run::Ground as _;
use crate::walk::{Checked, accepted, noted, refused, shows, unexpected};

/// A tag that the registry does not have.
const MISSING: &str = "9.9.9";

impl Walk<'_> {
    pub fn reference(&self, revision: u32) -> String {
        self.module().reference(revision)
    }

    fn missing(&self) -> String {
        let reference = self.reference(1);
        let (repository, _) = reference.rsplit_once(':').unwrap();
        format!("{repository}:{MISSING}")
    }

    /// Checks that so many show with what the walk started them with, and that only this
    /// revision answers calls.
    pub async fn runs(&self, count: usize, revision: u32) -> Checked {
        let reference = self.reference(revision);
        shows(async || {
            let inventory = self.inventory().await?;
            let mut actors = inventory.actors.iter();
            let actor = actors.find(|actor| actor.id == self.shop);
            let listed = actor.is_some_and(|actor| {
                let mut instances = actor.instances.iter();
                actor.image_ref.as_ref() == Some(&reference)
                    && actor.instances.len() == count
                    && instances
                        .all(|one| one.annotations == noted() && one.revision == revision as i32)
            });
            let answers = self.site.answers(&self.shop).await.unwrap_or_default();
            match listed && answers.keys().eq([&format!("R{revision}")]) {
                true => Ok(()),
                false => Err(format!("answers {answers:?}, {}", unexpected(actor))),
            }
        })
        .await
    }

    pub async fn start(&self) -> Checked {
        accepted(self.start_of(&self.reference(1), 2, noted()).await)?;
        self.runs(2, 1).await
    }

    pub async fn start_again(&self) -> Checked {
        accepted(self.start_of(&self.reference(1), 3, noted()).await)?;
        self.runs(5, 1).await
    }

    pub async fn start_refused(&self) -> Checked {
        let one_set = "it runs with other annotations, and hosts of wasmCloud 1.x keep one set";
        let other = self.start_of(&self.reference(1), 1, other()).await;
        refused(other, one_set)?;
        let none = self.start_of(&self.reference(1), 1, None).await;
        refused(none, one_set)?;
        let update = self.start_of(&self.reference(2), 1, noted()).await;
        refused(update, "use UpdateActor")?;
        self.runs(5, 1).await
    }

    /// A host decides by what it has at the moment, and one start is decided by the other.
    pub async fn starts_and_stops_at_once(&self) -> Checked {
        let one = self.reference(1);
        let starts = (0..8).map(|_| self.start_of(&one, 1, noted()));
        for started in join_all(starts).await {
            accepted(started)?;
        }
        self.runs(13, 1).await?;
        let stops = (0..8).map(|_| self.stop_of(&self.shop, 1, noted()));
        for stopped in join_all(stops).await {
            accepted(stopped)?;
        }
        self.runs(5, 1).await
    }

    /// The code must be the new one: `component.update` would leave the old one.
    pub async fn scale_and_update(&self) -> Checked {
        let (one, two) = (self.reference(1), self.reference(2));
        accepted(self.scale_of(&self.shop, &one, 4, noted()).await)?;
        accepted(self.update_of(&self.shop, &two, noted()).await)?;
        self.runs(4, 2).await
    }

    pub async fn scale_refused(&self) -> Checked {
        let (one, two) = (self.reference(1), self.reference(2));
        let old = self.scale_of(&self.shop, &one, 2, noted()).await;
        refused(old, "use UpdateActor")?;
        let other = self.scale_of(&self.shop, &two, 2, other()).await;
        refused(other, "keep one set")?;
        self.runs(4, 2).await
    }

    pub async fn update_that_fails(&self) -> Checked {
        let updated = self.update_of(&self.shop, &self.missing(), noted()).await;
        refused(updated, "again: ")?;
        self.runs(4, 2).await
    }

    pub async fn update_refused(&self) -> Checked {
        let one = self.reference(1);
        let other = self.update_of(&self.shop, &one, other()).await;
        refused(other, "nothing matches")?;
        let unknown = self.update_of("nobody", &one, None).await;
        refused(unknown, "component nobody is not running there")?;
        self.runs(4, 2).await
    }

    pub async fn stop_some(&self) -> Checked {
        accepted(self.stop_of(&self.shop, 1, noted()).await)?;
        self.runs(3, 2).await
    }

    /// Events of the host told which id its key has.
    pub async fn stop_by_key(&self) -> Checked {
        let key = self.module().key();
        accepted(self.stop_of(&key, 1, None).await)?;
        self.runs(2, 2).await
    }

    pub async fn stop_refused(&self) -> Checked {
        let other = self.stop_of(&self.shop, 1, other()).await;
        refused(other, "nothing matches")?;
        let unknown = self.stop_of("nobody", 0, None).await;
        refused(unknown, "component nobody is not running there")?;
        let key = KeyPair::new(KeyPairType::Module).public_key();
        let why = "by the id that they were started with";
        refused(self.stop_of(&key, 0, None).await, why)?;
        refused(self.update_of(&key, &self.reference(1), None).await, why)?;
        self.runs(2, 2).await
    }

    pub async fn start_that_fails(&self) -> Checked {
        let nobody = format!("{}/real/nobody:1", self.site.registry.address);
        let started = self.start_of(&nobody, 1, None).await;
        refused(started, "could not carry it out")?;
        match self.inventory().await?.actors.len() {
            1 => Ok(()),
            _ => Err("something else runs".into()),
        }
    }

    /// An id that the caller names, a key as well, is the id on hosts of 1.x.
    pub async fn any_id(&self) -> Checked {
        let one = self.reference(1);
        let key = KeyPair::new(KeyPairType::Module).public_key();
        for id in ["Shop-2_b", &key] {
            accepted(self.scale_of(id, &one, 1, None).await)?;
            shows(async || {
                let answers = self.site.answers(id).await.unwrap_or_default();
                match answers.keys().eq(["R1"]) {
                    true => Ok(()),
                    false => Err(format!("{id} answers {answers:?}")),
                }
            })
            .await?;
            accepted(self.scale_of(id, &one, 0, None).await)?;
            shows(async || match self.site.answers(id).await {
                Some(answers) if answers.is_empty() => Ok(()),
                answers => Err(format!("{id} answers {answers:?}")),
            })
            .await?;
        }
        let never = self.scale_of("not an id", &one, 1, None).await;
        refused(never, "component or provider id")
    }

    pub async fn scale_beside_provider(&self) -> Checked {
        let two = self.reference(2);
        accepted(self.scale_of(&self.shop, &two, 2, noted()).await)?;
        self.runs(2, 2).await
    }

    pub async fn stop_all(&self) -> Checked {
        accepted(self.stop_of(&self.shop, 0, noted()).await)?;
        shows(async || match self.site.answers(&self.shop).await {
            Some(answers) if answers.is_empty() => Ok(()),
            answers => Err(format!("answers {answers:?}")),
        })
        .await
    }
}

fn other() -> Annotations {
    Some(HashMap::from([("managed-by".into(), "another".into())]))
}
