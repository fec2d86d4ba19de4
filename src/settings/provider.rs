//! The settings of the provider.

use std::sync::Arc;

use secrecy::SecretString;

use crate::nats::Tls;
use crate::settings::calls::CallLimits;
use crate::settings::components::ComponentSettings;
use crate::settings::lattices::LatticeSettings;
use crate::settings::limits::TimeLimits;
use crate::settings::policy::Policy;

/// Settings of the provider: a JSON object in `config_json` of the host data.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// `default_lattice_url`: where a lattice is whose credentials name no URL.
    /// A secret: it may hold user info.
    pub default_lattice_url: SecretString,
    /// How many calls may be in flight, and how old one may be.
    pub calls: CallLimits,
    /// `default_lattices`, `default_operations`: what actors may do whose links
    /// do not say.
    pub default_policy: Policy,
    /// How long things may take.
    pub limits: TimeLimits,
    /// Connections, and where credentials are kept.
    pub lattices: LatticeSettings,
    /// Components and providers on hosts of 1.x.
    pub components: Arc<ComponentSettings>,
    /// `tls_ca_file`, `tls_cert_file`, `tls_key_file`, `tls_client_servers`,
    /// `tls_first_servers`.
    pub tls: Tls,
}
