//! The bytes of one object on their way back, each of them compared with what was stored.

use protocol::catalog::{Piece, PieceSelection, PieceSource, PieceStart, Query, UploadId};
use protocol::data::fence::ReadTicket;
use protocol::data::get::{Get, GetFailure, GetOutput, GetSettings};
use protocol::data::message::DataBody;
use protocol::data::placement::Layout;
use protocol::types::{Op, ReplicaId, SessionId};

use super::{Contents, Missing, Readers, tick};
use crate::content;
use crate::random::Random;

/// In a hurry, and with so little room that every bound is met.
const SETTINGS: GetSettings = GetSettings {
    span_blocks: 1,
    first_span_blocks: 1,
    read_ahead_bytes: 100 << 10,
    hedged_bytes: 64 << 10,
    slow_ms: 500,
    retry_max_ms: 500,
    silence_ms: 1_500,
    timeout_ms: 6_000,
    ..GetSettings::standard()
};

const PIECES: u32 = 3;

/// What the catalog said of the object.
pub(super) struct Record {
    pub(super) ticket: ReadTicket,
    pub(super) session: SessionId,
    pub(super) op: Op,
    pub(super) size: u64,
    /// Where more pieces can be asked for, if there are more.
    pub(super) source: Option<UploadId>,
}

pub(super) enum Step {
    Waits,
    AskPieces(Query),
    Over(&'static str),
    Missing(Missing),
    Broken(String),
}

pub(super) struct Download {
    pub(super) get: Get,
    record: Record,
    pieces: Vec<Piece>,
    asking: bool,
    /// The next byte to come, and the end.
    position: u64,
    end: u64,
    /// How often in a hundred steps the reader pauses.
    slowness: u64,
    pause_max: u64,
    pause_until: u64,
    calls: Vec<(ReplicaId, u64, DataBody)>,
}

impl Download {
    /// None if there is nothing to read.
    pub(super) fn new(
        layout: Layout,
        record: Record,
        pieces: Vec<Piece>,
        readers: Readers,
        now: u64,
        random: &mut Random,
    ) -> Result<Option<Download>, String> {
        let Some(first) = pieces.first() else { return Ok(None) };
        let whole = random.percent(60);
        let start = if whole { first.offset } else { first.offset + random.below(first.length) };
        let length = record.size.saturating_sub(start);
        let end = if whole { record.size } else { start + random.between(1, length.max(1)).min(length) };
        let get = Get::new(layout, pieces.clone(), start..end, None, SETTINGS, random.word(), tick(now));
        let slowness = if random.percent(readers.slow_percent) { 20 } else { 0 };
        Ok(Some(Download {
            get: get.map_err(|bad| format!("an object cannot be read: {bad}"))?,
            record,
            pieces,
            asking: false,
            position: start,
            end,
            slowness,
            pause_max: readers.pause_max,
            pause_until: 0,
            calls: Vec::new(),
        }))
    }

    pub(super) fn ticket(&self) -> ReadTicket {
        self.record.ticket
    }

    pub(super) fn take_calls(&mut self) -> Vec<(ReplicaId, u64, DataBody)> {
        std::mem::take(&mut self.calls)
    }

    pub(super) fn add_pieces(&mut self, now: u64, pieces: Vec<Piece>, more: bool) -> Result<(), String> {
        self.asking = false;
        if !more || pieces.is_empty() {
            self.record.source = None;
        }
        self.pieces.extend(pieces.iter().cloned());
        self.get.add_pieces(tick(now), pieces).map_err(|bad| format!("an object cannot be read on: {bad}"))
    }

    pub(super) fn step(&mut self, now: u64, calm: bool, contents: &Contents, random: &mut Random) -> Step {
        // Whoever stops for longer than the get itself would wait does not drive it either, or it would end.
        if !calm && self.pause_until > now + SETTINGS.timeout_ms * 1_000 {
            return Step::Waits;
        }
        self.get.on_tick(tick(now));
        if !calm && random.percent(self.slowness) {
            self.pause_until = now + random.below(self.pause_max);
        }
        while (calm || self.pause_until <= now)
            && let Some(bytes) = self.get.take(tick(now))
        {
            if let Err(what) = self.check(&bytes, contents) {
                return Step::Broken(what);
            }
        }
        let mut ended = None;
        while let Some(output) = self.get.next_output() {
            match output {
                GetOutput::Send { to, call, body } => self.calls.push((to, call, body)),
                GetOutput::Abandon { call } => self.calls.retain(|(_, made, _)| *made != call),
                GetOutput::Damage { .. } => {}
                GetOutput::Finished => ended = Some(self.finished()),
                GetOutput::Failed(GetFailure::Unavailable) => {
                    ended = Some(Step::Over("read failed: unavailable"));
                }
                GetOutput::Failed(GetFailure::Missing { chunk }) => {
                    let Record { session, op, .. } = self.record;
                    ended = Some(Step::Missing(Missing { chunk, session, record: op }));
                }
            }
        }
        ended.unwrap_or_else(|| self.ask_pieces())
    }

    fn finished(&self) -> Step {
        match self.position == self.end {
            true => Step::Over("object read and compared"),
            false => Step::Broken(format!("a read ended at byte {} of {}", self.position, self.end)),
        }
    }

    fn ask_pieces(&mut self) -> Step {
        let Some(upload) = self.record.source.filter(|_| !self.asking && self.get.wants_pieces()) else {
            return Step::Waits;
        };
        self.asking = true;
        let offset = self.pieces.last().map_or(self.position, |piece| piece.offset + piece.length);
        let from = PieceStart::Offset { offset };
        Step::AskPieces(Query::GetPieces { upload, selection: PieceSelection { from, limit: PIECES } })
    }

    fn check(&mut self, bytes: &[u8], contents: &Contents) -> Result<(), String> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = self.position;
            let piece = self.pieces.iter().find(|it| it.offset <= at && at < it.offset + it.length);
            let piece = piece.ok_or_else(|| format!("byte {at} is of no piece"))?;
            let within = at - piece.offset;
            let take = (piece.length - within).min(rest.len() as u64);
            let (now, later) = rest.split_at(usize::try_from(take).expect("it is in memory"));
            match &piece.source {
                PieceSource::Inline { bytes } => {
                    let from = usize::try_from(within).expect("it is in memory");
                    if bytes.get(from..from + now.len()) != Some(now) {
                        return Err(format!("byte {at} of an inline piece is another one"));
                    }
                }
                PieceSource::Chunked { id, offset, .. } => {
                    let name = contents.get(id).ok_or_else(|| format!("nobody has stored {id:?}"))?;
                    if content::bytes(*name, offset + within, now.len()) != now {
                        return Err(format!("a reader was given bytes that are not those of {id:?}"));
                    }
                }
            }
            self.position += take;
            rest = later;
        }
        Ok(())
    }
}
