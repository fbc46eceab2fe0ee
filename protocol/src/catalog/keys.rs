//! The keys of the catalog's rows. Their order is what makes listings cheap.
//!
//! ```text
//!  first byte            then                                     row
//!  0x00..0x0F                                                     not ours: the system's rows
//!  0x10 bucket           name                                     BucketRow
//!  0x11 access key       id                                       AccessKey
//!  0x20 object           bucket id 8 │ key, escaped │ ~version 8  ObjectRow
//!  0x30 upload           bucket id 8 │ key, escaped │ upload 8    UploadRow
//!  0x31 part             upload 8 │ number 2                      PartRow
//!  0x32 manifest         upload 8                                 ManifestRow
//!  0x33 layout           upload 8 │ end offset 8 │ last number 2  LayoutRow
//!  0x34 condemned        upload 8                                 CondemnedRow
//!  0x35 surplus          upload 8                                 SurplusRow
//!  0x40 body             session 8 │ upload number 8              BodyRow
//!  0x41 retired          session 8 │ upload number 8              RetiredRow
//!  0x42 debt             session 8 │ upload number 8              DebtRow
//!  0x43 rebuilt          node 1                                   RebuiltRow
//! ```
//!
//! Numbers are big-endian, so that they sort as numbers. An object's key may hold any byte, and what
//! follows it must not disturb the order of keys: a zero byte of the key becomes `00 FF`, and `00 00`
//! ends the key. So a key sorts before its own continuations, and the escaped form of a prefix is a
//! prefix of the escaped form of every key that begins with it.
//!
//! `~version` is the complement of the version, so that the newest version of a key comes first. A
//! bucket that never had versions keeps each object under version 0, below everything that a bucket
//! with versions would ever write: what was there before stays the oldest.

use super::names::{BodyId, BucketId, UploadId};
use crate::types::{ReplicaId, SessionId};

const BUCKET: u8 = 0x10;
const ACCESS_KEY: u8 = 0x11;
const PART: u8 = 0x31;
const MANIFEST: u8 = 0x32;
const LAYOUT: u8 = 0x33;
const CONDEMNED: u8 = 0x34;
const SURPLUS: u8 = 0x35;
const BODY: u8 = 0x40;
const RETIRED: u8 = 0x41;
const DEBT: u8 = 0x42;
const REBUILT: u8 = 0x43;

/// The version under which a bucket without versions keeps its objects.
const VERSION_NULL: u64 = 0;

/// The rows of a kind that are named by a bucket, a key and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Space {
    Objects = 0x20,
    Uploads = 0x30,
}

impl Space {
    fn start(self, bucket: BucketId, capacity: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity(1 + 8 + capacity);
        row.push(self as u8);
        row.extend_from_slice(&bucket.get().to_be_bytes());
        row
    }

    /// What the rows of all keys that begin with `prefix` begin with.
    pub(super) fn prefix(self, bucket: BucketId, prefix: &[u8]) -> Vec<u8> {
        let mut row = self.start(bucket, prefix.len() + 16);
        escape(&mut row, prefix);
        row
    }

    /// What the rows of `key` begin with.
    fn key(self, bucket: BucketId, key: &[u8]) -> Vec<u8> {
        let mut row = self.prefix(bucket, key);
        row.extend_from_slice(&[0, 0]);
        row
    }

    fn row(self, bucket: BucketId, key: &[u8], number: u64) -> Vec<u8> {
        let mut row = self.key(bucket, key);
        row.extend_from_slice(&number.to_be_bytes());
        row
    }

    /// Where the rows of keys greater than `key` begin.
    pub(super) fn after_key(self, bucket: BucketId, key: &[u8]) -> Vec<u8> {
        successor(self.key(bucket, key))
    }

    /// Where the rows of keys begin that are greater than `prefix` and do not begin with it.
    pub(super) fn after_prefix(self, bucket: BucketId, prefix: &[u8]) -> Vec<u8> {
        successor(self.prefix(bucket, prefix))
    }

    /// The key and the number that a row of this space is named by. None if it is not one.
    pub(super) fn parse(self, row: &[u8]) -> Option<(Vec<u8>, u64)> {
        let rest = row.strip_prefix(&[self as u8])?.get(8..)?;
        let (escaped, number) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        let key = unescape(escaped.strip_suffix(&[0, 0])?)?;
        Some((key, u64::from_be_bytes(number.try_into().ok()?)))
    }
}

