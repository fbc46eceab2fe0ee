//! Access keys.

use bytes::Bytes;

use super::Ask;
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::operation::AccessKey;
use crate::catalog::reply::{Answer, NamedAccessKey};
use crate::catalog::store::{Failure, damaged, decode, read, scan};
use crate::tables::{Scan, Tables};

impl<T: Tables> Ask<'_, T> {
    pub(super) fn get_access_key(&self, id: &[u8]) -> Result<Answer, Failure> {
        let access_key = read(self.tables, &keys::access_key(id))?.ok_or(Error::NoSuchAccessKey)?;
        Ok(Answer::AccessKey { access_key })
    }

    pub(super) fn list_access_keys(&self, after: &[u8], limit: u32) -> Result<Answer, Failure> {
        let mut page = self.page(limit);
        let start = keys::after_row(keys::access_key(after));
        let end = keys::successor(keys::access_key(b""));
        scan(self.tables, &start, &end, |key, value| {
            if !page.has_room() {
                return Ok(Scan::Stop);
            }
            let id = keys::parse_access_key(key).ok_or_else(|| damaged("an access key without an id"))?;
            let access_key: AccessKey = decode(key, value)?;
            let id = Bytes::copy_from_slice(id);
            page.push(NamedAccessKey { id, access_key }, key.len() + value.len());
            Ok(Scan::Continue)
        })?;
        Ok(Answer::AccessKeys { access_keys: page.entries, truncated: page.truncated })
    }
}
