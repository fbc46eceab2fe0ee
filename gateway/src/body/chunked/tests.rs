use proptest::prelude::*;

use super::*;
use crate::auth::signature::SigningKey;

fn signer(seed: &str) -> ChunkSigner {
    let key = SigningKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3");
    ChunkSigner::new(key, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", seed)
}

const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

/// What a decoder makes of a body that comes in these pieces.
fn decode(mut decoder: ChunkDecoder, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<Trailer>), ChunkError> {
    let mut data = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(bytes) = decoder.next(&mut input)? {
            assert!(!bytes.is_empty());
            data.extend_from_slice(&bytes);
        }
        assert!(input.is_empty());
    }
    Ok((data, decoder.finish()?))
}

fn unsigned(body: &[u8]) -> Result<(Vec<u8>, Vec<Trailer>), ChunkError> {
    decode(ChunkDecoder::new(None, true), &[body])
}

fn signed(body: &[u8], trailer: bool) -> Result<(Vec<u8>, Vec<Trailer>), ChunkError> {
    decode(ChunkDecoder::new(Some(signer(SEED)), trailer), &[body])
}

fn crc32c() -> Trailer {
    Trailer { name: "x-amz-checksum-crc32c".into(), value: "sOO8/Q==".into() }
}

/// Encodes as clients do.
fn encode(chunks: &[Vec<u8>], signer: Option<ChunkSigner>, trailers: Option<&[Trailer]>) -> Vec<u8> {
    let mut signer = signer;
    let mut body = Vec::new();
    for chunk in chunks.iter().map(Vec::as_slice).chain([&b""[..]]) {
        body.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
        if let Some(signer) = &mut signer {
            let signature = signer.sign_chunk(&sha256(chunk));
            body.extend_from_slice(format!(";chunk-signature={signature}").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        if !chunk.is_empty() {
            body.extend_from_slice(&[chunk, b"\r\n"].concat());
        }
    }
    if let Some(trailers) = trailers {
        for Trailer { name, value } in trailers {
            body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
        if let Some(signer) = &mut signer {
            let signature = signer.sign_trailer(&trailer_digest(trailers));
            body.extend_from_slice(format!("{TRAILER_SIGNATURE}:{signature}\r\n").as_bytes());
        }
    }
    body.extend_from_slice(b"\r\n");
    body
}

/// AWS: "Transferring Payload in Multiple Chunks", byte for byte.
#[test]
fn the_published_body_is_decoded() {
    let mut body = Vec::new();
    for (size, signature) in [
        (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1_024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend_from_slice(&vec![b'a'; size]);
        body.extend_from_slice(b"\r\n");
    }
    assert_eq!(body.len(), 66_824);
    assert_eq!(signed(&body, false), Ok((vec![b'a'; 66_560], vec![])));

    let last = body.len() - 100;
    body[last] ^= 1;
    assert!(signed(&body, false).is_err());
    body[last] ^= 1;
    body[65_000] ^= 1;
    assert_eq!(signed(&body, false), Err(ChunkError::WrongSignature));
}

#[test]
fn the_published_body_with_a_trailer_is_decoded() {
    let mut body = Vec::new();
    for (size, signature) in [
        (65_536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (1_024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ] {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        if size > 0 {
            body.extend_from_slice(&vec![b'a'; size]);
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(b"x-amz-checksum-crc32c:sOO8/Q==\r\n");
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n\r\n").as_bytes());

    let seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
    let decoder = || ChunkDecoder::new(Some(signer(seed)), true);
    assert_eq!(decode(decoder(), &[&body]), Ok((vec![b'a'; 66_560], vec![crc32c()])));
    let tampered = String::from_utf8(body).expect("all of it is text").replace("sOO8", "sOO9");
    assert_eq!(decode(decoder(), &[tampered.as_bytes()]), Err(ChunkError::WrongSignature));
}

/// minio-go writes the trailer with line feeds, an empty line before the signature, and, when it does
/// not sign, an empty line too many at the end.
#[test]
fn line_breaks_of_a_widely_used_client_are_understood() {
    let body = b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n";
    assert_eq!(unsigned(body), Ok((b"abc".to_vec(), vec![crc32c()])));

    let body = encode(&[b"abc".to_vec()], Some(signer(SEED)), Some(&[crc32c()]));
    let body = String::from_utf8(body).expect("all of it is text");
    let body = body.replace("sOO8/Q==\r\n", "sOO8/Q==\n\r\n");
    assert_eq!(signed(body.as_bytes(), true), Ok((b"abc".to_vec(), vec![crc32c()])));
}

#[test]
fn an_empty_body_is_one_empty_chunk() {
    assert_eq!(unsigned(b"0\r\n\r\n"), Ok((vec![], vec![])));
    assert_eq!(unsigned(b"0\r\nX-Amz-Checksum-CRC32C: sOO8/Q== \r\n\r\n"), Ok((vec![], vec![crc32c()])));
    assert_eq!(signed(&encode(&[], Some(signer(SEED)), None), false), Ok((vec![], vec![])));
    assert_eq!(unsigned(b""), Err(ChunkError::Truncated));
}

#[test]
fn what_is_not_framed_so_is_refused() {
    let long_line = [&b"3\r\nabc\r\n0\r\nx:"[..], &[b'x'; 2000]].concat();
    let many_lines = format!("0\r\n{}\r\n", "x:y\r\n".repeat(TRAILER_COUNT_MAX + 1));
    for body in [
        &b"\r\nabc\r\n0\r\n\r\n"[..],
        b"3\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        b"3;chunk-signature=00\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n0",
        b"3\r\nabc\r\n0\r\n\r\n\r\n\r\n",
        &long_line,
    ] {
        let text = String::from_utf8_lossy(body);
        assert!(matches!(unsigned(body), Err(ChunkError::Malformed(_))), "{text}: {:?}", unsigned(body));
    }
    for body in
        [&b"0\r\nabc\r\n\r\n"[..], b"0\r\n:abc\r\n\r\n", b"0\r\n\xff:abc\r\n\r\n", many_lines.as_bytes()]
    {
        assert!(matches!(unsigned(body), Err(ChunkError::MalformedTrailer(_))));
    }
    let with_trailer = encode(&[], Some(signer(SEED)), Some(&[crc32c()]));
    assert!(matches!(signed(&with_trailer, false), Err(ChunkError::Malformed(_))));
    assert!(matches!(signed(b"3\r\nabc\r\n0\r\n\r\n", false), Err(ChunkError::Malformed(_))));
}

#[test]
fn a_trailer_that_is_to_be_signed_is_not_believed_without() {
    let bare = encode(&[b"abc".to_vec()], Some(signer(SEED)), None);
    assert!(matches!(signed(&bare, true), Err(ChunkError::MalformedTrailer(_))));

    let body = String::from_utf8(encode(&[], Some(signer(SEED)), Some(&[crc32c()]))).expect("text");
    let cut = body.find(TRAILER_SIGNATURE).expect("it is signed");
    let unsigned = format!("{}\r\n", &body[..cut]);
    assert_eq!(signed(unsigned.as_bytes(), true), Err(ChunkError::Truncated));

    let after = body.replace("\r\n\r\n", "\r\nx-amz-checksum-sha1:x\r\n\r\n");
    assert!(matches!(signed(after.as_bytes(), true), Err(ChunkError::MalformedTrailer(_))));
}

#[test]
fn a_large_chunk_is_passed_on_before_its_end() {
    let mut decoder = ChunkDecoder::new(None, true);
    let mut input = Bytes::from_static(b"fffffffffff\r\nabc");
    assert_eq!(decoder.next(&mut input), Ok(Some(Bytes::from_static(b"abc"))));
    assert_eq!(decoder.next(&mut input), Ok(None));
    assert_eq!(decoder.finish(), Err(ChunkError::Truncated));
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..100), 0..5)
}

proptest! {
    #[test]
    fn the_pieces_it_comes_in_make_no_difference(
        chunks in chunks(),
        is_signed in any::<bool>(),
        trailer in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let signer = || is_signed.then(|| signer(SEED));
        let trailers = if trailer { vec![crc32c()] } else { vec![] };
        let body = encode(&chunks, signer(), trailer.then_some(&trailers[..]));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
        let decoder = ChunkDecoder::new(signer(), trailer || !is_signed);
        prop_assert_eq!(decode(decoder, &pieces), Ok((chunks.concat(), trailers)));
    }

    #[test]
    fn what_ends_early_is_noticed(chunks in chunks(), is_signed in any::<bool>(), cut in any::<prop::sample::Index>()) {
        let signer = || is_signed.then(|| signer(SEED));
        let body = encode(&chunks, signer(), Some(&[crc32c()]));
        let body = &body[..cut.index(body.len())];
        let decoder = ChunkDecoder::new(signer(), true);
        prop_assert_eq!(decode(decoder, &[body]), Err(ChunkError::Truncated));
    }

    /// Whatever byte of a signed body is changed. (Of a size, the case of a digit means nothing.)
    #[test]
    fn a_changed_byte_of_a_signed_body_is_noticed(
        chunks in chunks(),
        place in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let mut body = encode(&chunks, Some(signer(SEED)), Some(&[crc32c()]));
        let place = place.index(body.len());
        let before = decode(ChunkDecoder::new(Some(signer(SEED)), true), &[&body]).expect("it is right");
        body[place] ^= change;
        let after = decode(ChunkDecoder::new(Some(signer(SEED)), true), &[&body]);
        prop_assert!(after.is_err() || after == Ok(before));
    }

    #[test]
    fn no_bytes_make_it_panic(
        body in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b';')], 0..200),
        is_signed in any::<bool>(),
        trailer in any::<bool>(),
    ) {
        let _ = decode(ChunkDecoder::new(is_signed.then(|| signer(SEED)), trailer), &[&body]);
    }
}
