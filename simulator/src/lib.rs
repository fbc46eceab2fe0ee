//! The world from a seed: everything real but the network, the disks, the clocks and chance.
//!
//! In reading order:

pub mod options;
pub mod random;

pub mod network;
pub mod plane;
pub mod node;
pub mod world;

pub mod content;
pub mod client;
pub mod workload;

pub mod faults;

pub mod history;
pub mod linearizability;
pub mod model;
pub mod oracles;

pub mod coverage;
pub mod trace;

pub mod planted;
pub mod run;
pub mod scenario;
