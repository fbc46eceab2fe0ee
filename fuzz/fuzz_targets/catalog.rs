//! What a client may ask of the catalog: an operation that is understood is written the same way, and
//! checking it never panics.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::catalog::{CatalogLimits, Operation, Query, QueryReply, Reply};
use protocol::wire::Wire;

fn check<T: Wire>(bytes: &Bytes) -> Option<T> {
    let value = T::from_bytes(bytes).ok()?;
    assert_eq!(value.encoded()[..], bytes[..]);
    Some(value)
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(operation) = check::<Operation>(&bytes) {
        let _ = operation.check(&CatalogLimits::standard());
    }
    if let Some(query) = check::<Query>(&bytes) {
        let _ = query.check();
    }
    check::<Reply>(&bytes);
    check::<QueryReply>(&bytes);
});
