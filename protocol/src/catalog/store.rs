//! Reading and writing rows.

use super::error::Error;
use super::keys;
use super::metadata::Conditions;
use super::names::{BucketId, BucketRef};
use super::rows::{BucketRow, ObjectRow, PartRow};
use crate::codec::{DecodeError, Decoder};
use crate::tables::{Scan, TableFault, Tables};
use crate::wire::Wire;

/// Why an operation or a query ends early: refused, or the table cannot be read.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Error),
    Fault(TableFault),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

impl From<TableFault> for Failure {
    fn from(fault: TableFault) -> Failure {
        Failure::Fault(fault)
    }
}

/// A refusal is an answer; a fault is not.
pub(super) fn answered<A>(outcome: Result<A, Failure>) -> Result<Result<A, Error>, TableFault> {
    match outcome {
        Ok(answer) => Ok(Ok(answer)),
        Err(Failure::Refused(error)) => Ok(Err(error)),
        Err(Failure::Fault(fault)) => Err(fault),
    }
}

/// The table holds something that the catalog never writes.
pub(super) fn damaged(what: impl std::fmt::Display) -> TableFault {
    TableFault::damage(format!("catalog: {what}"))
}

fn undecodable(key: &[u8], error: &DecodeError) -> TableFault {
    damaged(format_args!("the row {key:02x?} is damaged: {error}"))
}

pub(super) fn read<R: Wire>(tables: &impl Tables, key: &[u8]) -> Result<Option<R>, TableFault> {
    match tables.get(key)? {
        Some(value) => R::from_bytes(&value).map(Some).map_err(|error| undecodable(key, &error)),
        None => Ok(None),
    }
}

pub(super) fn write(tables: &mut impl Tables, key: &[u8], row: &impl Wire) {
    tables.put(key, &row.encoded());
}

/// Decodes the value of a row that a scan visits.
pub(super) fn decode<R: Wire>(key: &[u8], value: &[u8]) -> Result<R, TableFault> {
    let mut input = Decoder::copying(value);
    R::decode(&mut input, "row")
        .and_then(|row| input.finish().map(|()| row))
        .map_err(|error| undecodable(key, &error))
}

/// Decodes the summary of an object's row that a scan visits.
pub(super) fn decode_summary(key: &[u8], value: &[u8]) -> Result<super::reply::ObjectSummary, TableFault> {
    ObjectRow::summary(value).map_err(|error| undecodable(key, &error))
}

/// Decodes the size and the digest of a part's row that a scan visits.
pub(super) fn decode_size_and_digest(key: &[u8], value: &[u8]) -> Result<(u64, [u8; 16]), TableFault> {
    PartRow::size_and_digest(value).map_err(|error| undecodable(key, &error))
}

/// Like `Tables::scan`, for a visitor that can fail.
pub(super) fn scan(
    tables: &impl Tables,
    from: &[u8],
    to: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<Scan, TableFault>,
) -> Result<(), TableFault> {
    if from >= to {
        return Ok(());
    }
    let mut outcome = Ok(());
    tables.scan(from, Some(to), &mut |key, value| {
        visit(key, value).unwrap_or_else(|fault| {
            outcome = Err(fault);
            Scan::Stop
        })
    })?;
    outcome
}

/// Like `scan`, of all rows whose key begins with `prefix`.
pub(super) fn scan_prefix(
    tables: &impl Tables,
    prefix: &[u8],
    visit: impl FnMut(&[u8], &[u8]) -> Result<Scan, TableFault>,
) -> Result<(), TableFault> {
    scan(tables, prefix, &keys::successor(prefix.to_vec()), visit)
}

pub(super) fn is_empty(tables: &impl Tables, prefix: &[u8]) -> Result<bool, TableFault> {
    let mut empty = true;
    scan_prefix(tables, prefix, |_, _| {
        empty = false;
        Ok(Scan::Stop)
    })?;
    Ok(empty)
}

pub(super) fn find_bucket(tables: &impl Tables, bucket: &BucketRef) -> Result<BucketRow, Failure> {
    let row: BucketRow = read(tables, &keys::bucket(&bucket.name))?.ok_or(Error::NoSuchBucket)?;
    match bucket.id {
        Some(id) if id != row.id => Err(Error::NoSuchBucket.into()),
        _ => Ok(row),
    }
}

pub(super) fn find_object(
    tables: &impl Tables,
    bucket: BucketId,
    key: &[u8],
) -> Result<Option<ObjectRow>, TableFault> {
    read(tables, &keys::object(bucket, key))
}

/// Decides whether `current` may be replaced.
pub(super) fn check_conditions(conditions: &Conditions, current: Option<&ObjectRow>) -> Result<(), Error> {
    match (&conditions.if_match, current) {
        (Some(_), None) => return Err(Error::NoSuchKey),
        (Some(wanted), Some(current)) if !wanted.matches(&current.summary.etag) => {
            return Err(Error::PreconditionFailed);
        }
        _ => {}
    }
    match (&conditions.if_none_match, current) {
        (Some(unwanted), Some(current)) if unwanted.matches(&current.summary.etag) => {
            Err(Error::PreconditionFailed)
        }
        _ => Ok(()),
    }
}
