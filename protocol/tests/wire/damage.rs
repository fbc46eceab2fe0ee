//! Bytes that nobody meant: noise, single flipped bits, early ends, forged counts.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::codec::{DecodeError, Decoder, Encoder};
use protocol::entry::{Entry, EntryHeader, Request};
use protocol::message::{Message, StartView, Vote};
use protocol::state::{Outcome, Reply};
use protocol::superblock::Superblock;
use protocol::types::Checksum;

use crate::samples;

static FRAMES: LazyLock<Vec<Bytes>> =
    LazyLock::new(|| samples::messages().iter().map(Message::encode).collect());

/// Every decoder but the message's, on the same bytes. What decodes must encode to what was read.
fn decode_everything(bytes: &Bytes) {
    check(bytes, EntryHeader::decode, EntryHeader::encode);
    check(bytes, Entry::decode, Entry::encode);
    check(bytes, Request::decode, Request::encode);
    check(bytes, Vote::decode, Vote::encode);
    check(bytes, StartView::decode, StartView::encode);
    check(bytes, Reply::decode, Reply::encode);
    check(bytes, Outcome::decode, Outcome::encode);
    check(bytes, Superblock::decode, Superblock::encode);
}

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

/// A frame whose checksum is right whatever else it holds: what a peer with a bug would send.
fn seal(mut frame: Vec<u8>) -> Bytes {
    let size = u32::try_from(frame.len()).unwrap();
    frame[8..12].copy_from_slice(&size.to_le_bytes());
    let checksum = Checksum::of_parts(&[&frame[..16], &frame[32..]]);
    frame[16..32].copy_from_slice(&checksum.get().to_le_bytes());
    Bytes::from(frame)
}

fn assert_canonical(frame: Bytes) {
    if let Ok(message) = Message::decode(frame.clone()) {
        assert_eq!(message.encode(), frame);
    }
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed() {
    for frame in FRAMES.iter() {
        // All of the header, and the body in strides that meet every byte of the small ones.
        let stride = 1 + frame.len() / 400;
        for index in (0..128).chain((128..frame.len()).step_by(stride)) {
            let mut bytes = frame.to_vec();
            bytes[index] ^= 1 << (index % 8);
            assert!(Message::decode(Bytes::from(bytes)).is_err(), "bit {} of byte {index}", index % 8);
        }
    }
}

#[test]
fn every_truncated_frame_is_noticed() {
    for frame in FRAMES.iter() {
        for size in 0..frame.len() {
            assert!(Message::decode(frame.slice(..size)).is_err(), "the first {size} bytes");
        }
    }
}

/// Sealed anew, the cut frame is whole as far as its header can tell.
#[test]
fn a_body_that_ends_early_is_refused_in_every_kind() {
    for frame in FRAMES.iter() {
        for size in 128..frame.len() {
            let cut = seal(frame[..size].to_vec());
            assert!(Message::decode(cut).is_err(), "the first {size} bytes");
        }
        let mut longer = frame.to_vec();
        longer.push(0);
        assert!(Message::decode(seal(longer)).is_err());
    }
}

#[test]
fn every_damaged_byte_of_a_superblock_is_survived() {
    let mut out = Encoder::new();
    samples::superblock().encode(&mut out);
    let bytes = out.finish();
    for index in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[index] = value;
            decode_everything(&Bytes::from(damaged));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn noise_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
        let bytes = Bytes::from(bytes);
        decode_everything(&bytes);
        prop_assert!(Message::decode(bytes).is_err());
    }

    #[test]
    fn sealed_noise_is_survived(
        kind in any::<u8>(),
        body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..256),
        sample in any::<prop::sample::Index>(),
    ) {
        let mut frame = sample.get(&FRAMES)[..128].to_vec();
        frame[6] = kind;
        frame.extend(body);
        assert_canonical(seal(frame));
    }

    #[test]
    fn a_sealed_frame_with_damage_is_refused_or_means_exactly_what_it_says(
        sample in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = sample.get(&FRAMES).to_vec();
        for (place, value) in damage {
            let index = place.index(frame.len());
            frame[index] = value;
        }
        decode_everything(&Bytes::copy_from_slice(&frame[128..]));
        assert_canonical(seal(frame));
    }

    /// A list that claims four billion elements must not reserve memory for them.
    #[test]
    fn forged_counts_are_refused(sample in any::<prop::sample::Index>(), place in any::<prop::sample::Index>()) {
        let mut frame = sample.get(&FRAMES).to_vec();
        if frame.len() >= 132 {
            let index = 128 + place.index(frame.len() - 131);
            frame[index..index + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_canonical(seal(frame));
        }
    }
}
