//! Who asks, and what they may do.
//!
//! ```text
//!  request ─▶ claim ─▶ key ─▶ canonical request ─▶ signature ─▶ Caller, BodyAuth
//! ```
//!
//! In reading order: finding out who signed a request (`authenticator`), what the request says of that
//! (`claim`: the `Authorization` header, a presigned URL's query, and `payload`; URLs of old: `version_2`), the form that is signed
//! (`canonical`), keys and signatures (`signature`), access keys and users (`keys`), and what a caller may
//! do (`caller`). The other side, for whoever asks a server: `sign`.

mod authenticator;
mod authorization;
mod caller;
mod canonical;
mod claim;
mod date;
mod keys;
mod payload;
mod presigned;
mod sign;
pub mod signature;
mod version_2;

#[cfg(test)]
mod tests;

pub use authenticator::Authenticator;
pub use caller::{Caller, Grants, Scope};
pub use canonical::SignedRequest;
pub use keys::{KeyInfo, KeySelection, KeySource, NewKey, ROOT, RootKey, UserError, Users};
pub(crate) use presigned::MARKS as PRESIGNED_MARKS;
pub use sign::{Signer, ToSign};
pub use signature::{BodyAuth, ChunkSigner};

/// What a request claims, as far as it can be read: for whoever feeds it nonsense.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_claim(request: &SignedRequest<'_>) {
    if let Ok(Some(claim)) = version_2::Claim::read(request) {
        let _ = claim.verify(request, "a secret");
    }
    let _ = claim::Claim::read(request);
}
