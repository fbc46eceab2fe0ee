//! Requests that nobody thought of.

use http::{HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{ACCESS_KEY, Request, SECRET, authenticator, example_time};
use crate::auth::canonical::{encode, encode_path};
use crate::auth::{SignedRequest, Signer};
use crate::s3::ErrorCode;

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::GET),
        Just(Method::PUT),
        Just(Method::POST),
        Just(Method::DELETE),
        Just(Method::HEAD)
    ]
}

/// Any bytes at all: a key need not be a text for a signature to be right.
fn path() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..40).prop_map(|key| Signer::path("bucket", key))
}

fn query() -> impl Strategy<Value = String> {
    let pair = (vec(any::<u8>(), 1..8), vec(any::<u8>(), 0..8));
    vec(pair, 0..5).prop_map(|pairs| {
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("q{}={}", encode(name), encode(value))).collect();
        pairs.join("&")
    })
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let byte = prop_oneof![Just(b' '), Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8];
    vec(("(x-amz-meta-|if-|content-)[a-z]{1,6}", vec(byte, 0..12)), 0..5)
}

prop_compose! {
    fn request()(method in method(), path in path(), query in query(), headers in headers()) -> Request {
        let mut request = Request::new(method, &path, &query);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers.append(name, HeaderValue::from_bytes(&value).expect("a value"));
        }
        request
    }
}

/// Another way to write the same path: other characters escaped, and in another case.
fn rewritten(path: &str, choices: &[bool]) -> String {
    let choice = |at: usize| choices[at % choices.len()];
    let mut out = String::new();
    let mut rest = path.chars();
    let mut at = 0;
    while let Some(character) = rest.next() {
        at += 1;
        match character {
            '%' => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).expect("the path is well-formed");
                let legal = b"!$&'()*+,;=:@".contains(&byte);
                match (legal && choice(at), choice(at + 1)) {
                    (true, _) => out.push(char::from(byte)),
                    (false, true) => out.push_str(&format!("%{byte:02x}")),
                    (false, false) => out.push_str(&format!("%{byte:02X}")),
                }
            }
            'a'..='z' if choice(at) => out.push_str(&format!("%{:02X}", u32::from(character))),
            other => out.push(other),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_the_signer_signs_the_authenticator_accepts(request in request()) {
        let signed = request.clone().signed("UNSIGNED-PAYLOAD");
        prop_assert!(signed.authenticate().is_ok(), "{:?}", signed.authenticate());
        let presigned = request.presigned(60);
        prop_assert!(presigned.authenticate().is_ok(), "{:?}", presigned.authenticate());
    }

    #[test]
    fn a_path_may_be_written_in_any_way(request in request(), choices in vec(any::<bool>(), 1..20)) {
        let mut signed = request.signed("UNSIGNED-PAYLOAD");
        signed.path = rewritten(&signed.path, &choices);
        prop_assert!(signed.authenticate().is_ok(), "{:?}", signed.authenticate());
    }

    /// One byte of the path, of a header's value or of the authorization is another one.
    #[test]
    fn a_changed_byte_is_noticed(
        request in request(),
        place in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let signed = request.with("x-amz-meta-fixed", "value").signed("UNSIGNED-PAYLOAD");
        let mut places: Vec<(String, usize)> = (1..signed.path.len()).map(|at| (String::new(), at)).collect();
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-meta-fixed"] {
            places.extend((0..signed.headers[name].len()).map(|at| (name.to_owned(), at)));
        }
        let (name, at) = place.get(&places);
        let mut changed = signed.clone();
        if name.is_empty() {
            let mut path = signed.path.clone().into_bytes();
            path[*at] ^= by;
            // What is written differently may still mean the same.
            let Ok(path) = String::from_utf8(path) else { return Ok(()) };
            let meaning = |path: &str| percent_encoding::percent_decode_str(path).collect::<Vec<u8>>();
            prop_assume!(meaning(&path) != meaning(&signed.path));
            changed.path = path;
        } else {
            let mut value = signed.headers[name.as_str()].as_bytes().to_vec();
            value[*at] ^= by;
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let key = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            // Spaces and tabs between the parts of the authorization, and the case of names, mean nothing.
            let plain = |value: &HeaderValue| {
                String::from_utf8_lossy(value.as_bytes()).replace([' ', '\t'], "").to_lowercase()
            };
            prop_assume!(plain(&value) != plain(&signed.headers[name.as_str()]));
            changed.headers.insert(key, value);
        }
        prop_assert!(changed.authenticate().is_err(), "{:?} is {:?}", name, changed);
    }

    #[test]
    fn no_header_makes_the_authenticator_panic(
        authorization in vec(prop_oneof![
            vec(any::<u8>(), 0..10),
            Just(b"AWS4-HMAC-SHA256 ".to_vec()),
            Just(format!("Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request").into_bytes()),
            Just(b"SignedHeaders=host;x-amz-date".to_vec()),
            Just(b"Signature=".to_vec()),
            Just(b",".to_vec()),
            Just(b"=".to_vec()),
            Just(b"/".to_vec()),
        ], 0..8),
        date in "([0-9]{8}T[0-9]{6}Z|.{0,20})",
        payload in ".{0,70}",
    ) {
        let mut request = Request::get("/bucket/key", "a=b");
        for (name, value) in [
            ("authorization", authorization.concat()),
            ("x-amz-date", date.into_bytes()),
            ("x-amz-content-sha256", payload.into_bytes()),
        ] {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            request.headers.insert(name, value);
        }
        prop_assert!(request.authenticate().is_err());
    }

    #[test]
    fn no_path_or_query_makes_the_authenticator_panic(
        path in "\\PC{0,20}",
        pairs in vec(prop_oneof![
            "\\PC{0,12}".prop_map(String::from),
            "X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token)=\\PC{0,12}"
                .prop_map(String::from),
            Just("X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned()),
            Just("X-Amz-Date=20130524T000000Z".to_owned()),
            Just("X-Amz-Expires=60".to_owned()),
            Just("X-Amz-SignedHeaders=host".to_owned()),
            Just(format!("X-Amz-Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request")),
        ], 0..9),
    ) {
        prop_assert!(Request::get(&path, &pairs.join("&")).authenticate().is_err());
    }
}

