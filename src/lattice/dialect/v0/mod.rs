//! The control protocol of hosts 0.x: subjects, bodies, plans.

pub mod place;
pub mod plan;
pub mod subject;
pub mod wire;
