//! Why the cluster did not do what it was asked for.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterError {
    /// It never took effect and never will. There is no quorum, or too much to do: ask again later.
    Unavailable(&'static str),
    /// It was not begun: too much is under way here.
    Busy(&'static str),
    /// Nobody knows whether it took effect; until its deadline it still may.
    Unknown,
    /// It is malformed, and never took effect.
    Invalid(String),
    /// A disk is full: deletions still work. It has most likely not taken effect, but a copy of the
    /// request that was sent before may have, and may still until its deadline.
    Full,
    /// The chunks of a body that the catalog refers to are nowhere: that must never happen.
    Lost(String),
    /// The read took so long that what it read may be collected by now: it has to begin anew.
    Expired,
    /// This client is being closed.
    Closed,
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterError::Unavailable(why) => write!(f, "the cluster cannot do this now: {why}"),
            ClusterError::Busy(why) => write!(f, "there is too much to do: {why}"),
            ClusterError::Unknown => f.write_str("no answer came: the request may have taken effect"),
            ClusterError::Invalid(why) => write!(f, "the request is malformed: {why}"),
            ClusterError::Full => f.write_str("the disks are full"),
            ClusterError::Lost(what) => write!(f, "{what} is on no disk"),
            ClusterError::Expired => f.write_str("the read was too slow, and what it read is gone"),
            ClusterError::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for ClusterError {}
