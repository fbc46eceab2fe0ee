//! The cluster as its clients see it: operations, queries, and bodies of any size. What is lost, late
//! or said twice on the way is dealt with here; a caller learns what became of its request.
//!
//! ```text
//!   callers ──▶ Cluster ──▶ task: protocol::client, fence ──▶ Link ──▶ replicas
//!                 │                                            ▲
//!                 ├──▶ one task for each upload: data::put ────┤ calls
//!                 └──▶ one task for each read:   data::get ────┘
//! ```
//!
//! A request that has begun is never cancelled because its caller went away: it belongs to the task.
//!
//! In reading order: how replicas are reached (`link`, `quic`), what can go wrong (`error`), the task that
//! holds the session (`session`), bodies on their way in (`upload`) and out (`reader`), the calls that both
//! make (`calls`), and what reads may hold (`read_room`).

mod calls;
mod error;
mod link;
mod quic;
mod read_room;
mod reader;
mod session;
mod upload;

pub use error::ClusterError;
pub use link::{Link, Unreachable};
pub use quic::QuicLink;
pub(crate) use read_room::READ_BYTES_FREE;
pub use reader::{Reader, Record};
pub use session::{Cluster, ClusterOptions, WeakCluster};
pub use upload::{CHUNK_SIZE, Upload, chunk_size_for};
