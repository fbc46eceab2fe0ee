//! Messages as bytes. The format is drawn in `docs/WIRE.md`.
//!
//! ```text
//!  0           4         6      7        8       12      16
//! ┌───────────┬─────────┬──────┬────────┬───────┬───────┐
//! │ "VSTN"    │ version │ kind │ sender │ size  │ epoch │
//! │           │ 2       │ 1    │ kind 1 │ 4     │ 4     │
//! ├───────────┴─────────┴──────┴────────┴───────┴───────┤ 16
//! │ checksum 16: of bytes 0..16 and of bytes 32..size   │
//! ├─────────────────────────────────────────────────────┤ 32
//! │ cluster 16                                          │
//! ├─────────────────────────────────────────────────────┤ 48
//! │ sender 16: a replica's number, or a client's name   │
//! ├──────────────────────────┬──────────────────────────┤ 64
//! │ view 8                   │ incarnation 8            │
//! ├──────────────────────────┼──────────────────────────┤ 80
//! │ checkpoint 8             │ floor 8                  │
//! ├─────────────┬────────────┴──────────────────────────┤ 96
//! │ release 4   │ reserved 28, zero                     │
//! ├─────────────┴───────────────────────────────────────┤ 128
//! │ body: size − 128 bytes, by kind                     │
//! └─────────────────────────────────────────────────────┘
//! ```
//!
//! There is exactly one encoding of every message: what decodes, encodes to the same bytes again.
//! Decoding also refuses what no replica could have meant, such as headers that do not follow one
//! another, so that the core need not ask whether a list is empty or in order.

mod bodies;
mod vote;

use bytes::Bytes;

pub(crate) use vote::decode_headers;

use super::{Body, Message};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::types::{Checksum, ClientId, ClusterId, Epoch, Peer, REPLICAS_MAX, Release, ReplicaId};

/// The fixed part of every message.
pub const FRAME_HEADER_SIZE: usize = 128;

/// So much of a frame says how long it is: see `Message::frame_size`.
pub const FRAME_PREFIX_SIZE: usize = 12;

/// A larger frame is refused before it is read.
pub const MESSAGE_SIZE_MAX: usize = (1 << 20) + (64 << 10);

const MAGIC: u32 = u32::from_le_bytes(*b"VSTN");
/// The format of frames and bodies. What changes either, changes this.
const WIRE_VERSION: u16 = 2;

const SIZE_START: usize = 8;
const SIZE_END: usize = 12;
const CHECKSUM_START: usize = 16;
const CHECKSUM_END: usize = 32;
const RESERVED_SIZE: usize = 28;

const SENDER_REPLICA: u8 = 1;
const SENDER_CLIENT: u8 = 2;

impl Message {
    /// About how long the frame will be, without encoding it: never much less.
    pub fn size_hint(&self) -> usize {
        FRAME_HEADER_SIZE + bodies::size_hint(&self.body)
    }

    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(self.size_hint());
        self.encode_header(&mut out);
        assert_eq!(out.len(), FRAME_HEADER_SIZE);
        bodies::encode(&self.body, &mut out);
        let mut frame = out.finish();
        assert!(frame.len() <= MESSAGE_SIZE_MAX);

