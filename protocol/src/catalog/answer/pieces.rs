//! Where the bytes of an object are.

use super::Ask;
use crate::catalog::body::{Piece, PieceSource};
use crate::catalog::error::Error;
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::{BodyId, UploadId};
use crate::catalog::operation::ByteRange;
use crate::catalog::query::{PieceSelection, PieceStart};
use crate::catalog::reply::Answer;
use crate::catalog::rows::{BodyRow, LayoutRow, ObjectBody, ObjectRow, PartBody, PartRow};
use crate::catalog::store::{Failure, damaged, decode, is_empty, read, scan};
use crate::tables::{Scan, TableFault, Tables};

/// About what a piece takes in an answer, its inline bytes aside.
const PIECE_BYTES: usize = 160;

impl<T: Tables> Ask<'_, T> {
    /// The pieces that a selection wants, and whether there are more after them.
    pub(super) fn pieces_of(
        &self,
        object: &ObjectRow,
        selection: &PieceSelection,
    ) -> Result<(Vec<Piece>, bool), Failure> {
        let size = object.summary.size;
        let from = match selection.from {
            PieceStart::Suffix { length } => PieceStart::Offset { offset: size.saturating_sub(length) },
            from => from,
        };
        if let ObjectBody::Composed { upload } = object.body {
            return self.parts_of(upload, from, selection.limit);
        }
        match from {
            PieceStart::Part { number } if number != 1 => return Err(Error::InvalidPartNumber.into()),
            PieceStart::Offset { offset } if offset > 0 && offset >= size => return Ok((Vec::new(), false)),
            _ => {}
        }
        let mut page = self.page(selection.limit);
        if page.has_room() {
            page.push(only_piece(self.tables, object)?, PIECE_BYTES);
        }
        Ok((page.entries, page.truncated))
    }

    pub(super) fn get_pieces(&self, upload: UploadId, selection: &PieceSelection) -> Result<Answer, Failure> {
        if is_empty(self.tables, &keys::layouts(upload))? {
            return Err(Error::NoSuchUpload.into());
        }
        let (pieces, more) = self.parts_of(upload, selection.from, selection.limit)?;
        Ok(Answer::Pieces { pieces, more })
    }

    fn parts_of(
        &self,
        upload: UploadId,
        from: PieceStart,
        limit: u32,
    ) -> Result<(Vec<Piece>, bool), Failure> {
        let mut page = self.page(limit);
        let places = places(self.tables, upload, from, page.limit + 1)?;
        if let PieceStart::Part { number } = from
            && places.first().is_none_or(|place| place.number != number)
        {
            return Err(Error::InvalidPartNumber.into());
        }
        for place in places {
            if !page.has_room() {
                break;
            }
            let piece = part_piece(self.tables, upload, &place)?;
            let bytes = match &piece.source {
                PieceSource::Inline { bytes } => PIECE_BYTES + bytes.len(),
                PieceSource::Chunked { body, .. } => {
                    PIECE_BYTES + 8 * body.extents.len() + 32 * body.roots.len()
                }
            };
            page.push(piece, bytes);
        }
        Ok((page.entries, page.truncated))
    }
}

/// The piece that holds all of `range`, if there is one. The object has no fewer bytes.
pub(in crate::catalog) fn single_piece(
    tables: &impl Tables,
    object: &ObjectRow,
    range: ByteRange,
) -> Result<Option<Piece>, TableFault> {
    let ObjectBody::Composed { upload } = object.body else { return only_piece(tables, object).map(Some) };
    let from = PieceStart::Offset { offset: range.offset };
    match places(tables, upload, from, 1)?.first() {
        Some(place) if range.offset + range.length <= place.end() => {
            part_piece(tables, upload, place).map(Some)
        }
        _ => Ok(None),
    }
}

/// The piece of an object that was put as one.
fn only_piece(tables: &impl Tables, object: &ObjectRow) -> Result<Piece, TableFault> {
    let source = match &object.body {
        ObjectBody::Inline { bytes } => PieceSource::Inline { bytes: bytes.clone() },
        ObjectBody::Chunked { id } => chunked(tables, *id, 0)?,
        ObjectBody::Composed { upload } => return Err(damaged(format_args!("{upload:?} is not one piece"))),
    };
    Ok(Piece { part: 0, offset: 0, length: object.summary.size, source })
}

fn part_piece(tables: &impl Tables, upload: UploadId, place: &Place) -> Result<Piece, TableFault> {
    let Place { number, offset, length } = *place;
    let source = match part_row(tables, upload, number)?.body {
        PartBody::Inline { bytes } => PieceSource::Inline { bytes },
        PartBody::Slice { id, offset } => chunked(tables, id, offset)?,
    };
    Ok(Piece { part: number, offset, length, source })
}

pub(super) fn part_row(tables: &impl Tables, upload: UploadId, number: u16) -> Result<PartRow, TableFault> {
    read(tables, &keys::part(upload, number))?
        .ok_or_else(|| damaged(format_args!("part {number} of {upload:?} has no row")))
}

fn chunked(tables: &impl Tables, id: BodyId, offset: u64) -> Result<PieceSource, TableFault> {
    let row: BodyRow = read(tables, &Bodies::Referenced.row(id))?
        .ok_or_else(|| damaged(format_args!("{id:?} has no row")))?;
    Ok(PieceSource::Chunked { id, body: row.body, offset })
}

/// Where in its object a part lies.
pub(super) struct Place {
    pub(super) number: u16,
    offset: u64,
    length: u64,
}

impl Place {
    fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Whether everything before this place lies before `from`, and this does not.
    fn is_at_or_after(&self, from: PieceStart) -> bool {
        match from {
            PieceStart::Offset { offset } => self.end() > offset,
            PieceStart::Part { number } => self.number >= number,
            PieceStart::Suffix { .. } => false,
        }
    }
}

/// The first places of a completed upload's parts from `from` on. Goes straight to the section that
/// holds an offset; a part's number is looked for from the start, through some forty rows at most.
pub(super) fn places(
    tables: &impl Tables,
    upload: UploadId,
    from: PieceStart,
    count_max: usize,
) -> Result<Vec<Place>, TableFault> {
    let start = match from {
        PieceStart::Offset { offset } => keys::layout(upload, offset.saturating_add(1), 0),
        PieceStart::Part { .. } | PieceStart::Suffix { .. } => keys::layouts(upload),
    };
    let mut places = Vec::new();
    scan(tables, &start, &keys::successor(keys::layouts(upload)), |key, value| {
        let section: LayoutRow = decode(key, value)?;
        let mut offset = section.start;
        for run in section.runs {
            for number in run.first..=run.last() {
                let place = Place { number, offset, length: run.length };
                offset = place.end();
                if place.is_at_or_after(from) {
                    places.push(place);
                }
                if places.len() == count_max {
                    return Ok(Scan::Stop);
                }
            }
        }
        Ok(Scan::Continue)
    })?;
    Ok(places)
}
