//! What a client may send to a gateway: request line, headers, signature, documents, chunked bodies.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gateway::hostile::request(bytes));
