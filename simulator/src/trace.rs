//! What happened, one line each, and one number that stands for all of it.
//!
//! The number is how two runs are compared: it covers every line, printed or not, and every change
//! of a replica's standing. A line is only put into words when somebody reads it.

use std::fmt::Write as _;

use protocol::data::message::{DataBody, DataMessage};
use protocol::message::{Body, Message, SlotState};
use protocol::types::{Op, Peer, View};
use protocol::vsr::StatusName;

/// The width of a replica's column: `P v1234 99999/99999` and a space fit.
const COLUMN_WIDTH: usize = 19;

const LEGEND: &str = "\
Legend. One line per event: virtual seconds, one column per replica, then what happened, and to whom.
A column shows the standing before the event: status, view, head/commit.
  P primary   B backup   V view change   R recovering   S syncing   J rejoining   - down
A message reads `r0>r1 Kind` or `cafe>r1 Kind`: clients go by the end of their name.
Heartbeats (Commit, CommitOk) are part of the hash but not shown.
";

/// A replica as its column shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Down,
    Up { letter: char, view: View, head: Op, commit: Op },
}

impl Standing {
    fn hash_into(self, hash: &mut Hash) {
        match self {
            Standing::Down => hash.word(0),
            Standing::Up { letter, view, head, commit } => {
                hash.word(u64::from(u32::from(letter)));
                hash.word(view.get());
                hash.word(head.get());
                hash.word(commit.get());
            }
        }
    }

    fn show(self) -> String {
        match self {
            Standing::Down => "-".into(),
            Standing::Up { letter, view, head, commit } => format!("{letter} v{view} {head}/{commit}"),
        }
    }
}

/// Not for enemies: only equal runs must have equal hashes, and other runs others.
#[derive(Clone, Copy, Debug)]
struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn text(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(text.len() as u64);
    }

    fn peer(&mut self, peer: Peer) {
        match peer {
            Peer::Replica(id) => self.word(u64::from(id.get())),
            Peer::Client(id) => {
                let low = id.get() & u128::from(u64::MAX);
                self.word(u64::try_from(low).expect("the high half is masked"));
            }
        }
    }
}

pub struct Trace {
    standings: Vec<Standing>,
    hash: Hash,
    verbose: bool,
}

impl Trace {
    pub fn new(replica_count: usize, verbose: bool) -> Trace {
        if verbose {
            println!("{LEGEND}");
        }
        Trace { standings: vec![Standing::Down; replica_count], hash: Hash(1), verbose }
    }

    /// How a replica stands now. Only a change counts.
    pub fn status(
        &mut self,
        machine: usize,
        status: StatusName,
        is_primary: bool,
        view: View,
        head: Op,
        commit: Op,
    ) {
        let letter = match status {
            StatusName::Normal if is_primary => 'P',
            StatusName::Normal => 'B',
            StatusName::ViewChange => 'V',
            StatusName::Recovering => 'R',
            StatusName::Syncing => 'S',
            StatusName::Rejoining => 'J',
        };
        self.stands(machine, Standing::Up { letter, view, head, commit });
    }

    pub fn down(&mut self, machine: usize) {
        self.stands(machine, Standing::Down);
    }

    fn stands(&mut self, machine: usize, standing: Standing) {
        if self.standings[machine] != standing {
            self.standings[machine] = standing;
            self.hash.word(machine as u64);
            standing.hash_into(&mut self.hash);
        }
    }

    /// Something other than a message: to a machine, or to the world.
    pub fn note(&mut self, now: u64, machine: Option<usize>, text: &str) {
        self.hash.word(now);
        self.hash.word(machine.map_or(u64::MAX, |machine| machine as u64));
        self.hash.text(text);
        if self.verbose {
            let whom = machine.map_or("world".into(), |machine| format!("r{machine}"));
            println!("{}", self.line(now, &format!("{whom}: {text}")));
        }
    }

    /// A message that somebody sends. Whether it arrives is another matter.
    pub fn message(&mut self, now: u64, message: &Message, to: Peer) {
        self.hash.word(now);
        self.hash.peer(message.from);
        self.hash.peer(to);
        self.hash.text(message.body.kind());
        self.hash.word(message.view.get());
        if self.verbose && !matches!(message.body, Body::Commit { .. } | Body::CommitOk { .. }) {
            println!("{}", self.line(now, &describe(message, to)));
        }
    }

    /// A frame of the data plane that somebody sends.
    pub fn data(&mut self, now: u64, from: Peer, to: Peer, message: &DataMessage) {
        self.hash.word(now);
        self.hash.peer(from);
        self.hash.peer(to);
        self.hash.text(message.body.kind());
        self.hash.word(message.call);
        if self.verbose {
            let kind = message.body.kind();
            let text =
                format!("{}>{} {kind} call {}{}", name(from), name(to), message.call, detail(&message.body));
            println!("{}", self.line(now, &text));
        }
    }

