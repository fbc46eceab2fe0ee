//! Access keys: who may sign requests.

use super::Apply;
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::operation::AccessKey;
use crate::catalog::reply::Success;
use crate::catalog::store::{Failure, write};
use crate::tables::Tables;

impl<T: Tables> Apply<'_, T> {
    pub(super) fn put_access_key(&mut self, id: &[u8], access_key: &AccessKey) -> Result<Success, Failure> {
        write(self.tables, &keys::access_key(id), access_key);
        Ok(Success::Done)
    }

    pub(super) fn delete_access_key(&mut self, id: &[u8]) -> Result<Success, Failure> {
        let row = keys::access_key(id);
        self.tables.get(&row)?.ok_or(Error::NoSuchAccessKey)?;
        self.tables.delete(&row);
        Ok(Success::Done)
    }
}
