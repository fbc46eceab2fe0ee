//! The words of the protocol as types, so that a view is never mistaken for an op.

use std::fmt;

/// The most replicas a cluster may have.
pub const REPLICAS_MAX: usize = 7;

/// What a replica's disk has room for. The worst comes last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    #[default]
    Ample,
    /// Perhaps: what grows waits until the tables have been written, for only then is it known how much
    /// they take.
    Pressed,
    /// For what frees space and for what keeps the cluster in order; for nothing that grows.
    Scarce,
    /// For what the log holds already. Whatever else comes waits until the tables have been written.
    Spent,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            pub const ZERO: $name = $name(0);

            pub const fn new(value: $inner) -> $name {
                $name(value)
            }

            pub const fn get(self) -> $inner {
                self.0
            }

            pub const fn next(self) -> $name {
                $name(self.0 + 1)
            }

            /// The one before; zero stays zero.
            pub const fn previous(self) -> $name {
                $name(self.0.saturating_sub(1))
            }

            /// Saturates: what comes from a peer may be any number.
            pub const fn plus(self, count: $inner) -> $name {
                $name(self.0.saturating_add(count))
            }

            /// Saturates at zero.
            pub const fn minus(self, count: $inner) -> $name {
                $name(self.0.saturating_sub(count))
            }

            /// How far `self` is beyond `earlier`; zero if it is not.
            pub const fn since(self, earlier: $name) -> $inner {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $letter, self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// A configuration of the cluster. Messages are ordered by (epoch, view).
    Epoch, u32, "e"
);
number!(
    /// The reign of one primary: replica `view mod n`.
    View, u64, "v"
);
number!(
    /// A position in the log. Op 0 is the empty log that every cluster starts from.
    Op, u64, "o"
);
number!(
    /// One disk of a replica: 0 when first formatted, afterwards the op of the `Rejoin` that readmitted it.
    Incarnation, u64, "i"
);
number!(
    /// A replica's place in the cluster, from zero.
    ReplicaId, u8, "r"
);
number!(
    /// A session's name: unique for ever, derived from where its register request stands in the log.
    SessionId, u64, "s"
);
number!(
    /// A request within its session, from one.
    RequestNumber, u64, "#"
);
number!(
    /// Monotonic local time in milliseconds. Never compared between replicas.
    Tick, u64, "t"
);
number!(
    /// Cluster time in microseconds since 1970: chosen by the primary, strictly increasing along the log.
    Timestamp, u64, "T"
);
number!(
    /// The release of the program. A replica refuses releases that it does not know.
    Release, u32, "R"
);

impl Op {
    /// No log gets this far. What is decoded is never greater, so that the successor of an op, and
    /// the name of a session registered at it, always exist.
    pub const MAX: Op = Op(u64::MAX / SessionId::INDEX_COUNT);
}

impl View {
    /// What is decoded is never greater: there is always a next view.
    pub const MAX: View = View(1 << 62);
}

impl RequestNumber {
    /// What is decoded is never greater: there is always a next number.
    pub const MAX: RequestNumber = RequestNumber(1 << 62);
}

impl ReplicaId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Incarnation {
    /// The incarnation that a `Rejoin` at `op` begins.
    pub const fn from_rejoin(op: Op) -> Incarnation {
        Incarnation(op.0)
    }
}

impl SessionId {
    /// A batch holds at most this many requests, so op and index make a unique name.
    pub const INDEX_COUNT: u64 = 1 << 12;

    pub const fn from_register(op: Op, index: usize) -> SessionId {
        assert!((index as u64) < SessionId::INDEX_COUNT);
        SessionId(op.0 * SessionId::INDEX_COUNT + index as u64)
    }

    /// Where in the log the session begins.
    pub const fn registered_at(self) -> Op {
        Op(self.0 / SessionId::INDEX_COUNT)
    }
}

/// The program's own release, in every message and every superblock.
pub const RELEASE: Release = Release(1);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            pub const ZERO: $name = $name(0);

            pub const fn new(value: u128) -> $name {
                $name(value)
            }

            pub const fn get(self) -> u128 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08x}", self.0 >> 96)
            }
        }
    };
}

name!(
    /// The first 128 bits of a BLAKE3 hash.
    Checksum
);
name!(
    /// A cluster's random name.
    ClusterId
);
name!(
    /// A client process's random name, new at every start.
    ClientId
);
name!(
    /// A number that nobody could guess or repeat: 128 random bits.
    Nonce
);

impl Checksum {
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum::from_hash(blake3::hash(bytes))
    }

    /// Hashes several pieces as one.
    ///
    /// BLAKE3 hashes kilobytes side by side, but only those that it is given at once: a page behind a
    /// short prefix costs a third if they are put together first.
    pub fn of_parts(parts: &[&[u8]]) -> Checksum {
        const TOGETHER: std::ops::RangeInclusive<usize> = 2 << 10..=16 << 10;
        if TOGETHER.contains(&parts.iter().map(|part| part.len()).sum()) {
            return Checksum::of(&parts.concat());
        }
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        Checksum::from_hash(hasher.finalize())
    }

    fn from_hash(hash: blake3::Hash) -> Checksum {
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Checksum(u128::from_le_bytes(half))
    }
}

/// Who sent a message, or to whom it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    Replica(ReplicaId),
    Client(ClientId),
}
