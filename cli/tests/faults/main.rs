//! Clusters of real processes that lose processes, disks and links while clients write and read. What
//! the clients did and saw is judged afterwards.
//!
//! In reading order: the judge (`history`), the clients (`clients`), what replicas say (`figures`), and then
//! the stories: processes that are killed (`kills`) or stand still (`pauses`), links that carry nothing
//! (`partitions`), disks that are lost, rot or fill (`disks`), and peers that mean harm (`hostile`).
#![expect(clippy::unwrap_used, reason = "all of this is tests, also what is not marked as one")]

#[expect(dead_code, reason = "shared with the other test program, which uses the rest")]
#[path = "../harness/mod.rs"]
mod harness;

mod clients;
mod figures;
mod history;
mod namespaces;
mod random;

mod disks;
mod hostile;
mod kills;
mod partitions;
mod pauses;