    fn line(&self, now: u64, text: &str) -> String {
        let mut line = format!("{:>4}.{:06} ", now / 1_000_000, now % 1_000_000);
        for standing in &self.standings {
            write!(line, "{:<COLUMN_WIDTH$} ", standing.show()).expect("strings do not fail");
        }
        line.push_str(text);
        line
    }

    pub fn hash(&self) -> u64 {
        self.hash.0
    }
}

fn name(peer: Peer) -> String {
    match peer {
        Peer::Replica(id) => format!("r{id}"),
        Peer::Client(id) => format!("{:04x}", id.get() & 0xffff),
    }
}

/// What a call is about, and what became of it.
fn detail(body: &DataBody) -> String {
    match body {
        DataBody::PutChunk { chunk, .. } | DataBody::Confirm { chunk, .. } => format!(" {chunk:?}"),
        DataBody::GetBlocks { chunk, first, count, .. } => format!(" {chunk:?} from {first}, {count}"),
        DataBody::Refused { why } => format!(" {why:?}"),
        _ => String::new(),
    }
}

fn describe(message: &Message, to: Peer) -> String {
    let mut text = format!("{}>{} {}", name(message.from), name(to), message.body.kind());
    let more = match &message.body {
        Body::Request(request) => format!("session {} number {}", request.session, request.number),
        Body::Reply(reply) => format!("session {} number {} op {}", reply.session, reply.number, reply.op),
        Body::Query { number, .. } => format!("number {number}"),
        Body::QueryReply { number, applied, .. } => format!("number {number} applied {applied}"),
        Body::Prepare { entry, commit } => format!("op {} {:?} commit {commit}", entry.op(), entry.name),
        Body::PrepareOk { op, name } => format!("op {op} {name:?}"),
        Body::StartViewChange { candidate } => format!("candidate {candidate}"),
        Body::DoViewChange(vote) => {
            let certain = if vote.certain { "" } else { " uncertain" };
            let slots = vote.slots.iter().map(|slot| match slot.state {
                SlotState::Present => format!(" {:?}", slot.header.name()),
                SlotState::Faulty => format!(" {:?}?", slot.header.name()),
                SlotState::Missing => format!(" {:?}!", slot.header.name()),
            });
            let slots: String = slots.collect();
            format!("view {} log_view {} head {}{certain}{slots}", vote.view, vote.log_view, vote.head())
        }
        Body::StartView(start) => {
            format!("commit {} head {:?}", start.commit, start.headers.last().map(|header| header.op))
        }
        Body::GetHeaders { low, high, .. } => format!("{low}..={high}"),
        Body::Headers { headers } => format!("{} headers", headers.len()),
        Body::GetEntry { op, name } => format!("op {op} {name:?}"),
        Body::RepairedEntry { entry } => format!("op {} {:?}", entry.op(), entry.name),
        Body::CheckpointRoot { checkpoint } => format!("op {}", checkpoint.op()),
        Body::GetManifest { op, .. } | Body::GetRows { op, .. } | Body::SnapshotGone { op } => {
            format!("checkpoint {op}")
        }
        Body::Manifest { checkpoint, ranges, .. } => {
            format!("checkpoint {} {} ranges", checkpoint.op(), ranges.len())
        }
        Body::Rows { op, rows, .. } => format!("checkpoint {op} {} rows", rows.len()),
        Body::RejoinGranted { op, .. } => format!("op {op}"),
        _ => return text,
    };
    write!(text, " {more} (view {})", message.view).expect("strings do not fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(trace: &mut Trace, commit: u64) {
        trace.status(0, StatusName::Normal, true, View::new(3), Op::new(9), Op::new(commit));
    }

    #[test]
    fn equal_runs_have_equal_hashes_and_others_do_not() {
        let run = |commit, text: &str| {
            let mut trace = Trace::new(3, false);
            status(&mut trace, commit);
            trace.note(5, Some(1), text);
            trace.hash()
        };
        assert_eq!(run(7, "crash"), run(7, "crash"));
        assert_ne!(run(7, "crash"), run(8, "crash"));
        assert_ne!(run(7, "crash"), run(7, "crush"));
    }

    #[test]
    fn a_standing_that_does_not_change_leaves_no_mark() {
        let mut trace = Trace::new(3, false);
        status(&mut trace, 7);
        let before = trace.hash();
        status(&mut trace, 7);
        assert_eq!(trace.hash(), before);
    }

    #[test]
    fn columns_stay_aligned_when_a_replica_goes_down() {
        let mut trace = Trace::new(2, false);
        status(&mut trace, 7);
        let up = trace.line(1_500_000, "event");
        trace.down(0);
        let down = trace.line(1_500_000, "event");
        assert!(up.starts_with("   1.500000 P v3 9/7 "));
        assert_eq!(up.find("event"), down.find("event"));
    }
}