fn escape(out: &mut Vec<u8>, key: &[u8]) {
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
}

fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(byte) = rest.next() {
        key.push(*byte);
        if *byte == 0 && rest.next() != Some(&0xff) {
            return None;
        }
    }
    Some(key)
}

/// The first key that does not begin with `prefix` and is greater.
pub(super) fn successor(mut prefix: Vec<u8>) -> Vec<u8> {
    while prefix.last() == Some(&0xff) {
        prefix.pop();
    }
    *prefix.last_mut().expect("every row begins with the byte of its kind, which is not 0xff") += 1;
    prefix
}

pub(super) fn object(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    Space::Objects.row(bucket, key, !VERSION_NULL)
}

pub(super) fn upload(bucket: BucketId, key: &[u8], upload: UploadId) -> Vec<u8> {
    Space::Uploads.row(bucket, key, upload.get())
}

pub(super) fn bucket(name: &[u8]) -> Vec<u8> {
    [&[BUCKET], name].concat()
}

/// The name in a row that `bucket` made.
pub(super) fn parse_bucket(row: &[u8]) -> Option<&[u8]> {
    row.strip_prefix(&[BUCKET])
}

pub(super) fn access_key(id: &[u8]) -> Vec<u8> {
    [&[ACCESS_KEY], id].concat()
}

/// The id in a row that `access_key` made.
pub(super) fn parse_access_key(row: &[u8]) -> Option<&[u8]> {
    row.strip_prefix(&[ACCESS_KEY])
}

fn of_upload(kind: u8, upload: UploadId) -> Vec<u8> {
    [&[kind][..], &upload.get().to_be_bytes()].concat()
}

/// What the rows of all parts of an upload begin with.
pub(super) fn parts(upload: UploadId) -> Vec<u8> {
    of_upload(PART, upload)
}

pub(super) fn part(upload: UploadId, number: u16) -> Vec<u8> {
    [&parts(upload)[..], &number.to_be_bytes()].concat()
}

pub(super) fn parse_part(row: &[u8]) -> Option<u16> {
    row.strip_prefix(&[PART])?.get(8..)?.try_into().ok().map(u16::from_be_bytes)
}

pub(super) fn manifest(upload: UploadId) -> Vec<u8> {
    of_upload(MANIFEST, upload)
}

/// What the rows of the layout of an upload begin with.
pub(super) fn layouts(upload: UploadId) -> Vec<u8> {
    of_upload(LAYOUT, upload)
}

/// Named by where it ends: a scan finds the row that holds a byte by going forward from the byte.
pub(super) fn layout(upload: UploadId, end: u64, last_number: u16) -> Vec<u8> {
    [&layouts(upload)[..], &end.to_be_bytes(), &last_number.to_be_bytes()].concat()
}

/// What the rows of all condemned uploads begin with.
pub(super) const CONDEMNED_ALL: [u8; 1] = [CONDEMNED];

pub(super) fn condemned(upload: UploadId) -> Vec<u8> {
    of_upload(CONDEMNED, upload)
}

pub(super) fn parse_condemned(row: &[u8]) -> Option<UploadId> {
    row.strip_prefix(&[CONDEMNED])?.try_into().ok().map(|id| UploadId::new(u64::from_be_bytes(id)))
}

/// What the rows of all completed uploads with parts to spare begin with.
pub(super) const SURPLUS_ALL: [u8; 1] = [SURPLUS];

pub(super) fn surplus(upload: UploadId) -> Vec<u8> {
    of_upload(SURPLUS, upload)
}

pub(super) fn parse_surplus(row: &[u8]) -> Option<UploadId> {
    row.strip_prefix(&[SURPLUS])?.try_into().ok().map(|id| UploadId::new(u64::from_be_bytes(id)))
}

/// The rows that are named by a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Bodies {
    Referenced = BODY,
    Retired = RETIRED,
    /// Referenced, and lacked by an owner.
    Debts = DEBT,
}

impl Bodies {
    pub(super) fn all(self) -> Vec<u8> {
        vec![self as u8]
    }

