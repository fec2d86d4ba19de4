//! Actors whose answer to any call is their revision: `R1`, `R2` and so on.

use std::path::{Path, PathBuf};

use wasmbus_rpc::wascap::prelude::KeyPair;
use wasmbus_rpc::wascap::wasm::sign_buffer_with_claims;

/// An actor: one key and any number of revisions, each of which is a file.
pub struct Module {
    key: KeyPair,
    account: KeyPair,
}

impl Module {
    pub fn new() -> Self {
        Self {
            key: KeyPair::new_module(),
            account: KeyPair::new_account(),
        }
    }

    pub fn key(&self) -> String {
        self.key.public_key()
    }

    /// Returns the reference of a revision, and makes its file where it is not
    /// there yet.
    pub fn reference(&self, folder: &Path, revision: u32) -> String {
        let path: PathBuf = folder.join(format!("{}_{revision}.wasm", self.key()));
        if !path.exists() {
            // The file appears as a whole, since a host may read it meanwhile.
            let part = path.with_extension("part");
            std::fs::write(&part, self.bytes(revision)).unwrap();
            std::fs::rename(&part, &path).unwrap();
        }
        format!("file://{}", path.display())
    }

    fn bytes(&self, revision: u32) -> Vec<u8> {
        let answer = format!("R{revision}");
        let length = answer.len();
        let text = format!(
            r#"(module
                 (import "wasmbus" "__guest_response" (func $answer (param i32 i32)))
                 (memory (export "memory") 1)
                 (data (i32.const 0) "{answer}")
                 (func (export "__guest_call") (param i32 i32) (result i32)
                   (call $answer (i32.const 0) (i32.const {length}))
                   (i32.const 1)))"#
        );
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
