//! An access key as a gateway uses it, and as the catalog keeps it.

use std::fmt;

use protocol::catalog::{AccessKey, AccessScope};

use super::ROOT;
use super::vault::{Secret, Vault};
use crate::auth::caller::{Caller, Grants, Scope};

/// May only read.
pub(super) const READ_ONLY: u32 = 1 << 0;
/// Must not be used for now.
pub(super) const DISABLED: u32 = 1 << 1;

const KNOWN: u32 = READ_ONLY | DISABLED;

/// A key from the configuration. It may do everything.
#[derive(Clone)]
pub struct RootKey {
    pub access_key: String,
    pub secret: String,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A key that may be used.
#[derive(Debug)]
pub(in crate::auth) struct Identity {
    secret: Secret,
    caller: Caller,
}

impl Identity {
    pub(in crate::auth) fn secret(&self) -> &str {
        &self.secret.0
    }

    pub(in crate::auth) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn of_root(vault: &Vault, root: RootKey) -> Identity {
        let caller = Caller {
            access_key: root.access_key,
            owner: vault.owner(ROOT),
            display_name: ROOT.into(),
            grants: Grants::default(),
        };
        Identity { secret: Secret(root.secret), caller }
    }

    /// None: the key must not be used.
    pub(super) fn of_row(vault: &Vault, id: &str, row: &AccessKey) -> Option<Identity> {
        if row.flags & DISABLED != 0 {
            return None;
        }
        // A later release may have restricted the key in a way that this one knows nothing of.
        if row.flags & !KNOWN != 0 {
            tracing::error!(access_key = id, flags = row.flags, "an access key has unknown flags");
            return None;
        }
        let Some(secret) = vault.open(id, &row.secret) else {
            tracing::error!(access_key = id, "the secret of an access key cannot be opened");
            return None;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let caller = Caller {
            access_key: id.into(),
            owner: text(&row.owner),
            display_name: text(&row.display_name),
            grants: Grants {
                read_only: row.flags & READ_ONLY != 0,
                scopes: row.scopes.iter().map(Scope::from).collect(),
            },
        };
        Some(Identity { secret, caller })
    }
}

impl From<&AccessScope> for Scope {
    fn from(scope: &AccessScope) -> Scope {
        let bucket = String::from_utf8_lossy(&scope.bucket).into_owned();
        Scope { bucket, prefix: scope.prefix.to_vec() }
    }
}

impl From<Scope> for AccessScope {
    fn from(scope: Scope) -> AccessScope {
        AccessScope { bucket: scope.bucket.into(), prefix: scope.prefix.into() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::types::Timestamp;
    use transport::ClusterKey;

    use super::*;

    fn row(vault: &Vault, flags: u32) -> AccessKey {
        AccessKey {
            secret: vault.seal("AK", &Secret("secret".into())).unwrap(),
            user: "alice".into(),
            owner: vault.owner("alice").into(),
            display_name: "Alice".into(),
            flags,
            scopes: vec![AccessScope { bucket: "b".into(), prefix: Bytes::from_static(b"p\xff") }],
            created: Timestamp::new(1),
        }
    }

    #[test]
    fn a_row_says_who_the_caller_is_and_what_it_may_do() {
        let vault = Vault::new(&ClusterKey::new([1; 32]));
        let identity = Identity::of_row(&vault, "AK", &row(&vault, READ_ONLY)).unwrap();
        assert_eq!(identity.secret(), "secret");
        let Caller { access_key, owner, display_name, grants } = identity.caller().clone();
        assert_eq!((&*access_key, &*display_name), ("AK", "Alice"));
        assert_eq!(owner, vault.owner("alice"));
        let scopes = vec![Scope { bucket: "b".into(), prefix: b"p\xff".to_vec() }];
        assert_eq!(grants, Grants { read_only: true, scopes });
        assert!(!Identity::of_row(&vault, "AK", &row(&vault, 0)).unwrap().caller().grants.read_only);
    }

    #[test]
    fn a_key_is_not_used_if_it_is_disabled_or_not_understood() {
        let vault = Vault::new(&ClusterKey::new([1; 32]));
        for flags in [DISABLED, DISABLED | READ_ONLY, 1 << 2, 1 << 31] {
            assert!(Identity::of_row(&vault, "AK", &row(&vault, flags)).is_none(), "{flags}");
        }
        let other = Vault::new(&ClusterKey::new([2; 32]));
        assert!(Identity::of_row(&other, "AK", &row(&vault, 0)).is_none());
        assert!(Identity::of_row(&vault, "AL", &row(&vault, 0)).is_none());
    }

    #[test]
    fn a_root_key_does_not_print_its_secret() {
        let root = RootKey { access_key: "AK".into(), secret: "hunter2".into() };
        assert!(!format!("{root:?}").contains("hunter2"));
    }
}
