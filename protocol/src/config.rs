//! What a cluster is configured with. `Limits` are fixed when the cluster is formatted and equal on
//! every replica; `Timeouts` are local.

use crate::message::MESSAGE_SIZE_MAX;
use crate::quorums::Quorums;
use crate::state::Session;
use crate::types::{ClusterId, Epoch, ReplicaId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub cluster: ClusterId,
    pub epoch: Epoch,
    pub replica: ReplicaId,
    pub quorums: Quorums,
    pub limits: Limits,
    pub timeouts: Timeouts,
}

/// Bounds that all replicas must agree on: the meaning of a vote or of an apply depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Prepares in flight. The suffix in votes is this long, so it can never change in a cluster's life.
    pub pipeline_max: u64,
    pub batch_requests_max: usize,
    pub batch_bytes_max: usize,
    /// The largest operation that one request may carry. Fits in a batch.
    pub operation_bytes_max: usize,
    /// Every op divisible by this one is a checkpoint op.
    pub checkpoint_interval_ops: u64,
    /// The log never holds more ops than this above the last op it was allowed to forget.
    pub wal_ops_max: u64,
    pub sessions_max: usize,
    /// Outstanding requests per session.
    pub session_window: u64,
    /// A session that is idle for so long in cluster time is expired.
    pub session_timeout_micros: u64,
    pub reply_bytes_max: usize,
}

impl Limits {
    pub const fn standard() -> Limits {
        Limits {
            pipeline_max: 8,
            batch_requests_max: 256,
            batch_bytes_max: 1 << 20,
            operation_bytes_max: 256 << 10,
            checkpoint_interval_ops: 512,
            wal_ops_max: 2048,
            sessions_max: 256,
            session_window: 256,
            session_timeout_micros: 60_000_000,
            reply_bytes_max: 4 << 10,
        }
    }

    /// The headers in a suffix: those that may be uncommitted, and the committed one below them.
    pub const fn suffix_count(&self) -> usize {
        assert!(self.pipeline_max <= 8);
        #[expect(clippy::cast_possible_truncation, reason = "it is at most eight")]
        let pipeline_max = self.pipeline_max as usize;
        pipeline_max + 1
    }

    /// The log is kept for the slowest checkpoint as long as it holds fewer ops. Then there is still
    /// room for the pipeline.
    pub const fn kept_ops_max(&self) -> u64 {
        self.wal_ops_max.saturating_sub(self.pipeline_max)
    }

    /// A backup whose acknowledgements lag further behind slows the primary down. Its checkpoint lags
    /// a whole interval more, and both together must stay below what is kept: otherwise the log would
    /// have forgotten what the backup needs before anybody waited for it.
    pub const fn throttle_lag_ops(&self) -> u64 {
        self.wal_ops_max.saturating_sub(self.checkpoint_interval_ops) / 2
    }

    /// Whether the numbers fit together; the error names the first that does not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.pipeline_max == 0 || self.pipeline_max > 8 {
            return Err("pipeline_max must lie between 1 and 8");
        }
        if self.batch_requests_max == 0 || self.batch_requests_max > 1024 {
            return Err("batch_requests_max must lie between 1 and 1024");
        }
        if self.operation_bytes_max + 256 > self.batch_bytes_max {
            return Err("operation_bytes_max must fit into batch_bytes_max");
        }
        if self.checkpoint_interval_ops <= self.pipeline_max {
            return Err("checkpoint_interval_ops must exceed pipeline_max");
        }
        if self.wal_ops_max < 2 * self.checkpoint_interval_ops + self.pipeline_max {
            return Err("wal_ops_max must hold two checkpoint intervals and the pipeline");
        }
        if self.sessions_max == 0 || self.session_window == 0 {
            return Err("sessions_max and session_window must not be zero");
        }
        if Session::row_size_max(self) > (MESSAGE_SIZE_MAX - (16 << 10)) as u64 {
            return Err("session_window replies of reply_bytes_max must fit into a message");
        }
        Ok(())
    }
}

/// Local durations, all jittered by the replica's own generator when they are armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub heartbeat_ms: u64,
    /// Without a new heartbeat for so long, a backup suspects the primary.
    pub suspicion_ms: u64,
    /// Without acknowledgements from a confirmation quorum for so long, a primary steps down.
    pub abdication_ms: u64,
    /// A client's request that is not prepared for so long makes a backup suspect the primary.
    pub starvation_ms: u64,
    pub resend_ms: u64,
    /// A view that has not started after this time is given up; doubled up to the maximum.
    pub escalation_ms: u64,
    pub escalation_max_ms: u64,
    pub repair_ms: u64,
}

impl Timeouts {
    pub const fn standard() -> Timeouts {
        Timeouts {
            heartbeat_ms: 50,
            suspicion_ms: 500,
            abdication_ms: 1_000,
            starvation_ms: 1_000,
            resend_ms: 100,
            escalation_ms: 1_000,
            escalation_max_ms: 10_000,
            repair_ms: 50,
        }
    }
}
