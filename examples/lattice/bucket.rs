//! Lists the bucket of sealed credentials, and removes entries from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use futures::StreamExt as _;
use lattice_controller::internals::credentials::vault::bucket::{self, Bucket, Change};
use lattice_controller::internals::credentials::vault::key::SealingKey;
use lattice_controller::internals::credentials::vault::place::Places;
use lattice_controller::internals::credentials::vault::sealed::{Opened, Sealer, Unopened};
use lattice_controller::internals::credentials::{Credentials, FingerprintKey};
use lattice_controller::internals::deadline::unix_time;
use lattice_controller::internals::name::{JsDomain, LatticeId, ProviderId};
use lattice_controller::internals::nats::{ErrorFeed, OwnLattice};
use lattice_controller::internals::settings::Unplaced;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{DomainOption, ProviderOptions, Result, login};

/// The longest pause between two entries.
const NEXT_ENTRY_WITHIN: Duration = Duration::from_secs(5);

/// The keys that open entries.
#[derive(Args)]
pub struct KeyOptions {
    /// File with the provider's `credentials_key` (SX…); else the variable
    /// LATTICE_CREDENTIALS_KEY
    #[arg(long, value_name = "FILE")]
    credentials_key_file: Option<PathBuf>,
    /// File with the cluster seed (SC…), where the provider has no
    /// `credentials_key`; else the variable WASMCLOUD_CLUSTER_SEED
    #[arg(long, value_name = "FILE", conflicts_with = "credentials_key_file")]
    cluster_seed_file: Option<PathBuf>,
}

impl KeyOptions {
    fn key(&self) -> Result<SealingKey> {
        // A file takes precedence over a variable.
        let set = match &self.cluster_seed_file {
            Some(_) => None,
            None => login::seed(
                self.credentials_key_file.as_deref(),
                "LATTICE_CREDENTIALS_KEY",
            )?,
        };
        if let Some(seed) = set {
            return SealingKey::from_seed(&seed).ok_or_else(|| {
                "the credentials key cannot be used: it is not the seed of an xkey (SX…, \
                     made by `nk -gen curve`)"
                    .into()
            });
        }
        let cluster = login::seed(self.cluster_seed_file.as_deref(), "WASMCLOUD_CLUSTER_SEED")?;
        let Some(seed) = cluster else {
            return Err(
                "there is no key to open entries with: set LATTICE_CREDENTIALS_KEY or \
                 WASMCLOUD_CLUSTER_SEED, or name a file"
                    .into(),
            );
        };
        cluster_key(&seed)
    }
}

fn cluster_key(seed: &SecretString) -> Result<SealingKey> {
    // An xkey is a seed as well. As a cluster seed it would open nothing,
    // without a message.
    let key = match seed.expose_secret().starts_with("SX") {
        true => None,
        false => SealingKey::of_cluster(seed),
    };
    key.ok_or_else(|| "the cluster seed cannot be used: it is not one (SC…)".into())
}

/// Opens the bucket, and does not make one.
async fn find(options: &ProviderOptions, domain: DomainOption) -> Result<Bucket> {
    let domain = domain.js_domain.as_deref().map(JsDomain::parse);
    // A mistyped key would look like a provider without stored credentials.
    let provider = ProviderId::parse(&options.provider).map_err(|error| error.to_string())?;
    let home = OwnLattice {
        client: login::connect(options).await?,
        connects: watch::channel(1).1,
        server_errors: ErrorFeed::default(),
        requests: Arc::default(),
        js_domain: domain.transpose().map_err(|error| error.to_string())?,
        lattice: options.home.clone(),
        provider_key: provider.to_string(),
        link_name: options.link_name.clone(),
    };
    let name = bucket::name(&options.home);
    let found = Bucket::find(&home).await;
    let found = found.map_err(|why| format!("the bucket {name} cannot be opened: {why}"))?;
    found.ok_or_else(|| format!("there is no bucket {name}: nothing is kept there"))
}

/// Prints a table of the bucket's entries.
pub async fn bindings(
    options: &ProviderOptions,
    domain: DomainOption,
    key: KeyOptions,
) -> Result<String> {
    let key = key.key()?;
    let fingerprints = key.fingerprint_key();
    let places = Places::new(&options.home, &options.provider, &options.link_name);
    let bucket = find(options, domain).await?;
    let (count, mut changes) = bucket.follow().await.map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    let mut pending = count;
    while pending > 0 {
        let change = timeout(NEXT_ENTRY_WITHIN, changes.next()).await;
        let change = change.map_err(|_| "reading the bucket takes too long")?;
        let change = change.ok_or("reading the bucket ended early")?;
        let change = change.map_err(|error| error.to_string())?;
        pending = change.pending;
        rows.extend(row(&change, &key, &places, &fingerprints));
    }
    rows.sort();
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["lattice", "server", "login", "fingerprint", "set by", "age"]);
    table.add_rows(rows);
    Ok(table.trim_fmt())
}

/// Returns the row of an entry; removed ones have none.
fn row(
    change: &Change,
    key: &SealingKey,
    places: &Places,
    fingerprints: &FingerprintKey,
) -> Option<[String; 6]> {
    let value = change.stored.value.as_ref()?;
    let Some(lattice) = &change.lattice else {
        let what = "no entry of the provider".into();
        return Some(unknown("?".into(), what, change));
    };
    let sealer = Sealer {
        key,
        places,
        unplaced: Unplaced::Accepted,
    };
    let opened = sealer.open(lattice, value).and_then(|opened| {
        let Opened { given: entry, .. } = opened;
        let credentials = Credentials::from_store(&entry).map_err(|_| Unopened::Malformed)?;
        Ok((entry, credentials))
    });
    Some(match opened {
        Ok((entry, credentials)) => [
            lattice.to_string(),
            credentials.address(),
            credentials.kind(),
            credentials.fingerprint(fingerprints).to_string(),
            entry.actor,
            age(entry.set_at),
        ],
        Err(why) => {
            let why = match why {
                Unopened::Sealed => "sealed with another key, or changed since",
                Unopened::Version => "of a later version",
                Unopened::Moved => "written for another lattice, key or bucket",
                Unopened::Unplaced => "it does not say where it belongs",
                Unopened::Malformed => "malformed",
            };
            unknown(
                lattice.to_string(),
                format!("cannot be opened: {why}"),
                change,
            )
        }
    })
}

fn unknown(lattice: String, what: String, change: &Change) -> [String; 6] {
    let none = || "-".to_owned();
    [
        lattice,
        what,
        none(),
        none(),
        none(),
        age(change.written_at),
    ]
}

/// Returns how long ago that is, in the largest unit that fits.
fn age(at: u64) -> String {
    let seconds = (unix_time().as_millis() as u64).saturating_sub(at) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Removes the entry of a lattice.
pub async fn purge(options: &ProviderOptions, domain: DomainOption, id: &str) -> Result<String> {
    let lattice = LatticeId::parse(id).map_err(|error| error.to_string())?;
    let bucket = find(options, domain).await?;
    let stored = bucket.get(&lattice).await;
    let stored = stored.map_err(|error| error.to_string())?;
    if stored.and_then(|stored| stored.value).is_none() {
        let name = bucket::name(&options.home);
        return Err(format!(
            "{name} has no credentials of lattice {id:?} for this provider and link name"
        ));
    }
    let removed = bucket.remove(&lattice).await;
    removed.map_err(|error| error.to_string())?;
    Ok(format!(
        "lattice {id:?} is unknown from now on, to every instance of the provider that keeps \
         its credentials here"
    ))
}
