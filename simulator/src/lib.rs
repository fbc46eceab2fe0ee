//! The world from a seed.

pub mod random;

pub mod model;
