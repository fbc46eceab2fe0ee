//! Who signed a request, and what they may do with it.

use std::collections::BTreeSet;

/// Whoever signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The id of the access key that was used.
    pub access_key: String,
    /// The user's canonical id: 64 hexadecimal digits, the same for all keys of a user.
    pub owner: String,
    pub display_name: String,
    pub grants: Grants,
}

/// What an access key may be used for.
///
/// | | needs |
/// |---|---|
/// | reading an object | a scope that holds its key |
/// | writing or deleting one, its tags, an upload | the same, and a key that may write |
/// | listing | a scope that holds everything that can be listed: the prefix lies in the scope |
/// | seeing a bucket: `HeadBucket`, `ListBuckets` | any scope in the bucket |
/// | creating, deleting or tagging a bucket | a scope of the whole bucket, and a key that may write |
///
/// A copy reads its source and writes its destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    pub read_only: bool,
    /// Any of them suffices. None at all: everything is allowed, in every bucket.
    pub scopes: Vec<Scope>,
}

/// The keys of a bucket that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub bucket: String,
    /// Empty: the whole bucket. Compared byte by byte: `logs` holds `logs/a` and `logs2` too.
    pub prefix: Vec<u8>,
}

impl Caller {
    /// To read this object, or the part of a listing or upload under this key.
    pub fn may_read(&self, bucket: &str, key: impl AsRef<[u8]>) -> bool {
        self.grants.hold(bucket, key.as_ref())
    }

    /// To write, change or delete this object, or upload parts of it.
    pub fn may_write(&self, bucket: &str, key: impl AsRef<[u8]>) -> bool {
        !self.grants.read_only && self.grants.hold(bucket, key.as_ref())
    }

    /// To write, change or delete some object or other in this bucket.
    pub fn may_write_somewhere(&self, bucket: &str) -> bool {
        !self.grants.read_only && self.may_see_bucket(bucket)
    }

    /// To list whatever begins with this prefix.
    pub fn may_list(&self, bucket: &str, prefix: impl AsRef<[u8]>) -> bool {
        self.grants.hold(bucket, prefix.as_ref())
    }

    /// To know that there is such a bucket, and where.
    pub fn may_see_bucket(&self, bucket: &str) -> bool {
        self.grants.scopes.is_empty() || self.grants.scopes.iter().any(|scope| scope.bucket == bucket)
    }

    /// The names of all buckets that it can know of, whether they exist or not. None: it may know of any.
    pub fn buckets(&self) -> Option<BTreeSet<&str>> {
        let scopes = &self.grants.scopes;
        let names = || scopes.iter().map(|scope| scope.bucket.as_str()).collect();
        (!scopes.is_empty()).then(names)
    }

    /// To read what is said of the bucket as a whole: its tags and configuration.
    pub fn may_read_bucket(&self, bucket: &str) -> bool {
        self.grants.hold(bucket, b"")
    }

    /// To create a bucket of this name.
    pub fn may_create_bucket(&self, bucket: &str) -> bool {
        self.may_write(bucket, b"")
    }

    /// To delete the bucket, or to change what is said of it as a whole.
    pub fn may_change_bucket(&self, bucket: &str) -> bool {
        self.may_write(bucket, b"")
    }
}

impl Grants {
    /// Whether everything that begins with `prefix` lies in one scope. A key is in it if all that
    /// begins with the key is; the empty prefix is the whole bucket.
    fn hold(&self, bucket: &str, prefix: &[u8]) -> bool {
        let holds = |scope: &Scope| scope.bucket == bucket && prefix.starts_with(&scope.prefix);
        self.scopes.is_empty() || self.scopes.iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(read_only: bool, scopes: &[(&str, &str)]) -> Caller {
        let scopes = scopes.iter().map(|(bucket, prefix)| Scope {
            bucket: (*bucket).into(),
            prefix: (*prefix).as_bytes().to_vec(),
        });
        Caller {
            access_key: "AK".into(),
            owner: "0".repeat(64),
            display_name: String::new(),
            grants: Grants { read_only, scopes: scopes.collect() },
        }
    }

    #[test]
    fn a_key_without_scopes_may_do_everything() {
        let caller = caller(false, &[]);
        assert!(caller.may_read("b", "k"));
        assert!(caller.may_write("b", "k"));
        assert!(caller.may_list("b", ""));
        assert!(caller.may_see_bucket("b"));
        assert!(caller.may_read_bucket("b"));
        assert!(caller.may_create_bucket("b"));
        assert!(caller.may_change_bucket("b"));
        assert_eq!(caller.buckets(), None);
    }

    #[test]
    fn a_key_that_only_reads_changes_nothing() {
        for caller in [caller(true, &[]), caller(true, &[("b", "")])] {
            assert!(caller.may_read("b", "k"));
            assert!(caller.may_list("b", ""));
            assert!(caller.may_see_bucket("b"));
            assert!(caller.may_read_bucket("b"));
            assert!(!caller.may_write("b", "k"));
            assert!(!caller.may_write_somewhere("b"));
            assert!(!caller.may_create_bucket("b"));
            assert!(!caller.may_change_bucket("b"));
        }
    }

    #[test]
    fn a_key_for_a_bucket_does_everything_there_and_nothing_elsewhere() {
        let caller = caller(false, &[("b", "")]);
        assert!(caller.may_write("b", "k"));
        assert!(caller.may_list("b", ""));
        assert!(caller.may_create_bucket("b"));
        assert!(caller.may_change_bucket("b"));
        for other in ["c", "bb", ""] {
            assert!(!caller.may_read(other, "k"));
            assert!(!caller.may_write(other, "k"));
            assert!(!caller.may_list(other, "k"));
            assert!(!caller.may_see_bucket(other));
            assert!(!caller.may_read_bucket(other));
            assert!(!caller.may_create_bucket(other));
            assert!(!caller.may_change_bucket(other));
        }
    }

    #[test]
    fn a_key_for_a_prefix_sees_no_key_outside_it() {
        let caller = caller(false, &[("b", "logs/"), ("c", "")]);
        assert!(caller.may_read("b", "logs/"));
        assert!(caller.may_write("b", "logs/a"));
        assert!(caller.may_write_somewhere("b"));
        assert!(!caller.may_write_somewhere("d"));
        assert!(caller.may_list("b", "logs/a"));
        assert!(caller.may_see_bucket("b"));
        assert_eq!(caller.buckets(), Some(BTreeSet::from(["b", "c"])));
        for outside in ["", "logs", "log", "Logs/a", "other/logs/"] {
            assert!(!caller.may_read("b", outside), "{outside}");
            assert!(!caller.may_write("b", outside), "{outside}");
            assert!(!caller.may_list("b", outside), "{outside}");
        }
        assert!(!caller.may_read_bucket("b"));
        assert!(!caller.may_create_bucket("b"));
        assert!(!caller.may_change_bucket("b"));
        assert!(caller.may_write("c", "anything"));
    }
}
