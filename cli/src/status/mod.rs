//! How a replica is: what it says of itself (`document`), and what follows for the cluster
//! (`judgement`), drawn for people (`table`).

mod document;
mod judgement;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use document::PeerStatus;
pub(crate) use document::{CoreStatus, DataStatus, DiskStatus, Health, ReplicaStatus};
pub(crate) use judgement::{Judgement, Reported};
pub(crate) use table::{draw, size};
