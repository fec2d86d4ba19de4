//! The control protocol of hosts 0.x: subjects, bodies, plans.

pub mod plan;
pub mod subject;
pub mod wire;
