//! From a stream into the inbox.

use std::sync::Arc;

use bytes::Bytes;
use protocol::codec::DecodeError;
use protocol::message::{Class, FRAME_PREFIX_SIZE, Message};
use protocol::types::Peer;
use quinn::{Connection, RecvStream};

use super::{PREFACE_SIZE, Received, Rooms, class_of_preface, close};
use crate::budget::Room;
use crate::limits::{MESSAGE_BYTES_MIN, class_limits};
use crate::read::{Broken, ChunkReader};
use crate::transport::Shared;

/// Delivers the messages of one stream until it ends. Of a stream that carries something else, nothing
/// more can be understood: its connection is closed, and an honest peer opens another.
pub(crate) async fn read_messages(
    shared: Arc<Shared>,
    connection: Connection,
    peer: Peer,
    stream: RecvStream,
    rooms: Rooms,
) {
    let reader = MessageReader { shared: &shared, peer, rooms: &rooms };
    match reader.run(ChunkReader::new(stream)).await {
        Ok(()) => {}
        Err(Fault::Broken(why)) => tracing::debug!(?peer, %why, "stream of messages ended"),
        Err(Fault::Garbled(what)) => {
            rooms.tally.frames_bad.add(1);
            tracing::warn!(?peer, %what, "not a stream of messages: closing its connection");
            connection.close(close::GARBLED, b"");
        }
    }
}

struct MessageReader<'a> {
    shared: &'a Shared,
    peer: Peer,
    rooms: &'a Rooms,
}

impl MessageReader<'_> {
    async fn run(&self, mut stream: ChunkReader) -> Result<(), Fault> {
        let Some(preface) = stream.next_array::<PREFACE_SIZE>().await? else {
            return Ok(());
        };
        let class = class_of_preface(preface).ok_or(DecodeError::Invalid("stream.preface"))?;
        while let Some((frame, room)) = self.next_frame(&mut stream, class).await? {
            let Some(message) = self.admit(frame, class) else { continue };
            self.rooms.tally.received.add(class, 1);
            let inbox = self.shared.inbox_for(self.peer);
            if inbox.send(Received { from: self.peer, message, _room: room }).await.is_err() {
                return Ok(()); // Nobody wants messages any more: the process ends.
            }
        }
        Ok(())
    }

    /// Waits for room before the frame is read: until then the stream's window holds the sender back.
    async fn next_frame(
        &self,
        stream: &mut ChunkReader,
        class: Class,
    ) -> Result<Option<(Bytes, Room)>, Fault> {
        let Some(prefix) = stream.next_array::<FRAME_PREFIX_SIZE>().await? else {
            return Ok(None);
        };
        let size = Message::frame_size(&prefix)?;
        if size > class_limits(class).frame_bytes {
            return Err(DecodeError::Invalid("frame.size").into());
        }
        let counted = u32::try_from(size.max(MESSAGE_BYTES_MIN)).expect("a frame is at most a few megabytes");
        let room = self.rooms.of(class).take(counted).await;
        let mut frame = Vec::with_capacity(size);
        frame.extend_from_slice(&prefix);
        stream.append(&mut frame, size - FRAME_PREFIX_SIZE).await?;
        Ok(Some((Bytes::from(frame), room)))
    }

    /// The message, unless it is damaged or says to be from somebody else.
    fn admit(&self, frame: Bytes, class: Class) -> Option<Message> {
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(peer = ?self.peer, %error, "bad frame");
                self.rooms.tally.frames_bad.add(1);
                return None;
            }
        };
        if message.from != self.peer || message.cluster != self.shared.cluster {
            tracing::debug!(peer = ?self.peer, from = ?message.from, cluster = ?message.cluster, "foreign frame");
            self.rooms.tally.frames_foreign.add(1);
            return None;
        }
        if message.body.class() != class {
            self.rooms.tally.frames_bad.add(1);
            return None;
        }
        Some(message)
    }
}

enum Fault {
    Broken(Broken),
    Garbled(DecodeError),
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Fault {
        Fault::Broken(broken)
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Fault {
        Fault::Garbled(error)
    }
}
