//! Whether a component may lose its configuration by an order.
//!
//! A scale takes the named configs of a component away, and nobody can read which it had
//! (docs/hosts.md#scale-takes-configuration). Where the lattice has a config that no link
//! and none of our providers uses, it may be that of any component.

use crate::error::Error;
use crate::lattice::Lattice;

impl Lattice {
    /// Returns the name of a config that nothing known uses, where there is one.
    ///
    /// # Errors
    /// `Refused` where the configs cannot be read: then nobody knows.
    pub(super) async fn config_of_nothing_known(&self) -> Result<Option<String>, Error> {
        todo!()
    }
}
