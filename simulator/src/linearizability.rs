//! Whether what clients saw can be explained by a store that does one thing after the other.
//!
//! The judge knows nothing of logs, views or replicas: only who asked what, when, and what they were
//! told. For each key it looks for an order of the calls that touch it (Wing and Gong's search, with
//! Lowe's memory of where it has been) in which every call lies within its own time and every answer
//! is true. Calls without an outcome may lie anywhere after their beginning, or nowhere.
//!
//! Listings touch all keys at once, and an order for them all would be too much to look for. They are
//! held to what is certain: a key that was surely there throughout must be listed, one that surely was
//! not must not be, and what is said of it must have been true.

mod lists;
mod project;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{Answer, ETag, NewBody, Operation, Piece, PieceSource, Success};

use crate::history::{Call, History};
use crate::workload::Action;
use project::Events;
use search::Verdict;

/// So many places does the search look at for one key before it gives up on it.
pub const STEPS_MAX: usize = 20_000;

/// How much was judged. A history that has nothing to judge proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub keys: usize,
    /// Calls on those keys; a call that touches two keys counts twice.
    pub operations: usize,
    pub lists: usize,
    /// Keys whose search was given up.
    pub skipped: usize,
}

pub fn check(history: &History) -> Result<Checked, String> {
    check_within(history, STEPS_MAX)
}

pub fn check_within(history: &History, steps_max: usize) -> Result<Checked, String> {
    check_order(history)?;
    check_contents(history)?;
    let events = project::project(history);
    let lists = lists::check(history, &events)?;
    let mut checked = Checked { lists, ..Checked::default() };
    for ((bucket, key), of_key) in &events {
        match search::search(of_key, steps_max) {
            Verdict::Explained => {
                checked.keys += 1;
                checked.operations += of_key.len();
            }
            Verdict::GivenUp => checked.skipped += 1,
            Verdict::Unexplained { stuck } => {
                let call = &history.calls()[stuck];
                return Err(format!(
                    "no order of the {} calls on {} explains this one: {}",
                    of_key.len(),
                    named(bucket, key),
                    described(call)
                ));
            }
        }
    }
    Ok(checked)
}

/// Versions and ids tell the order in which things were made: what was acknowledged before another
/// was asked for must have the lower number.
fn check_order(history: &History) -> Result<(), String> {
    let mut numbered: Vec<(&Call, u64)> =
        history.calls().iter().filter_map(|call| Some((call, number(call)?))).collect();
    numbered.sort_by_key(|(call, _)| call.invoked);
    let mut by_response = numbered.clone();
    by_response.sort_by_key(|(call, _)| call.responded());
    let mut done = by_response.into_iter().peekable();
    let mut highest: Option<(&Call, u64)> = None;
    for (call, number) in numbered {
        while let Some(earlier) = done.next_if(|(earlier, _)| earlier.responded() < call.invoked) {
            if highest.is_none_or(|(_, highest)| highest < earlier.1) {
                highest = Some(earlier);
            }
        }
        if let Some((earlier, highest)) = highest.filter(|(_, highest)| *highest >= number) {
            return Err(format!(
                "{} was made as number {number}, after number {highest} was acknowledged: {}",
                described(call),
                described(earlier)
            ));
        }
    }
    Ok(())
}

/// The number of what the call has made. A completion may repeat an earlier answer.
fn number(call: &Call) -> Option<u64> {
    let Action::Write { operation } = &call.action else { return None };
    match (operation, call.reply()?.as_ref().ok()?) {
        (Operation::CompleteUpload { .. }, _) => None,
        (_, Success::ObjectWritten { object }) => Some(object.version),
        (_, Success::UploadCreated { upload, .. }) => Some(upload.get()),
        (_, Success::BucketCreated { id, .. }) => Some(id.get()),
        _ => None,
    }
}

/// Whoever reads a value gets the bytes that were put with it.
fn check_contents(history: &History) -> Result<(), String> {
    let mut written: BTreeMap<ETag, &NewBody> = BTreeMap::new();
    for call in history.calls() {
        if let Action::Write { operation: Operation::PutObject { etag, body, .. } } = &call.action {
            written.insert(*etag, body);
        }
    }
    for call in history.calls() {
        let Some(Ok(Answer::Object { object, pieces, .. })) = call.answer() else { continue };
        let Some(body) = written.get(&object.summary.etag) else { continue };
        let right = object.summary.size == body.length() && pieces.iter().all(|piece| is_of(piece, body));
        if !right {
            return Err(format!("other bytes were read than were put: {}", described(call)));
        }
    }
    Ok(())
}

fn is_of(piece: &Piece, body: &NewBody) -> bool {
    match (&piece.source, body) {
        (PieceSource::Inline { bytes: read }, NewBody::Inline { bytes }) => read == bytes,
        (PieceSource::Chunked { body: read, offset: 0, .. }, NewBody::Chunked { body, .. }) => read == body,
        _ => false,
    }
}

fn described(call: &Call) -> String {
    let (client, invoked) = (call.client, call.invoked);
    let until = match call.outcome() {
        Some(outcome) => format!("until {} it was told {outcome:?}", call.responded()),
        None => "nobody knows what became of it".to_owned(),
    };
    format!("client {client} at {invoked} asked {:?}, {until}", call.action)
}

fn named(bucket: &Bytes, key: &Bytes) -> String {
    format!("{}/{}", bucket.escape_ascii(), key.escape_ascii())
}
