//! Credentials for a registry of images.

use serde::Serialize;

/// Credentials for one registry. Holds secrets.
#[derive(Clone, Copy, Serialize)]
pub struct RegistryLogin<'a> {
    /// Password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
    /// `oci` or `bindle` and nothing else: any other value crashes OTP hosts
    /// (docs/hosts.md#unknown-registry-type-ends-otp-hosts).
    #[serde(rename = "registryType")]
    pub registry_type: &'a str,
    /// Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<&'a str>,
}
