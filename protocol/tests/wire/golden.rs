//! The bytes of each format as they were when it was fixed. A difference here means that two releases
//! cannot read each other's messages or disks: either it is a mistake, or `WIRE_VERSION` goes up, and
//! the bytes are written anew with `VIEWSTONE_GOLDEN=write cargo test -p viewstone-protocol --test wire`.

use std::path::PathBuf;

use protocol::codec::Encoder;
use protocol::message::{Body, FRAME_HEADER_SIZE};

use crate::samples;

/// Each sample under its title, 32 bytes a line.
fn to_text(samples: &[(&str, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (title, bytes) in samples {
        text += &format!("# {title}, {} bytes\n", bytes.len());
        for line in bytes.chunks(32) {
            text += &line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            text.push('\n');
        }
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "the golden bytes are files, and writing them is asked for")]
fn check(file: &str, samples: &[(&str, Vec<u8>)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var("VIEWSTONE_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, to_text(samples)).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(to_text(samples), golden, "{file} is no longer what it was");
}

fn encoded(encode: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new();
    encode(&mut out);
    out.finish()
}

#[test]
fn every_message_has_the_bytes_it_always_had() {
    let messages = samples::messages();
    let frames: Vec<_> =
        messages.iter().map(|message| (message.body.kind(), message.encode().to_vec())).collect();
    check("messages.hex", &frames);
}

#[test]
fn a_frame_header_has_the_bytes_it_always_had() {
    let frame = samples::from_client(Body::Locate).encode();
    assert_eq!(frame.len(), FRAME_HEADER_SIZE);
    check("frame-header.hex", &[("Locate has no body", frame.to_vec())]);
}

#[test]
fn entries_have_the_bytes_they_always_had() {
    check("entry-header.hex", &[("EntryHeader", samples::entry().header.to_bytes().to_vec())]);
    check("entry.hex", &[("Entry", encoded(|out| samples::entry().encode(out)))]);
}

#[test]
fn superblocks_have_the_bytes_they_always_had() {
    check("superblock.hex", &[("Superblock", encoded(|out| samples::superblock().encode(out)))]);
}
