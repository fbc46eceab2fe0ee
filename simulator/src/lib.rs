//! The world from a seed: everything real but the network, the disks, the clocks and chance.
//!
//! In reading order:

pub mod options;
pub mod random;

pub mod network;
pub mod node;
pub mod plane;
pub mod world;

pub mod client;
pub mod content;
pub mod workload;

pub mod faults;
pub mod operator;

pub mod history;
pub mod linearizability;
pub mod model;
pub mod oracles;

pub mod coverage;
pub mod trace;

pub mod nightly;
pub mod planted;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod switches;
