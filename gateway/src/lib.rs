//! A gateway: S3 on one side, the cluster on the other.
//!
//! ```text
//!  HTTP ─▶ http ─▶ auth ─▶ s3/<operation> ─▶ body ─▶ cluster ══QUIC══▶ replicas
//! ```
//!
//! In reading order: requests and answers (`http`), who asks and what they may do (`auth`), the bytes of
//! a request (`body`), the operations (`s3`), and putting, getting and asking through the cluster
//! (`cluster`).

pub mod auth;
pub mod body;
pub mod cluster;
#[cfg(any(test, feature = "fuzzing"))]
pub mod hostile;
pub mod http;
pub mod s3;
