//! Packs the lattice controller into a provider archive as hosts up to 0.82 read
//! it, and takes archives to a registry and back: what `make par`, `inspect` and
//! `push` use where there is no `wash`.
//!
//! - [`keys`]: who signs, and who the provider is
//! - [`archive`]: packing and reading
//! - [`registry`]: pushing and pulling

#![forbid(unsafe_code)]

mod archive;
mod keys;
mod registry;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Packs a capability provider into an archive, and takes it to a registry.
#[derive(Parser)]
#[command(name = "par", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes sure that there are keys, and prints the provider's public key.
    Keys(keys::Keys),
    /// Packs binaries into an archive.
    Pack(archive::Pack),
    /// Shows the claims of an archive.
    Inspect {
        /// The archive.
        archive: PathBuf,
        /// As JSON, with the schema.
        #[arg(long)]
        json: bool,
    },
    /// Puts an archive into a registry.
    Push {
        /// Where to, as `registry.example/name:0.1.0`.
        reference: String,
        /// The archive.
        archive: PathBuf,
        #[command(flatten)]
        access: Access,
    },
    /// Gets an archive from a registry.
    Pull {
        /// Where from.
        reference: String,
        /// The file to write.
        archive: PathBuf,
        #[command(flatten)]
        access: Access,
    },
}

/// How a registry is spoken to.
#[derive(Args)]
struct Access {
    /// Speak plain HTTP, without encryption.
    #[arg(long)]
    insecure: bool,
    /// User name.
    #[arg(long, env = "WASH_REG_USER", hide_env_values = true)]
    user: Option<String>,
    /// Password; better in the environment than here.
    #[arg(long, env = "WASH_REG_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("par: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Keys(keys) => {
            let (_, subject) = keys.load()?;
            println!("{}", subject.public_key());
            Ok(())
        }
        Command::Pack(pack) => archive::pack(pack).await,
        Command::Inspect { archive, json } => archive::inspect(&archive, json).await,
        Command::Push {
            reference,
            archive,
            access,
        } => registry::push(&reference, &archive, &access).await,
        Command::Pull {
            reference,
            archive,
            access,
        } => registry::pull(&reference, &archive, &access).await,
    }
}
