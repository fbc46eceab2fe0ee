//! What a disk may return: entries, their headers, superblocks.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::codec::{DecodeError, Decoder, Encoder};
use protocol::entry::{Entry, EntryHeader, Request};
use protocol::state::Reply;
use protocol::superblock::Superblock;

fn check<T>(
    bytes: &Bytes,
    decode: impl Fn(&mut Decoder) -> Result<T, DecodeError>,
    encode: impl Fn(&T, &mut Encoder),
) {
    let mut input = Decoder::new(bytes.clone());
    if let Ok(value) = decode(&mut input) {
        let read = bytes.len() - input.remaining();
        let mut out = Encoder::new();
        encode(&value, &mut out);
        assert_eq!(out.finish(), bytes[..read]);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    check(&bytes, EntryHeader::decode, EntryHeader::encode);
    check(&bytes, Entry::decode, Entry::encode);
    check(&bytes, Request::decode, Request::encode);
    check(&bytes, Reply::decode, Reply::encode);
    check(&bytes, Superblock::decode, Superblock::encode);
});
