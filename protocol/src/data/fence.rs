//! What a session says of its reads and its uploads, so that nothing is collected under them.
//!
//! Chunks that lost their last reference stay until every read that may have seen it has ended, and
//! chunks that have no reference yet until their upload has. Nobody but the client knows when that is:
//! it says so with the two watermarks of its keepalives, and they never fall.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::BodyId;
use crate::types::{Op, SessionId, Tick};

/// A read is protected for so long. A client that takes a byte a minute would otherwise keep everything
/// that is dropped meanwhile, in the whole cluster, until the disks are full and deleting does not help.
/// An hour is more than a page of parts and the bytes of any patient reader need; whoever is slower goes
/// on without protection, and finds its bytes for as long as something refers to them.
pub const READ_MS_MAX: u64 = 60 * 60 * 1_000;

/// The reads and uploads that are under way in a client's present session.
#[derive(Debug)]
pub struct Fence {
    session: Option<SessionId>,
    /// The newest op that the client has heard of. Every query that it asks from now on is answered as
    /// of this op or a later one.
    newest: Op,
    reads: BTreeMap<u64, Read>,
    read_ms_max: u64,
    last_read: u64,
    uploads: BTreeSet<u64>,
    /// Rises over all sessions, because the watermarks do: a new session's first upload must not lie
    /// below what was said in the one before.
    last_upload: u64,
}

#[derive(Debug)]
struct Read {
    /// It may be as old as this op.
    since: Op,
    /// It is protected until then.
    until: Tick,
}

/// A read that is under way. Void when its session has ended, or when it has taken too long: nothing is
/// kept for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTicket {
    session: SessionId,
    number: u64,
}

/// For `Client::set_watermarks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub oldest_live_upload: u64,
    pub oldest_read: Op,
}

impl Fence {
    /// `read_ms_max`: `READ_MS_MAX`, but where an hour is too long to wait for.
    pub fn new(read_ms_max: u64) -> Fence {
        Fence {
            session: None,
            newest: Op::ZERO,
            reads: BTreeMap::new(),
            read_ms_max,
            last_read: 0,
            uploads: BTreeSet::new(),
            last_upload: 0,
        }
    }

    /// What was under way in the session before is void: its reads and uploads must break off.
    pub fn on_session_began(&mut self, session: SessionId) {
        if self.session != Some(session) {
            self.session = Some(session);
            self.reads.clear();
            self.uploads.clear();
        }
    }

    /// An answer came that is as of this op.
    pub fn learn(&mut self, op: Op) {
        self.newest = self.newest.max(op);
    }

    /// To be called before the record is asked for. From the question to its answer the read may be as
    /// old as the newest op known now, while other answers raise that: so a read that were counted only
    /// when its record is there could find its chunks collected. None before the first session.
    pub fn begin_read(&mut self, now: Tick) -> Option<ReadTicket> {
        let session = self.session?;
        self.last_read += 1;
        let read = Read { since: self.newest, until: now.plus(self.read_ms_max) };
        self.reads.insert(self.last_read, read);
        Some(ReadTicket { session, number: self.last_read })
    }

    /// The record was read as of this op, so nothing that was dropped before it is needed.
    pub fn on_record(&mut self, ticket: ReadTicket, op: Op) {
        self.learn(op);
        if self.is_read_live(ticket)
            && let Some(read) = self.reads.get_mut(&ticket.number)
        {
            read.since = op.max(read.since);
        }
    }

    /// Whether anything is kept for this read.
    pub fn is_read_live(&self, ticket: ReadTicket) -> bool {
        self.session == Some(ticket.session) && self.reads.contains_key(&ticket.number)
    }

    pub fn end_read(&mut self, ticket: ReadTicket) {
        if self.session == Some(ticket.session) {
            self.reads.remove(&ticket.number);
        }
    }

    /// A name under which chunks can be stored. None before the first session.
    pub fn begin_upload(&mut self) -> Option<BodyId> {
        let session = self.session?;
        self.last_upload += 1;
        self.uploads.insert(self.last_upload);
        Some(BodyId { session, upload: self.last_upload })
    }

    pub fn is_upload_live(&self, body: BodyId) -> bool {
        self.session == Some(body.session) && self.uploads.contains(&body.upload)
    }

    /// The upload is committed, or given up. It may be ended while nobody knows whether its commit took
    /// effect: one that comes after the watermark is refused.
    pub fn end_upload(&mut self, body: BodyId) {
        if self.session == Some(body.session) {
            self.uploads.remove(&body.upload);
        }
    }

