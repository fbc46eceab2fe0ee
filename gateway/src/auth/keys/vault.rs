//! Secrets at rest.
//!
//! To verify a signature one needs the secret itself, not a digest of it, so the catalog holds it
//! sealed: whoever has a replica's disk, or a copy of one, has no secrets. What opens them follows from
//! the cluster key.
//!
//! ```text
//!  1 │ nonce 12 │ secret, encrypted │ tag 16          AES-256-GCM; the access key's id is authenticated too
//! ```

use std::fmt;

use bytes::Bytes;
use protocol::catalog::SECRET_BYTES_MAX;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use transport::ClusterKey;

use crate::auth::signature::hex;

const VERSION: u8 = 1;

/// The longest secret that can be kept.
pub(super) const SECRET_SIZE_MAX: usize = 128;

const _: () = assert!(1 + NONCE_LEN + SECRET_SIZE_MAX + 16 <= SECRET_BYTES_MAX);

/// What follows from the cluster key for access keys.
pub(super) struct Vault {
    cluster_key: ClusterKey,
    seal: LessSafeKey,
}

impl Vault {
    pub(super) fn new(cluster_key: &ClusterKey) -> Vault {
        let seal = UnboundKey::new(&AES_256_GCM, &cluster_key.secrets_seal())
            .expect("the key has the size that the algorithm wants");
        Vault { cluster_key: cluster_key.clone(), seal: LessSafeKey::new(seal) }
    }

    /// A secret, for the row of the access key of this id. None: there is no randomness.
    pub(super) fn seal(&self, id: &str, secret: &Secret) -> Option<Bytes> {
        // Random: the few keys that a cluster ever has come nowhere near a repetition.
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = secret.0.as_bytes().to_vec();
        self.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), &mut sealed)
            .expect("a secret is not so long that it cannot be sealed");
        Some(Bytes::from([&[VERSION], &nonce[..], &sealed].concat()))
    }

    /// The secret in the row of the access key of this id. None: it was sealed under another cluster
    /// key, or for another id, or is damaged.
    pub(super) fn open(&self, id: &str, sealed: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = sealed.strip_prefix(&[VERSION])?.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.seal.open_in_place(nonce, Aad::from(id), &mut sealed).ok()?;
        std::str::from_utf8(opened).ok().map(|secret| Secret(secret.into()))
    }

    /// The canonical id of a user: the same for ever, whatever keys the user has.
    pub(super) fn owner(&self, user: &str) -> String {
        hex(&self.cluster_key.canonical_id(user))
    }
}

/// A secret access key. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// From the operating system. None: it has none to give.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(key: u8) -> Vault {
        Vault::new(&ClusterKey::new([key; 32]))
    }

    fn secret() -> Secret {
        Secret("hunter2hunter2".into())
    }

    #[test]
    fn a_secret_is_opened_with_the_same_key_for_the_same_id_only() {
        let sealed = vault(1).seal("AK", &secret()).unwrap();
        assert_eq!(vault(1).open("AK", &sealed), Some(secret()));
        assert_eq!(vault(1).open("AL", &sealed), None);
        assert_eq!(vault(2).open("AK", &sealed), None);
        assert_ne!(vault(1).seal("AK", &secret()).unwrap(), sealed, "no nonce is used twice");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn a_damaged_secret_is_not_opened() {
        let sealed = vault(1).seal("AK", &secret()).unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1;
            assert_eq!(vault(1).open("AK", &damaged), None, "byte {at}");
            assert_eq!(vault(1).open("AK", &sealed[..at]), None, "cut to {at}");
        }
    }

    /// It lies in rows: a later release must open it.
    #[test]
    fn what_was_sealed_once_can_still_be_opened() {
        let sealed = "010753642e8ceb88bd3b6a154484f9b5a00c866b5ca5cea94d997a806cba126023e981d80f98388f873077";
        let bytes: Vec<u8> = (0..sealed.len() / 2)
            .map(|at| u8::from_str_radix(&sealed[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(vault(1).open("AK", &bytes), Some(secret()));
    }

    #[test]
    fn a_user_has_one_canonical_id() {
        let owner = vault(1).owner("alice");
        assert_eq!(owner.len(), 64);
        assert_eq!(owner, vault(1).owner("alice"));
        assert_ne!(owner, vault(1).owner("bob"));
        assert_ne!(owner, vault(2).owner("alice"));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", secret()), "Secret");
    }
}
