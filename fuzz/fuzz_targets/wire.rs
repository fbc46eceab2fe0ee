//! What a peer or a client may send: no input panics, and what is understood is written the same way.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::data::message::{DataMessage, PREFIX_SIZE, Sizes};
use protocol::message::Message;
use protocol::types::Checksum;

/// The checksum is made right, or nothing behind it would ever be reached.
fn seal(frame: &[u8]) -> Option<Bytes> {
    let mut frame = frame.to_vec();
    let size = u32::try_from(frame.len()).ok()?;
    frame.get_mut(8..12)?.copy_from_slice(&size.to_le_bytes());
    let sum = Checksum::of_parts(&[frame.get(..16)?, frame.get(32..)?]);
    frame.get_mut(16..32)?.copy_from_slice(&sum.get().to_le_bytes());
    Some(Bytes::from(frame))
}

/// The same for a message of the data plane. What follows its head is the bytes of a chunk.
fn seal_data(frame: &[u8]) -> Option<(Bytes, Bytes)> {
    let sizes = Sizes::of_prefix(frame.first_chunk::<PREFIX_SIZE>()?).ok()?;
    let mut head = frame.get(..PREFIX_SIZE + sizes.head)?.to_vec();
    let sum = Checksum::of_parts(&[&head[..32], &head[48..]]);
    head[32..48].copy_from_slice(&sum.get().to_le_bytes());
    let bytes = frame.get(PREFIX_SIZE + sizes.head..)?;
    Some((Bytes::from(head), Bytes::copy_from_slice(bytes)))
}

fuzz_target!(|frame: &[u8]| {
    let _ = Message::decode(Bytes::copy_from_slice(frame));
    if let Some(frame) = seal(frame)
        && let Ok(message) = Message::decode(frame.clone())
    {
        assert_eq!(message.encode(), frame);
    }
    if let Some((head, bytes)) = seal_data(frame)
        && let Ok(message) = DataMessage::decode(&head, bytes.clone())
    {
        assert_eq!(message.encode(), (head.to_vec(), bytes));
    }
});