        let size = u32::try_from(frame.len()).expect("MESSAGE_SIZE_MAX is far below 2^32");
        frame[SIZE_START..SIZE_END].copy_from_slice(&size.to_le_bytes());
        let checksum = checksum_of(&frame);
        frame[CHECKSUM_START..CHECKSUM_END].copy_from_slice(&checksum.get().to_le_bytes());
        Bytes::from(frame)
    }

    /// The header, with zeros for what is known only once the body is encoded: size and checksum.
    fn encode_header(&self, out: &mut Encoder) {
        let (sender_kind, sender) = match self.from {
            Peer::Replica(replica) => (SENDER_REPLICA, u128::from(replica.get())),
            Peer::Client(client) => (SENDER_CLIENT, client.get()),
        };
        out.u32(MAGIC);
        out.u16(WIRE_VERSION);
        out.u8(bodies::number(&self.body));
        out.u8(sender_kind);
        out.u32(0);
        out.u32(self.epoch.get());
        out.u128(0);
        out.u128(self.cluster.get());
        out.u128(sender);
        out.u64(self.view.get());
        out.u64(self.incarnation.get());
        out.u64(self.checkpoint.get());
        out.u64(self.floor.get());
        out.u32(self.release.get());
        out.raw(&[0; RESERVED_SIZE]);
    }

    /// How long the frame is that begins with `prefix`, or why it is not one of ours. For readers of
    /// a stream, which must know before they read on.
    pub fn frame_size(prefix: &[u8; FRAME_PREFIX_SIZE]) -> Result<usize, DecodeError> {
        let mut input = Decoder::copying(prefix);
        if input.u32("frame.magic")? != MAGIC {
            return Err(DecodeError::Invalid("frame.magic"));
        }
        if input.u16("frame.version")? != WIRE_VERSION {
            return Err(DecodeError::Invalid("frame.version"));
        }
        input.u16("frame.kind")?;
        let size = input.u32("frame.size")? as usize;
        if !(FRAME_HEADER_SIZE..=MESSAGE_SIZE_MAX).contains(&size) {
            return Err(DecodeError::Invalid("frame.size"));
        }
        Ok(size)
    }

    /// Decodes one whole frame. Entries and operations share the memory of `frame`.
    pub fn decode(frame: Bytes) -> Result<Message, DecodeError> {
        if frame.len() < FRAME_HEADER_SIZE {
            return Err(DecodeError::Truncated("frame"));
        }
        let prefix = frame.first_chunk().expect("the frame holds a whole header");
        let size = Message::frame_size(prefix)?;
        if frame.len() < size {
            return Err(DecodeError::Truncated("frame"));
        }
        if frame.len() > size {
            return Err(DecodeError::TrailingBytes);
        }
        let checksum = checksum_of(&frame);

        let mut input = Decoder::new(frame);
        input.array::<6>("frame.magic")?;
        let kind = input.u8("frame.kind")?;
        let sender_kind = input.u8("frame.sender_kind")?;
        input.u32("frame.size")?;
        let epoch = Epoch::new(input.u32("frame.epoch")?);
        if input.u128("frame.checksum")? != checksum.get() {
            return Err(DecodeError::Invalid("frame.checksum"));
        }
        let cluster = ClusterId::new(input.u128("frame.cluster")?);
        let from = decode_sender(sender_kind, input.array("frame.sender")?)?;
        let view = input.view("frame.view")?;
        let incarnation = input.incarnation("frame.incarnation")?;
        let checkpoint = input.op("frame.checkpoint")?;
        let floor = input.op("frame.floor")?;
        let release = Release::new(input.u32("frame.release")?);
        if input.array("frame.reserved")? != [0; RESERVED_SIZE] {
            return Err(DecodeError::Invalid("frame.reserved"));
        }
        let body = bodies::decode(kind, &mut input)?;
        input.finish()?;

        let message = Message { cluster, epoch, release, from, view, incarnation, checkpoint, floor, body };
        message.check_sender()?;
        Ok(message)
    }

    /// Clients ask, replicas answer and agree. A client speaks for nobody but itself.
    fn check_sender(&self) -> Result<(), DecodeError> {
        let Peer::Client(client) = self.from else {
            return Ok(());
        };
        let standing = [self.incarnation.get(), self.checkpoint.get(), self.floor.get()];
        if standing != [0; 3] {
            return Err(DecodeError::Invalid("frame.standing"));
        }
        let allowed = match &self.body {
            Body::Request(request) => request.client == client && request.operation.is_for_clients(),
            Body::Query { .. } | Body::Locate => true,
            _ => false,
        };
        if allowed { Ok(()) } else { Err(DecodeError::Invalid("frame.sender")) }
    }
}

/// The checksum of a frame whose header is whole.
fn checksum_of(frame: &[u8]) -> Checksum {
    Checksum::of_parts(&[&frame[..CHECKSUM_START], &frame[CHECKSUM_END..]])
}

fn decode_sender(kind: u8, sender: [u8; 16]) -> Result<Peer, DecodeError> {
    match kind {
        SENDER_REPLICA => {
            let [replica, rest @ ..] = sender;
            if usize::from(replica) >= REPLICAS_MAX || rest != [0; 15] {
                return Err(DecodeError::Invalid("frame.sender"));
            }
            Ok(Peer::Replica(ReplicaId::new(replica)))
        }
        SENDER_CLIENT => Ok(Peer::Client(ClientId::new(u128::from_le_bytes(sender)))),
        _ => Err(DecodeError::Invalid("frame.sender_kind")),
    }
}
