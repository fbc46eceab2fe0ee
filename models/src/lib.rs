//! Exhaustive search: every execution of a small cluster, up to a bound.
//!
//! In reading order:

pub mod search;

pub mod cluster;
pub mod paper;

pub mod suite;
