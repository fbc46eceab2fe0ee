//! An object on its way out: its record, and then its bytes in order.

use std::ops::Range;

use bytes::Bytes;
use protocol::catalog::{Answer, BucketRef, Error, Object, Piece, PieceSelection, PieceStart, Query};
use protocol::data::get::{Get, GetFailure, GetOutput, GetSettings};
use protocol::types::Op;
use tokio::time::Instant;

use super::calls::{Answered, Calls};
use super::read_room::ReadPlace;
use super::session::{Clock, ReadGuard};
use super::upload::sleep_until;
use super::{Cluster, ClusterError, Link};

/// So many pieces are asked for with the record, and again whenever they run out.
const PIECES: u32 = 64;

/// An object as it is at one point of the log. While this or its reader lives, its bytes stay; but for an
/// hour at most, once nothing refers to them.
pub struct Record<L> {
    pub op: Op,
    pub object: Object,
    pieces: Vec<Piece>,
    more: bool,
    bucket: BucketRef,
    key: Bytes,
    cluster: Cluster<L>,
    guard: ReadGuard,
}

impl<L: Link> Cluster<L> {
    /// Reads what is known of an object, and where its bytes are from `from` on. The inner error is the
    /// catalog's answer.
    pub async fn open(
        &self,
        bucket: BucketRef,
        key: Bytes,
        from: PieceStart,
    ) -> Result<Result<Record<L>, Error>, ClusterError> {
        let guard = self.begin_read().await?;
        let selection = PieceSelection { from, limit: PIECES };
        let query = Query::GetObject { bucket: bucket.clone(), key: key.clone(), pieces: Some(selection) };
        let (op, answer) = self.read(&query).await?;
        self.on_record(&guard, op).await;
        Ok(match answer {
            Ok(Answer::Object { object, pieces, more }) => {
                Ok(Record { op, object, pieces, more, bucket, key, cluster: self.clone(), guard })
            }
            Ok(_) => return Err(ClusterError::Invalid("the answer is not an object".into())),
            Err(error) => Err(error),
        })
    }
}

impl<L: Link> Record<L> {
    /// Where the first piece that was asked for begins and ends. None for an empty object.
    pub fn first_piece(&self) -> Option<Range<u64>> {
        self.pieces.first().map(|piece| piece.offset..piece.offset + piece.length)
    }

    /// Reads `range` of the object, which begins in the first piece that was asked for. Waits if too much
    /// is being read.
    pub async fn read(self, range: Range<u64>, seed: u64) -> Result<Reader<L>, ClusterError> {
        let place = self.cluster.read_place(range.end.saturating_sub(range.start)).await?;
        let clock = Clock::start();
        let Record { object, pieces, more, bucket, key, cluster, guard, .. } = self;
        let nearest = cluster.link().nearest();
        let next_piece = pieces.last().map_or(0, |piece| piece.offset + piece.length);
        let settings = GetSettings::within(place.bytes);
        let get = Get::new(cluster.layout(), pieces, range, nearest, settings, seed, clock.now())
            .map_err(|error| ClusterError::Lost(format!("a piece of the object ({error:?})")))?;
        let calls = Calls::new(cluster.clone());
        Ok(Reader {
            get,
            calls,
            clock,
            object,
            bucket,
            key,
            cluster,
            more,
            next_piece,
            failed: None,
            idle_since: None,
            _place: place,
            _guard: guard,
        })
    }
}

/// The bytes of an object, in order and verified.
pub struct Reader<L> {
    get: Get,
    calls: Calls<L>,
    clock: Clock,
    object: Object,
    bucket: BucketRef,
    key: Bytes,
    cluster: Cluster<L>,
    more: bool,
    /// Where the piece begins that was not asked for yet.
    next_piece: u64,
    failed: Option<GetFailure>,
    /// Since when nobody has asked for the next bytes.
    idle_since: Option<Instant>,
    _place: ReadPlace,
    _guard: ReadGuard,
}

