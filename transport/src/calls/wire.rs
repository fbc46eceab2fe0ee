//! A `DataMessage` on a stream.

use bytes::Bytes;
use protocol::codec::DecodeError;
use protocol::data::message::{DataMessage, PREFIX_SIZE, Sizes};
use quinn::{SendStream, WriteError};

use crate::buffers::Buffers;
use crate::read::{Broken, ChunkReader};

/// Writes the message and ends the stream. The bytes are not copied: the stream keeps a share of them
/// until they are acknowledged.
pub(super) async fn write(stream: &mut SendStream, message: &DataMessage) -> Result<(), WriteError> {
    let (head, bytes) = message.encode();
    let mut parts = [Bytes::from(head), bytes];
    let count = if parts[1].is_empty() { 1 } else { 2 };
    stream.write_all_chunks(&mut parts[..count]).await?;
    stream.finish().map_err(|_| WriteError::ClosedStream)
}

/// A message of which only the head has been read: enough to know what the rest will cost.
pub(super) struct Head {
    bytes: Bytes,
    sizes: Sizes,
}

impl Head {
    pub(super) async fn read(stream: &mut ChunkReader) -> Result<Head, ReadFault> {
        let prefix = stream.next_array::<PREFIX_SIZE>().await?.ok_or(Broken::Short)?;
        let sizes = Sizes::of_prefix(&prefix)?;
        let mut bytes = Vec::with_capacity(PREFIX_SIZE + sizes.head);
        bytes.extend_from_slice(&prefix);
        stream.append(&mut bytes, sizes.head).await?;
        Ok(Head { bytes: Bytes::from(bytes), sizes })
    }

    /// What follows the head.
    pub(super) fn bytes_size(&self) -> usize {
        self.sizes.bytes
    }

    /// The message, if nothing follows the head.
    pub(super) fn whole(&self) -> Result<Option<DataMessage>, DecodeError> {
        if self.sizes.bytes > 0 {
            return Ok(None);
        }
        DataMessage::decode(&self.bytes, Bytes::new()).map(Some)
    }

    /// Reads what follows.
    pub(super) async fn read_rest(
        &self,
        stream: &mut ChunkReader,
        buffers: &Buffers,
    ) -> Result<DataMessage, ReadFault> {
        let mut bytes = buffers.take(self.sizes.bytes);
        stream.append(bytes.as_mut_vec(), self.sizes.bytes).await?;
        Ok(DataMessage::decode(&self.bytes, bytes.freeze())?)
    }
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum ReadFault {
    Broken(Broken),
    Garbled(DecodeError),
}

impl From<Broken> for ReadFault {
    fn from(broken: Broken) -> ReadFault {
        ReadFault::Broken(broken)
    }
}

impl From<DecodeError> for ReadFault {
    fn from(error: DecodeError) -> ReadFault {
        ReadFault::Garbled(error)
    }
}
