//! The world from a seed.

pub mod random;

pub mod workload;

pub mod history;
pub mod linearizability;
pub mod model;
