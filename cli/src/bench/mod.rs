//! What a cluster can do: load through the client library, and what the machine itself can do, measured
//! in the same run, because one figure alone says nothing.
//!
//! In reading order: what is done through the client library (`loads`) and through S3 (`s3`), what the
//! machine does alone (`baseline`), the processor time of all who take part (`cpu`), and how it is told
//! (`report`).

mod baseline;
mod cpu;
mod loads;
mod report;
pub(crate) mod s3;

pub(crate) use cpu::own as own_cpu;
pub(crate) use loads::{Plan, run};
pub(crate) use report::Report;