    /// What may be said now. Reads that have taken too long are forgotten before: what was said of them
    /// cannot be taken back.
    pub fn watermarks(&mut self, now: Tick) -> Watermarks {
        self.reads.retain(|_, read| now < read.until);
        Watermarks {
            oldest_live_upload: self.uploads.first().copied().unwrap_or(self.last_upload + 1),
            oldest_read: self.reads.values().map(|read| read.since).min().unwrap_or(self.newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn begun() -> Fence {
        let mut fence = Fence::new(READ_MS_MAX);
        fence.on_session_began(SessionId::new(4096));
        fence
    }

    #[test]
    fn without_a_session_nothing_begins() {
        let mut fence = Fence::new(READ_MS_MAX);
        assert_eq!(fence.begin_read(Tick::ZERO), None);
        assert_eq!(fence.begin_upload(), None);
    }

    #[test]
    fn with_no_read_under_way_the_mark_is_the_newest_op_known() {
        let mut fence = begun();
        fence.learn(Op::new(7));
        fence.learn(Op::new(5));
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_read, Op::new(7));
    }

    /// The query is answered as of op 6 by a replica that does not know of op 9 yet, and its answer
    /// comes after that of a put at op 9.
    #[test]
    fn a_read_holds_the_mark_from_before_its_record_is_asked_for() {
        let mut fence = begun();
        fence.learn(Op::new(5));
        let read = fence.begin_read(Tick::ZERO).unwrap();
        fence.learn(Op::new(9));
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_read, Op::new(5));
        fence.on_record(read, Op::new(6));
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_read, Op::new(6));
        fence.end_read(read);
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_read, Op::new(9));
    }

    /// A download that took a byte a minute held back collection in the whole cluster, for days.
    #[test]
    fn a_read_that_takes_longer_than_an_hour_holds_nothing_back_any_more() {
        let mut fence = begun();
        fence.learn(Op::new(5));
        let old = fence.begin_read(Tick::new(10)).unwrap();
        fence.learn(Op::new(7));
        let young = fence.begin_read(Tick::new(20)).unwrap();
        fence.learn(Op::new(9));
        let hour = Tick::new(10 + READ_MS_MAX);
        assert_eq!(fence.watermarks(Tick::new(hour.get() - 1)).oldest_read, Op::new(5));
        assert!(fence.is_read_live(old));

        assert_eq!(fence.watermarks(hour).oldest_read, Op::new(7));
        assert!(!fence.is_read_live(old));
        assert!(fence.is_read_live(young));
        fence.on_record(old, Op::new(5));
        assert_eq!(fence.watermarks(hour).oldest_read, Op::new(7), "what was said is not taken back");
        fence.end_read(old);
        fence.end_read(young);
        assert_eq!(fence.watermarks(hour).oldest_read, Op::new(9));
    }

    #[test]
    fn the_oldest_upload_is_the_first_that_has_not_ended() {
        let mut fence = begun();
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_live_upload, 1);
        let [first, second] = [(); 2].map(|()| fence.begin_upload().unwrap());
        fence.end_upload(second);
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_live_upload, 1);
        fence.end_upload(first);
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_live_upload, 3);
    }

    #[test]
    fn what_began_in_an_earlier_session_is_void_and_its_numbers_never_return() {
        let mut fence = begun();
        let (read, upload) = (fence.begin_read(Tick::ZERO).unwrap(), fence.begin_upload().unwrap());
        fence.on_session_began(SessionId::new(4096));
        assert!(fence.is_read_live(read) && fence.is_upload_live(upload));

        fence.on_session_began(SessionId::new(8192));
        assert!(!fence.is_read_live(read));
        assert!(!fence.is_upload_live(upload));
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_live_upload, upload.upload + 1);
        fence.learn(Op::new(20));
        assert_eq!(fence.watermarks(Tick::ZERO).oldest_read, Op::new(20));
        let later = fence.begin_upload().unwrap();
        assert!(later.upload > upload.upload);
        fence.end_upload(BodyId { session: upload.session, ..later });
        assert!(fence.is_upload_live(later));
    }

    #[test]
    fn the_marks_never_fall_and_never_pass_what_is_under_way() {
        for seed in 0..50 {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut fence = begun();
            let (mut reads, mut uploads) = (Vec::new(), Vec::new());
            let (mut op, mut session) = (0, 4096);
            let mut last = fence.watermarks(Tick::ZERO);
            for _ in 0..400 {
                match random.next_u64() % 12 {
                    0..=2 => reads.push((fence.begin_read(Tick::ZERO).unwrap(), fence.newest)),
                    3..=4 => uploads.push(fence.begin_upload().unwrap()),
                    5..=6 if !reads.is_empty() => {
                        fence.end_read(
                            reads.swap_remove(usize::try_from(random.next_u64()).unwrap() % reads.len()).0,
                        );
                    }
                    7 if !uploads.is_empty() => fence.end_upload(uploads.swap_remove(0)),
                    8 if !reads.is_empty() => {
                        let (ticket, since) = &mut reads[0];
                        *since = Op::new(since.get() + random.next_u64() % 3).max(*since);
                        fence.on_record(*ticket, *since);
                    }
                    9 if random.next_u64().is_multiple_of(20) => {
                        session += 4096;
                        fence.on_session_began(SessionId::new(session));
                        reads.clear();
                        uploads.clear();
                    }
                    _ => {
                        op += 1;
                        fence.learn(Op::new(op));
                    }
                }
                let marks = fence.watermarks(Tick::ZERO);
                assert!(marks.oldest_read >= last.oldest_read, "seed {seed}");
                assert!(marks.oldest_live_upload >= last.oldest_live_upload, "seed {seed}");
                assert!(reads.iter().all(|(_, since)| marks.oldest_read <= *since), "seed {seed}");
                assert!(uploads.iter().all(|body| marks.oldest_live_upload <= body.upload), "seed {seed}");
                last = marks;
            }
        }
    }
}
