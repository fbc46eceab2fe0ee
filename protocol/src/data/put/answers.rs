//! What replicas say, and what the network says of them. Nothing is trusted to be new, or to be asked
//! for.

use super::chunk::{Ask, Attempt, Holder};
use super::machine::Put;
use crate::data::message::{DataBody, DataRefusal};
use crate::data::receipt::Receipt;
use crate::types::{ReplicaId, Tick};

impl Put {
    /// An answer to a call, or what claims to be one.
    pub fn on_answer(&mut self, now: Tick, from: ReplicaId, call: u64, answer: DataBody) {
        self.advance(now);
        self.silent.remove(&from);
        if let Some((index, place)) = self.take_call(from, call) {
            match answer {
                DataBody::Stored { receipt } => self.on_receipt(index, place, receipt),
                DataBody::Refused { why } => self.on_refused(index, place, why),
                DataBody::NotHere => self.on_not_here(index, place),
                _ => self.on_failed(index, place),
            }
        }
        self.settle();
    }

    /// The call came to nothing: its stream or its connection was lost.
    pub fn on_call_failed(&mut self, now: Tick, replica: ReplicaId, call: u64) {
        self.advance(now);
        if let Some((index, place)) = self.take_call(replica, call) {
            self.on_failed(index, place);
        }
        self.settle();
    }

    /// The chunk and the place of the holder, if this call waits for an answer of this replica.
    fn take_call(&mut self, from: ReplicaId, call: u64) -> Option<(usize, usize)> {
        let (index, to) = *self.calls.get(&call)?;
        if to != from {
            return None;
        }
        self.calls.remove(&call);
        let holders = &self.chunks[index].holders;
        let place = holders.iter().position(|holder| holder.call() == Some(call));
        Some((index, place.expect("a holder remembers its call as long as the call is remembered")))
    }

    /// Whether the proof is good only replicas can tell.
    fn on_receipt(&mut self, index: usize, place: usize, receipt: Receipt) {
        let holder = &mut self.chunks[index].holders[place];
        if receipt.node == holder.replica && usize::try_from(receipt.chunk) == Ok(index) {
            holder.attempt = Attempt::Stored { receipt };
        } else {
            self.on_failed(index, place);
        }
    }

    fn on_refused(&mut self, index: usize, place: usize, why: DataRefusal) {
        let holder = &mut self.chunks[index].holders[place];
        match (why, holder.ask) {
            // It works, and will have time for this one, too.
            (DataRefusal::Busy, _) => self.pause(index, place),
            // The bytes were changed on their way, or it was not ready yet. Both may pass.
            (DataRefusal::NotReady, _) | (DataRefusal::Damaged, Ask::Store) => self.on_failed(index, place),
            (DataRefusal::Damaged, Ask::Confirm) => self.on_not_here(index, place),
            (DataRefusal::Full | DataRefusal::Conflict | DataRefusal::WrongLayout, _) => {
                holder.pass_over(Some(why));
            }
        }
    }

    /// What it lacks it is sent, if the bytes are still held and it is its turn.
    fn on_not_here(&mut self, index: usize, place: usize) {
        let chunk = &mut self.chunks[index];
        let holder = &mut chunk.holders[place];
        match holder.ask {
            Ask::Confirm if chunk.bytes.is_some() => {
                *holder = Holder::new(holder.replica);
            }
            Ask::Confirm => holder.pass_over(None),
            Ask::Store => self.on_failed(index, place),
        }
    }

    /// It may come back; until then it is not relied on.
    fn on_failed(&mut self, index: usize, place: usize) {
        let holder = &mut self.chunks[index].holders[place];
        holder.doubt_at = holder.doubt_at.min(self.now);
        self.pause(index, place);
    }
}
