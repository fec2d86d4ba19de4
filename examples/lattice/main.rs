//! `cargo run --example lattice -- COMMAND` is for operators of the provider.
//! It calls the provider as a linked actor would, lists the credentials in its
//! bucket, and removes one of them.
//!
//! Seeds come from files or the environment, since everybody on the machine can
//! see arguments.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bucket;
mod call;
mod login;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// An error as a sentence without secrets.
type Result<T> = std::result::Result<T, String>;

#[derive(Parser)]
#[command(
    name = "lattice",
    about = "Calls the lattice controller, and looks after the credentials that it keeps"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Calls an operation as a linked actor, and prints the answer as JSON. Ends
    /// with 1 where it is an error, or was not accepted
    Call {
        #[command(flatten)]
        provider: ProviderOptions,
        #[command(flatten)]
        options: call::Options,
    },
    /// Lists the credentials in the provider's bucket, without their secrets. The
    /// provider need not run
    Bindings {
        #[command(flatten)]
        provider: ProviderOptions,
        #[command(flatten)]
        domain: DomainOption,
        #[command(flatten)]
        key: bucket::KeyOptions,
    },
    /// Removes the credentials of a lattice from the bucket: it becomes unknown to
    /// all instances of the provider at once. Needs no key
    Purge {
        #[command(flatten)]
        provider: ProviderOptions,
        #[command(flatten)]
        domain: DomainOption,
        /// Id of the lattice
        #[arg(value_name = "LATTICE")]
        id: String,
    },
    /// Prints a new seed for `credentials_key`
    Key,
}

/// The provider, and the NATS servers of the lattice that it lives in.
#[derive(Args)]
struct ProviderOptions {
    /// Servers of the provider's lattice. A login in it may stand in the
    /// environment only
    #[arg(
        long,
        env = "LATTICE_NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    nats_url: String,
    /// Credentials file of a NATS user (JWT and seed)
    #[arg(long, value_name = "FILE", env = "LATTICE_NATS_CREDS")]
    nats_creds: Option<PathBuf>,
    /// Lattice that the provider lives in
    #[arg(
        long,
        value_name = "LATTICE",
        env = "LATTICE_HOME",
        default_value = "default"
    )]
    home: String,
    /// Public key of the provider
    #[arg(long, value_name = "V…", env = "LATTICE_PROVIDER")]
    provider: String,
    /// Link name of the provider
    #[arg(
        long,
        value_name = "NAME",
        env = "LATTICE_LINK_NAME",
        default_value = "default"
    )]
    link_name: String,
}

#[derive(Args)]
struct DomainOption {
    /// JetStream domain of the provider's lattice, where its host tells it one
    #[arg(long, value_name = "DOMAIN", env = "LATTICE_JS_DOMAIN")]
    js_domain: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Call { provider, options } => call::call(&provider, options).await,
        Command::Bindings {
            provider,
            domain,
            key,
        } => bucket::bindings(&provider, domain, key).await,
        Command::Purge {
            provider,
            domain,
            id,
        } => bucket::purge(&provider, domain, &id).await,
        Command::Key => login::new_key(),
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("lattice: {problem}");
            ExitCode::FAILURE
        }
    }
}
