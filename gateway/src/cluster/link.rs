//! How a client reaches the replicas: over QUIC, or by a function call if one is in the same process.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use protocol::data::message::DataBody;
use protocol::message::Message;
use protocol::types::ReplicaId;

/// No answer came, or none will. Whether the call took effect is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable(pub String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// Messages that come back are handed to `Cluster::deliver`.
pub trait Link: Send + Sync + 'static {
    /// Sends or drops, and does not wait.
    fn send(&self, to: ReplicaId, message: Message);

    fn call(
        &self,
        to: ReplicaId,
        body: DataBody,
        patience: Duration,
    ) -> impl Future<Output = Result<DataBody, Unreachable>> + Send;

    /// The replica that is reached without a network, if there is one.
    fn nearest(&self) -> Option<ReplicaId>;
}
