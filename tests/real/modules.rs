//! Actors whose answer to any call is their revision: `R1`, `R2` and so on.

use std::path::PathBuf;
use std::sync::Arc;

use wasmbus_rpc::wascap::prelude::KeyPair;
use wasmbus_rpc::wascap::wasm::sign_buffer_with_claims;

use crate::registry::Registry;

/// The function of a component that returns its revision.
pub const INSTANCE: &str = "test:revision/get";
pub const FUNCTION: &str = "revision";

/// An actor, which hosts of 1.x call a component: one key and any number of revisions.
pub struct Module {
    key: KeyPair,
    account: KeyPair,
    source: Source,
}

/// Where hosts get the revisions from.
enum Source {
    /// Hosts of 0.x: files in a folder.
    Folder(PathBuf),
    /// Hosts of 1.x: tags of a repository. Files of two revisions would be two components
    /// for the provider.
    Repository(Arc<Registry>, String),
}

impl Module {
    /// Makes an actor for hosts of 0.x.
    pub fn actor(folder: PathBuf) -> Self {
        Self::with(Source::Folder(folder))
    }

    /// Makes a component for hosts of 1.x.
    pub fn component(registry: Arc<Registry>, repository: &str) -> Self {
        Self::with(Source::Repository(registry, repository.to_owned()))
    }

    fn with(source: Source) -> Self {
        Self {
            key: KeyPair::new_module(),
            account: KeyPair::new_account(),
            source,
        }
    }

    /// Returns what it is called where it runs: its key, or what the provider makes of its
    /// repository.
    pub fn id(&self) -> String {
        match &self.source {
            Source::Folder(_) => self.key(),
            Source::Repository(registry, repository) => {
                plain(&format!("{}/{repository}", registry.address))
            }
        }
    }

    /// Returns its public key.
    pub fn key(&self) -> String {
        self.key.public_key()
    }

    /// Returns the reference of a revision, and puts it there where it is not yet.
    pub fn reference(&self, revision: u32) -> String {
        match &self.source {
            Source::Folder(folder) => {
                let path = folder.join(format!("{}_{revision}.wasm", self.key()));
                if !path.exists() {
                    // The file appears as a whole, since a host may read it meanwhile.
                    let part = path.with_extension("part");
                    std::fs::write(&part, self.bytes(&actor_text(revision), revision)).unwrap();
                    std::fs::rename(&part, &path).unwrap();
                }
                format!("file://{}", path.display())
            }
            Source::Repository(registry, repository) => {
                let bytes = self.bytes(&component_text(revision), revision);
                registry.push(repository, &revision.to_string(), bytes)
            }
        }
    }

    fn bytes(&self, text: &str, revision: u32) -> Vec<u8> {
        let module = wat::parse_str(text).unwrap();
        let again = |key: &KeyPair| KeyPair::from_seed(&key.seed().unwrap()).unwrap();
        sign_buffer_with_claims(
            "revision".into(),
            module,
            again(&self.key),
            again(&self.account),
            None,
            None,
            Vec::new(),
            Vec::new(),
            false,
            Some(revision as i32),
            Some(format!("0.{revision}.0")),
            None,
        )
        .unwrap()
    }
}

/// Returns a text with `_` for what ids are not made of, as the provider derives them.
pub fn plain(text: &str) -> String {
    let character = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    text.chars().map(character).collect()
}

fn actor_text(revision: u32) -> String {
    let answer = format!("R{revision}");
    let length = answer.len();
    format!(
        r#"(module
             (import "wasmbus" "__guest_response" (func $answer (param i32 i32)))
             (memory (export "memory") 1)
             (data (i32.const 0) "{answer}")
             (func (export "__guest_call") (param i32 i32) (result i32)
               (call $answer (i32.const 0) (i32.const {length}))
               (i32.const 1)))"#
    )
}

/// A component needs an export: for one without, hosts spin.
fn component_text(revision: u32) -> String {
    format!(
        r#"(component
             (core module $code (func (export "f") (result i32) i32.const {revision}))
             (core instance $instance (instantiate $code))
             (func $f (result u32) (canon lift (core func $instance "f")))
             (instance $exported (export "{FUNCTION}" (func $f)))
             (export "{INSTANCE}" (instance $exported)))"#
    )
}
