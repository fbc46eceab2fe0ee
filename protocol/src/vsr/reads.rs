//! Reads by read-index: an answer leaves only after a quorum has confirmed, upon a heartbeat sent
//! after the read arrived, that it has promised no later view. One heartbeat confirms every read
//! that waited for it.

use bytes::Bytes;

use super::status::{PendingRead, Question, Status};
use super::*;
use crate::machine::Invalid;
use crate::message::QueryAnswer;

/// Reads that wait for their confirmation.
const READS_MAX: usize = 1_024;
const READS_BYTES_MAX: usize = 16 << 20;

/// So many are answered in one go, and no more once their answers have come to so many bytes. A listing
/// takes some milliseconds: a thousand of them in a row would be seconds without a heartbeat, and a
/// gigabyte of answers that nobody can send yet.
const READS_PER_GO: usize = 16;
const ANSWER_BYTES_PER_GO: usize = 1 << 20;

impl Question {
    fn size(&self) -> usize {
        match self {
            Question::Query { query, .. } => query.len(),
            Question::Standing(request) => request.encoded_size_max(),
        }
    }
}

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    pub(super) fn on_query(&mut self, client: ClientId, number: u64, query: Bytes) {
        if !self.is_primary() {
            return self.answer_query(client, number, QueryAnswer::Elsewhere);
        }
        if !self.ask_when_confirmed(Question::Query { client, number, query }) {
            self.answer_query(client, number, QueryAnswer::Busy);
        }
    }

    /// Answers the question as of now or later, once a quorum has confirmed this primary after now.
    /// False if there is no room.
    pub(super) fn ask_when_confirmed(&mut self, question: Question) -> bool {
        let confirmed = self.confirmed();
        let commit = self.commit;
        let Status::Primary(primary) = &mut self.status else { return false };
        let size = question.size();
        if primary.reads.len() >= READS_MAX || primary.reads_bytes + size > READS_BYTES_MAX {
            return false;
        }
        primary.reads_bytes += size;
        // What the old primary acknowledged is somewhere in the inherited log (P112).
        let index =
            if planted(Canary::ReadsBeforeInheritance) { Op::ZERO } else { commit.max(primary.inherited) };
        let sequence = primary.sequence + 1;
        primary.reads.push_back(PendingRead { question, index, sequence });
        // No round is under way: begin one. Otherwise the next one gathers all newcomers.
        if confirmed >= primary.sequence {
            self.beat();
        }
        true
    }

    /// The newest heartbeat that a confirmation quorum, this replica included, has answered.
    pub(super) fn confirmed(&self) -> u64 {
        let Status::Primary(primary) = &self.status else { return 0 };
        let me = self.config.replica.index();
        let mut answers = primary.answered;
        answers[me] = primary.sequence;
        let answers = &mut answers[..self.config.quorums.replica_count];
        answers.sort_unstable_by(|a, b| b.cmp(a));
        answers[self.config.quorums.confirmation - 1]
    }

    pub(super) fn on_commit_ok(
        &mut self,
        from: ReplicaId,
        view: View,
        sequence: u64,
        clock: Timestamp,
        room: Room,
    ) {
        if view != self.view() {
            return;
        }
        self.peers.tells_time(from, clock, self.clock, self.now);
        self.peers.tells_room(from, room, self.now);
        let Status::Primary(primary) = &mut self.status else { return };
        let answered = &mut primary.answered[from.index()];
        *answered = (*answered).max(sequence.min(primary.sequence));
    }

    pub(super) fn settle_reads(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        while let Some(question) = self.take_confirmed() {
            self.event(Event::ReadIndexConfirmed);
            count += 1;
            bytes += match question {
                Question::Query { client, number, query } => self.execute_query(client, number, &query),
                Question::Standing(request) => {
                    self.tell_standing(&request);
                    0
                }
            };
            if count == READS_PER_GO || bytes >= ANSWER_BYTES_PER_GO {
                return self.ask_to_go_on();
            }
        }
    }

    /// The first question that waits, if it may be answered now.
    fn take_confirmed(&mut self) -> Option<Question> {
        let confirmed = self.confirmed();
        let applied = self.applied();
        let Status::Primary(primary) = &mut self.status else { return None };
        if confirmed > primary.confirmed {
            primary.confirmed = confirmed;
            primary.confirmed_at = self.now;
        }
        let read = primary.reads.front()?;
        if read.sequence > confirmed && !planted(Canary::UnconfirmedReads) {
            if confirmed < primary.sequence {
                return None;
            }
            // The round that was under way is over, and this read came after it began.
            self.beat();
            return if self.config.quorums.confirmation == 1 { self.take_confirmed() } else { None };
        }
        if applied < read.index {
            self.event(Event::ReadWaitedForApply);
            return None;
        }
        let read = primary.reads.pop_front().expect("it was just seen");
        primary.reads_bytes -= read.question.size();
        Some(read.question)
    }

    fn ask_to_go_on(&mut self) {
        if !self.going_on {
            self.going_on = true;
            self.out.push(Effect::GoOn);
        }
    }

    /// Tells how large the answer is.
    fn execute_query(&mut self, client: ClientId, number: u64, query: &Bytes) -> usize {
        let answer = match self.state.query(query) {
            Ok(Ok(answer)) => QueryAnswer::Done(answer),
            Ok(Err(Invalid(why))) => QueryAnswer::Invalid(why.into()),
            Err(fault) => {
                self.lose_tables(&fault);
                return 0;
            }
        };
        let size = if let QueryAnswer::Done(bytes) = &answer { bytes.len() } else { 0 };
        self.answer_query(client, number, answer);
        size
    }

    /// This replica is about to stop being primary: it can no longer vouch for any answer.
    pub(super) fn fail_reads(&mut self) {
        let Status::Primary(primary) = &mut self.status else { return };
        for read in std::mem::take(&mut primary.reads) {
            // Requests are sent again by their clients.
            if let Question::Query { client, number, .. } = read.question {
                self.answer_query(client, number, QueryAnswer::Elsewhere);
            }
        }
    }

    fn answer_query(&mut self, client: ClientId, number: u64, answer: QueryAnswer) {
        let applied = self.applied();
        self.send_client(client, Body::QueryReply { number, applied, answer });
    }
}

#[cfg(test)]
mod tests;