impl<L: Link> Reader<L> {
    /// The next bytes. None at the end of the range.
    ///
    /// Whoever asks may take as long as it likes before it asks again: the holders are not blamed for
    /// answers that nobody looked at. What has come meanwhile is looked at first.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        if let Some(since) = self.idle_since.take() {
            self.clock.leave_out_since(since);
        }
        while let Some(answered) = self.calls.try_next() {
            self.on_answered(answered);
        }
        let outcome = self.next_bytes().await;
        self.idle_since = Some(Instant::now());
        outcome
    }

    async fn next_bytes(&mut self) -> Result<Option<Bytes>, ClusterError> {
        loop {
            if let Some(bytes) = self.get.take(self.clock.now()) {
                self.perform();
                return Ok(Some(bytes));
            }
            self.perform();
            if let Some(failure) = self.failed {
                return Err(self.explain(failure).await);
            }
            if self.get.is_over() {
                return Ok(None);
            }
            if self.more && self.get.wants_pieces() {
                self.fetch_pieces().await?;
                continue;
            }
            let wake = self.get.next_tick().map(|tick| self.clock.instant(tick));
            tokio::select! {
                answered = self.calls.next() => self.on_answered(answered),
                () = sleep_until(wake) => self.get.on_tick(self.clock.now()),
            }
        }
    }

    fn on_answered(&mut self, answered: Answered) {
        let Answered { from, call, answer } = answered;
        match answer {
            Ok(answer) => self.get.on_answer(self.clock.now(), from, call, answer),
            Err(_) => self.get.on_call_failed(self.clock.now(), from, call),
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.get.next_output() {
            match output {
                GetOutput::Send { to, call, body } => self.calls.make(to, call, body),
                GetOutput::Abandon { call } => self.calls.abandon(call),
                // The holder's own reads and its scrub find what is wrong there, and repair it.
                GetOutput::Damage { replica, chunk } => {
                    tracing::warn!(replica = replica.get(), ?chunk, "a replica sent damaged bytes");
                }
                GetOutput::Finished => {}
                GetOutput::Failed(failure) => self.failed = Some(failure),
            }
        }
    }

    async fn fetch_pieces(&mut self) -> Result<(), ClusterError> {
        let Some(upload) = self.object.upload else {
            return Err(ClusterError::Lost("a piece of an object in one piece".into()));
        };
        let from = PieceStart::Offset { offset: self.next_piece };
        let query = Query::GetPieces { upload, selection: PieceSelection { from, limit: PIECES } };
        let (_, answer) = self.cluster.read(&query).await?;
        let Ok(Answer::Pieces { pieces, more }) = answer else { return Err(ClusterError::Expired) };
        if pieces.is_empty() {
            return Err(ClusterError::Lost("a piece of the object".into()));
        }
        self.more = more;
        self.next_piece = pieces.last().map_or(self.next_piece, |piece| piece.offset + piece.length);
        let added = self.get.add_pieces(self.clock.now(), pieces);
        added.map_err(|error| ClusterError::Lost(format!("a piece of the object ({error:?})")))
    }

    /// A chunk that nobody has was collected if the object has changed since. If it has not, it is lost.
    async fn explain(&self, failure: GetFailure) -> ClusterError {
        let GetFailure::Missing { chunk } = failure else {
            return ClusterError::Unavailable("no holder of the object's bytes can be reached");
        };
        let query = Query::GetObject { bucket: self.bucket.clone(), key: self.key.clone(), pieces: None };
        match self.cluster.read(&query).await {
            Ok((_, Ok(Answer::Object { object, .. })))
                if object.summary.version == self.object.summary.version =>
            {
                tracing::error!(?chunk, "a chunk of a live object is on no disk");
                ClusterError::Lost(format!("{chunk:?}"))
            }
            Ok(_) => ClusterError::Expired,
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::catalog::{BodyId, ChunkedBody, ETag, Encoding, Extent, ObjectSummary, PieceSource};
    use protocol::client::ClientSettings;
    use protocol::data::message::DataBody;
    use protocol::data::outline::{BLOCK_SIZE, Outline};
    use protocol::data::placement::Layout;
    use protocol::message::Message;
    use protocol::quorums::Quorums;
    use protocol::types::{ClientId, ClusterId, Epoch, ReplicaId, SessionId, Timestamp};
    use tokio::time::sleep;

    use super::*;
    use crate::cluster::{ClusterOptions, Unreachable};

    const CHUNK_SIZE: u32 = 4 << 20;

    /// All replicas have all chunks, and take a while to say so. Their log says nothing.
    struct Holders {
        chunks: Vec<Bytes>,
        /// From this chunk on they never answer.
        silent_from: u32,
    }

    impl Link for Holders {
        fn send(&self, _to: ReplicaId, _message: Message) {}

        async fn call(
            &self,
            _to: ReplicaId,
            body: DataBody,
            _patience: Duration,
        ) -> Result<DataBody, Unreachable> {
            let DataBody::GetBlocks { chunk, first, count, .. } = body else {
                return Err(Unreachable("nothing else is asked for".into()));
            };
            if chunk.index >= self.silent_from {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(5)).await;
            let bytes = &self.chunks[chunk.index as usize];
            let at = |block: u32| ((block * BLOCK_SIZE) as usize).min(bytes.len());
            let (outline, blocks) = (Outline::of(bytes), bytes.slice(at(first)..at(first + count)));
            Ok(DataBody::Blocks { outline, first, bytes: blocks })
        }

        fn nearest(&self) -> Option<ReplicaId> {
            None
        }
    }

    fn record(chunks: Vec<Bytes>, silent_from: u32) -> Record<Holders> {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let chunk_count = u32::try_from(chunks.len()).unwrap();
        let body = ChunkedBody {
            length,
            chunk_size: CHUNK_SIZE,
            extents: vec![Extent { chunk_count, encoding: Encoding::Copies { count: 3 } }],
            roots: chunks.iter().map(|chunk| Outline::of(chunk).root()).collect(),
        };
        let id = BodyId { session: SessionId::new(1), upload: 1 };
        let source = PieceSource::Chunked { id, body, offset: 0 };
        let cluster = Cluster::start(
            Holders { chunks, silent_from },
            ClusterOptions {
                cluster: ClusterId::new(1),
                epoch: Epoch::ZERO,
                layout: Layout::first(Quorums::of(3)),
                client: ClientId::new(1),
                seed: 1,
                settings: ClientSettings::standard(),
            },
        );
        let summary = ObjectSummary {
            version: 1,
            size: length,
            etag: ETag::simple([0; 16]),
            last_modified: Timestamp::new(0),
            checksums: Vec::new(),
        };
        Record {
            op: Op::new(1),
            object: Object { summary, headers: Vec::new(), tags: Vec::new(), upload: None },
            pieces: vec![Piece { part: 0, offset: 0, length, source }],
            more: false,
            bucket: BucketRef::named("b"),
            key: "k".into(),
            cluster,
            guard: ReadGuard::of_nobody(),
        }
    }

    /// Whoever asks for a large object is not kept waiting for all of it.
    #[tokio::test(start_paused = true)]
    async fn the_first_chunk_is_given_out_before_anything_of_the_second_has_come() {
        let chunks: Vec<Bytes> = (1..=3).map(|seed| vec![seed; CHUNK_SIZE as usize].into()).collect();
        let whole = chunks.concat();
        let mut reader = record(chunks, 1).read(0..whole.len() as u64, 1).await.unwrap();
        let begun = Instant::now();
        let mut given = 0;
        while given < CHUNK_SIZE as usize {
            let bytes = reader.next().await.unwrap().unwrap();
            assert!(
                given > 0 || bytes.len() < CHUNK_SIZE as usize,
                "the first bytes waited for the whole chunk"
            );
            assert!(bytes[..] == whole[given..given + bytes.len()]);
            given += bytes.len();
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        assert!(tokio::time::timeout(Duration::from_secs(1), reader.next()).await.is_err());
    }

    /// What was read ahead had come long since, but nobody had looked at it: the reader took its holders
    /// for silent, and the client of a slow line lost its download.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_left_alone_for_a_minute_goes_on() {
        let chunk = |seed: u8, size: u32| Bytes::from(vec![seed; size as usize]);
        let chunks = vec![chunk(1, CHUNK_SIZE), chunk(2, CHUNK_SIZE), chunk(3, 7)];
        let whole = chunks.concat();
        let mut reader = record(chunks, u32::MAX).read(0..whole.len() as u64, 1).await.unwrap();
        let mut read = Vec::new();
        for pause in (0..).map(|turn: u32| if turn.is_multiple_of(40) { 60 } else { 0 }) {
            match reader.next().await.unwrap() {
                Some(bytes) => read.extend_from_slice(&bytes),
                None => break,
            }
            sleep(Duration::from_secs(pause)).await;
        }
        assert!(read == whole);
    }
}
