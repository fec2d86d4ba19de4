//! The metadata bucket of a lattice: JetStream key-value bucket
//! `LATTICEDATA_{lattice}`, in which hosts from OTP 0.60 on keep links
//! (`LINKDEF_{hash}`) and claims (`CLAIMS_{key}`).
//!
//! Every call looks for the bucket anew, and reads it in one pass: a lattice may get its
//! bucket, or JetStream, later (docs/hosts.md#bucket-can-come-later). Where there is
//! none, hosts are asked instead.
//!
//! - `lookup`: whether there is a bucket
//! - `ask`: one question to JetStream
//! - `read`, `write`: its entries, and changes of links
//! - `entries`: what was read of it so far
//! - `references`: of which actor an image reference is

pub(crate) mod ask;
mod entries;
pub(crate) mod lookup;
pub(crate) mod read;
pub(crate) mod references;
pub(crate) mod write;
