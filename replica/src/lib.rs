//! Carries out what the protocol decides.

pub mod storage;
