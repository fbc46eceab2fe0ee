//! Everything in Viewstone that decides, and nothing that touches the world.
//!
//! In reading order:

pub mod codec;
pub mod config;
pub mod quorums;
pub mod types;
pub mod wire;

pub mod entry;
pub mod message;
pub mod superblock;
pub mod wal;

pub mod machine;
pub mod state;
pub mod tables;

pub mod canary;
pub mod catalog;
pub mod client;
pub mod data;
pub mod vsr;
