//! Compiles the Smithy model in `smithy/` into the Rust types and the service
//! trait of the contract. Needs no network.

use anyhow::{Context as _, anyhow};

fn main() -> anyhow::Result<()> {
    let out = std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?;
    weld_codegen::rust_build_into("smithy/codegen.toml", out)
        .map_err(|error| anyhow!("smithy/: {error}"))
}
