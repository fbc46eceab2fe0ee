//! Bodies on their way: the real put and get of one client process, and the fence that says of them
//! what must not be collected.

mod download;
mod upload;

use std::collections::BTreeMap;

use protocol::catalog::{Answer, BodyId, ChunkId, Operation, Piece, Query};
use protocol::data::fence::{Fence, ReadTicket};
use protocol::data::message::{DataBody, DataMessage};
use protocol::data::placement::Layout;
use protocol::types::{ClusterId, Op, ReplicaId, SessionId, Tick};

use crate::content::Name;
use crate::random::Random;
use download::Download;
use upload::Upload;

/// What each body is made of. Known to the judge of bytes, whoever stored it.
pub(super) type Contents = BTreeMap<BodyId, Name>;

/// What comes of the transfers.
pub(super) enum Event {
    /// All chunks are where they should be: this may be submitted.
    Commit {
        upload: u64,
        operation: Operation,
    },
    /// Nothing was committed, and nothing will be.
    GaveUp {
        operation: Operation,
    },
    /// A reader needs to know where the next pieces are.
    AskPieces {
        download: u64,
        query: Query,
    },
    /// Nobody has a chunk that a reader needs.
    Missing(Missing),
    Broken(String),
    Mark(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub struct Missing {
    pub chunk: ChunkId,
    pub session: SessionId,
    /// As of which op the record was read.
    pub record: Op,
}

/// Who awaits the answer to a call.
#[derive(Clone, Copy)]
enum Caller {
    Upload { number: u64, call: u64 },
    Download { number: u64, call: u64 },
}

/// How readers behave, and for how long they are borne with.
#[derive(Clone, Copy)]
pub(super) struct Readers {
    pub(super) slow_percent: u64,
    pub(super) pause_max: u64,
    pub(super) protected_ms: u64,
}

pub(super) struct Transfers {
    layout: Layout,
    cluster: ClusterId,
    readers: Readers,
    random: Random,
    fence: Fence,
    session: SessionId,
    uploads: BTreeMap<u64, Upload>,
    downloads: BTreeMap<u64, Download>,
    numbers: u64,
    calls: BTreeMap<u64, Caller>,
    calls_made: u64,
    frames: Vec<(ReplicaId, DataMessage)>,
    events: Vec<Event>,
}

impl Transfers {
    pub(super) fn new(layout: Layout, cluster: ClusterId, readers: Readers, random: Random) -> Transfers {
        Transfers {
            layout,
            cluster,
            readers,
            random,
            fence: Fence::new(readers.protected_ms),
            session: SessionId::ZERO,
            uploads: BTreeMap::new(),
            downloads: BTreeMap::new(),
            numbers: 0,
            calls: BTreeMap::new(),
            calls_made: 0,
            frames: Vec::new(),
            events: Vec::new(),
        }
    }

    /// How many are under way, those not counted that only wait for late owners.
    pub(super) fn count(&self) -> usize {
        self.uploads.values().filter(|upload| !upload.is_lingering()).count() + self.downloads.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.uploads.is_empty() && self.downloads.is_empty()
    }

    pub(super) fn watermarks(&mut self, now: u64) -> (u64, Op) {
        let marks = self.fence.watermarks(tick(now));
        (marks.oldest_live_upload, marks.oldest_read)
    }

    pub(super) fn learn(&mut self, op: Op) {
        self.fence.learn(op);
    }

    /// Half of those that relied on the session before break off. The others have not noticed.
    pub(super) fn on_session_began(&mut self, session: SessionId) {
        self.fence.on_session_began(session);
        self.session = session;
        for number in self.uploads.keys().copied().collect::<Vec<_>>() {
            let upload = &self.uploads[&number];
            if !upload.is_submitted() && !upload.is_lingering() && self.random.percent(50) {
                self.give_up(number);
            }
        }
        for number in self.downloads.keys().copied().collect::<Vec<_>>() {
            if self.random.percent(50) {
                self.end_download(number);
                self.events.push(Event::Mark("read ended with its session"));
            }
        }
    }

    /// None before the first session.
    pub(super) fn begin_upload(
        &mut self,
        now: u64,
        operation: Operation,
        chunk_size: u32,
        length: u64,
        name: Name,
    ) -> Option<BodyId> {
        let body = self.fence.begin_upload()?;
        self.numbers += 1;
        let upload =
            Upload::new(self.layout, body, operation, chunk_size, length, name, now, &mut self.random);
        self.uploads.insert(self.numbers, upload);
        Some(body)
    }

    pub(super) fn begin_read(&mut self, now: u64) -> Option<ReadTicket> {
        self.fence.begin_read(tick(now))
    }

    pub(super) fn end_read(&mut self, ticket: ReadTicket) {
        self.fence.end_read(ticket);
    }

    /// The record is here: its bytes are fetched.
    pub(super) fn on_record(&mut self, now: u64, ticket: ReadTicket, op: Op, answer: &Answer) {
        self.fence.on_record(ticket, op);
        let Answer::Object { object, pieces, more } = answer else { return self.end_read(ticket) };
        let source = object.upload.filter(|_| *more);
        let size = object.summary.size;
        let session = self.session;
        let download = Download::new(
            self.layout,
            download::Record { ticket, session, op, size, source },
            pieces.clone(),
            self.readers,
            now,
            &mut self.random,
        );
        match download {
            Ok(Some(download)) => {
                self.numbers += 1;
                self.downloads.insert(self.numbers, download);
            }
            Ok(None) => self.end_read(ticket),
            Err(what) => self.events.push(Event::Broken(what)),
        }
    }

    /// None: there is no answer.
    pub(super) fn on_pieces(&mut self, now: u64, number: u64, answer: Option<(Vec<Piece>, bool)>) {
        let Some(download) = self.downloads.get_mut(&number) else { return };
        match answer {
            None => self.end_download(number),
            Some((pieces, more)) => {
                if let Err(what) = download.add_pieces(now, pieces, more) {
                    self.events.push(Event::Broken(what));
                }
            }
        }
    }

    pub(super) fn on_submitted(&mut self, number: u64) {
        if let Some(upload) = self.uploads.get_mut(&number) {
            upload.on_submitted();
        }
    }

    /// The log has decided, or nobody knows what it has.
    pub(super) fn on_decided(&mut self, number: u64) {
        if let Some(upload) = self.uploads.get_mut(&number) {
            self.fence.end_upload(upload.body());
            upload.on_decided();
        }
    }

    pub(super) fn on_too_few_copies(&mut self, now: u64, number: u64) {
        if let Some(upload) = self.uploads.get_mut(&number) {
            self.events.push(Event::Mark("receipts renewed"));
            upload.on_too_few_copies(tick(now));
        }
    }

    fn give_up(&mut self, number: u64) {
        let Some(upload) = self.uploads.remove(&number) else { return };
        self.fence.end_upload(upload.body());
        self.events.push(Event::Mark("upload given up"));
        self.events.push(Event::GaveUp { operation: upload.into_operation() });
    }

    fn end_download(&mut self, number: u64) {
        if let Some(download) = self.downloads.remove(&number) {
            self.fence.end_read(download.ticket());
        }
    }

    pub(super) fn on_answer(&mut self, now: u64, from: ReplicaId, call: u64, body: DataBody) {
        match self.calls.remove(&call) {
            Some(Caller::Upload { number, call }) => {
                if let Some(upload) = self.uploads.get_mut(&number) {
                    upload.put.on_answer(tick(now), from, call, body);
                }
            }
            Some(Caller::Download { number, call }) => {
                if let Some(download) = self.downloads.get_mut(&number) {
                    download.get.on_answer(tick(now), from, call, body);
                }
            }
            None => {}
        }
    }

    pub(super) fn on_call_failed(&mut self, now: u64, from: ReplicaId, call: u64) {
        match self.calls.remove(&call) {
            Some(Caller::Upload { number, call }) => {
                if let Some(upload) = self.uploads.get_mut(&number) {
                    upload.put.on_call_failed(tick(now), from, call);
                }
            }
            Some(Caller::Download { number, call }) => {
                if let Some(download) = self.downloads.get_mut(&number) {
                    download.get.on_call_failed(tick(now), from, call);
                }
            }
            None => {}
        }
    }

    /// Everything goes on as far as it can. When all is calm nobody dawdles.
    pub(super) fn step(&mut self, now: u64, calm: bool, contents: &Contents) {
        for number in self.uploads.keys().copied().collect::<Vec<_>>() {
            self.step_upload(now, calm, number);
        }
        for number in self.downloads.keys().copied().collect::<Vec<_>>() {
            self.step_download(now, calm, number, contents);
        }
    }

    fn step_upload(&mut self, now: u64, calm: bool, number: u64) {
        let Some(upload) = self.uploads.get_mut(&number) else { return };
        let step = upload.step(now, calm, &mut self.random);
        for (to, call, body) in upload.take_calls() {
            self.calls_made += 1;
            self.calls.insert(self.calls_made, Caller::Upload { number, call });
            self.frames.push((to, DataMessage { cluster: self.cluster, call: self.calls_made, body }));
        }
        match step {
            upload::Step::Waits => {}
            upload::Step::Commit(operation) => {
                self.events.push(Event::Commit { upload: number, operation: *operation });
            }
            upload::Step::Failed(why) => {
                self.events.push(Event::Mark(why));
                self.give_up(number);
            }
            upload::Step::Abandoned => self.give_up(number),
            upload::Step::Over => drop(self.uploads.remove(&number)),
        }
    }

    fn step_download(&mut self, now: u64, calm: bool, number: u64, contents: &Contents) {
        let Some(download) = self.downloads.get_mut(&number) else { return };
        let step = download.step(now, calm, contents, &mut self.random);
        for (to, call, body) in download.take_calls() {
            self.calls_made += 1;
            self.calls.insert(self.calls_made, Caller::Download { number, call });
            self.frames.push((to, DataMessage { cluster: self.cluster, call: self.calls_made, body }));
        }
        match step {
            download::Step::Waits => {}
            download::Step::AskPieces(query) => {
                self.events.push(Event::AskPieces { download: number, query });
            }
            download::Step::Over(how) => {
                self.events.push(Event::Mark(how));
                self.end_download(number);
            }
            download::Step::Missing(missing) => {
                // Nobody keeps anything for a read whose session this process knows to have ended, or that
                // has taken too long.
                let event = match self.fence.is_read_live(download.ticket()) {
                    true => Event::Missing(missing),
                    false => Event::Mark("read outlived its protection"),
                };
                self.events.push(event);
                self.end_download(number);
            }
            download::Step::Broken(what) => self.events.push(Event::Broken(what)),
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn take_frames(&mut self) -> Vec<(ReplicaId, DataMessage)> {
        std::mem::take(&mut self.frames)
    }
}

fn tick(now: u64) -> Tick {
    Tick::new(now / 1_000)
}