    pub(super) fn row(self, id: BodyId) -> Vec<u8> {
        let mut row = Vec::with_capacity(17);
        row.push(self as u8);
        row.extend_from_slice(&id.session.get().to_be_bytes());
        row.extend_from_slice(&id.upload.to_be_bytes());
        row
    }

    /// Where the rows after that of `after` begin.
    pub(super) fn after(self, after: Option<BodyId>) -> Vec<u8> {
        let Some(after) = after else { return self.all() };
        let mut row = self.row(after);
        row.push(0);
        row
    }

    pub(super) fn parse(self, row: &[u8]) -> Option<BodyId> {
        let (session, upload) = row.strip_prefix(&[self as u8])?.split_at_checked(8)?;
        Some(BodyId {
            session: SessionId::new(u64::from_be_bytes(session.try_into().ok()?)),
            upload: u64::from_be_bytes(upload.try_into().ok()?),
        })
    }
}

pub(super) fn rebuilt(node: ReplicaId) -> Vec<u8> {
    vec![REBUILT, node.get()]
}

/// Where the rows of names greater than the one of `row` begin, for rows that end with their name.
pub(super) fn after_row(mut row: Vec<u8>) -> Vec<u8> {
    row.push(0);
    row
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys that are likely to be prefixes of each other and to hold the bytes that escapes use.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff), any::<u8>()], 0..6)
    }

    #[test]
    fn the_rows_of_the_catalog_look_like_this() {
        let bucket_id = BucketId::new(0x0102);
        assert_eq!(
            object(bucket_id, b"a\0b"),
            b"\x20\0\0\0\0\0\0\x01\x02a\0\xffb\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
        );
        assert_eq!(
            upload(bucket_id, b"k", UploadId::new(3)),
            b"\x30\0\0\0\0\0\0\x01\x02k\0\0\0\0\0\0\0\0\0\x03"
        );
        assert_eq!(part(UploadId::new(3), 0x0405), b"\x31\0\0\0\0\0\0\0\x03\x04\x05");
        assert_eq!(surplus(UploadId::new(3)), b"\x35\0\0\0\0\0\0\0\x03");
        assert_eq!(bucket(b"abc"), b"\x10abc");
        assert_eq!(access_key(b"AK"), b"\x11AK");
        let body = BodyId { session: SessionId::new(5), upload: 6 };
        assert_eq!(Bodies::Debts.row(body), b"\x42\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06");
        assert_eq!(rebuilt(ReplicaId::new(2)), b"\x43\x02");
    }

    proptest! {
        #[test]
        fn rows_sort_as_their_keys_do(a in key(), b in key(), first in any::<u64>(), second in any::<u64>()) {
            let row = |key: &[u8], number| Space::Objects.row(BucketId::new(7), key, number);
            let rows = row(&a, first).cmp(&row(&b, second));
            prop_assert_eq!(rows, a.cmp(&b).then(first.cmp(&second)));
        }

        #[test]
        fn a_row_tells_its_key_and_number(key in key(), number in any::<u64>(), bucket in any::<u64>()) {
            let row = Space::Uploads.row(BucketId::new(bucket), &key, number);
            prop_assert_eq!(Space::Uploads.parse(&row), Some((key, number)));
        }

        #[test]
        fn the_rows_of_a_prefix_are_those_between_it_and_its_successor(prefix in key(), key in key()) {
            let bucket = BucketId::new(u64::MAX);
            let row = Space::Objects.row(bucket, &key, 1);
            let start = Space::Objects.prefix(bucket, &prefix);
            let inside = start <= row && row < Space::Objects.after_prefix(bucket, &prefix);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }

        #[test]
        fn the_rows_after_a_key_are_those_of_greater_keys(after in key(), key in key(), number in any::<u64>()) {
            let bucket = BucketId::new(1);
            let row = Space::Objects.row(bucket, &key, number);
            prop_assert_eq!(row >= Space::Objects.after_key(bucket, &after), key > after);
        }

        #[test]
        fn parsing_random_rows_never_panics(row in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Space::Objects.parse(&row);
            let _ = Bodies::Retired.parse(&row);
            let _ = (parse_part(&row), parse_bucket(&row), parse_access_key(&row));
            let _ = (parse_condemned(&row), parse_surplus(&row));
        }
    }
}
