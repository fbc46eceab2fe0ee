//! The client's side of a cluster.
//!
//! In reading order: putting, getting and asking through the cluster (`cluster`).

pub mod cluster;