/// The parts of a URL that a client shows are not the parts that it sends: whatever is decoded is encoded
/// in one way only.
#[test]
fn an_encoded_path_holds_nothing_but_unreserved_characters() {
    let all: Vec<u8> = (0..=255).collect();
    let encoded = encode_path(&all);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
    assert!(encoded.bytes().all(plain));
    assert_eq!(percent_encoding::percent_decode_str(&encoded).collect::<Vec<u8>>(), all);
}

/// A signer with another secret, and one whose key nobody knows.
#[tokio::test]
async fn only_the_right_secret_signs() {
    let authenticator = authenticator();
    for (access_key, secret, expected) in [
        (ACCESS_KEY, SECRET, None),
        (ACCESS_KEY, "wrong", Some(ErrorCode::SignatureDoesNotMatch)),
        ("AKIAUNKNOWN", SECRET, Some(ErrorCode::InvalidAccessKeyId)),
    ] {
        let request = Request::get("/bucket/key", "");
        let signer =
            Signer { access_key: access_key.into(), secret: secret.into(), region: "anywhere".into() };
        let mut headers = http::HeaderMap::new();
        signer.sign(request.to_sign(), &mut headers, "UNSIGNED-PAYLOAD", example_time()).unwrap();
        let Request { method, host, path, query, .. } = &request;
        let request = SignedRequest {
            method,
            host,
            raw_path: path,
            raw_query: query,
            headers: &headers,
            host_bucket: None,
        };
        let outcome = authenticator.authenticate(&request, example_time()).await;
        assert_eq!(outcome.err().map(|error| error.code), expected, "{access_key} {secret}");
    }
}
