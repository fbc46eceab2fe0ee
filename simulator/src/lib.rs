//! The world from a seed.
