//! The answering side.

use std::sync::Arc;

use protocol::codec::DecodeError;
use protocol::data::message::{DataBody, DataMessage, STATUS_BYTES_MAX};
use protocol::data::outline::BLOCK_SIZE;
use protocol::types::Peer;
use quinn::{RecvStream, SendStream};
use tokio::sync::oneshot;
use tokio::time;

use super::wire::{self, Head, ReadFault};
use super::{IncomingCall, Responder, reset};
use crate::budget::{Budget, Room};
use crate::counters::Tally;
use crate::limits::{CALL_BYTES_MAX, CALL_BYTES_MIN, CALL_TRANSFER_TIMEOUT};
use crate::read::{Broken, ChunkReader};
use crate::transport::Shared;

/// Serves one call from its first byte to the acknowledgement of the last byte of its answer.
pub(crate) async fn serve_call(
    shared: Arc<Shared>,
    from: Peer,
    tally: Arc<Tally>,
    peer_room: Budget,
    call: RecvStream,
    mut answer: SendStream,
) {
    let server = Server { shared: &shared, from, peer_room: &peer_room, tally: &tally };
    let mut stream = ChunkReader::new(call);
    match server.receive(&mut stream).await {
        Ok(Admission::Admitted(message, rooms)) => {
            server.handle(message, &mut answer).await;
            // Until the caller has it all, the answer is in memory.
            let _ = time::timeout(CALL_TRANSFER_TIMEOUT, answer.stopped()).await;
            drop(rooms);
        }
        Ok(Admission::Busy) => {
            tally.calls_busy.add(1);
            let _ = answer.reset(reset::BUSY);
        }
        Err(ReadFault::Broken(why)) => {
            tracing::debug!(?from, %why, "call broken off");
            let _ = answer.reset(reset::DECLINED);
        }
        Err(ReadFault::Garbled(what)) => {
            tracing::debug!(?from, %what, "not a call");
            tally.frames_bad.add(1);
            let _ = answer.reset(reset::GARBLED);
        }
    }
}

enum Admission {
    /// With the room that it takes, of the peer's, of its kind's and of everybody's.
    Admitted(DataMessage, Vec<Room>),
    Busy,
}

struct Server<'a> {
    shared: &'a Shared,
    from: Peer,
    peer_room: &'a Budget,
    tally: &'a Tally,
}

impl Server<'_> {
    /// Reads the head, waits for room for the rest, and then reads it. Until there is room, the
    /// stream's window is all that the caller can fill.
    async fn receive(&self, stream: &mut ChunkReader) -> Result<Admission, ReadFault> {
        let head = in_time(Head::read(stream)).await?;
        let small = head.whole()?;
        let cost = match &small {
            Some(message) => cost_of_answer(&message.body),
            None => u32::try_from(head.bytes_size()).expect("a chunk is at most a few megabytes"),
        };
        let rooms = match time::timeout(self.shared.limits.call_admission_wait, self.room(cost)).await {
            Ok(rooms) => rooms,
            Err(_) => return Ok(Admission::Busy),
        };
        let message = match small {
            Some(message) => message,
            None => in_time(head.read_rest(stream, &self.shared.buffers)).await?,
        };
        if message.cluster != self.shared.cluster {
            return Err(DecodeError::Invalid("DataMessage.cluster").into());
        }
        if !message.body.is_call() {
            return Err(DecodeError::Invalid("DataMessage.kind").into());
        }
        Ok(Admission::Admitted(message, rooms))
    }

    /// The peer's own room first, then that of its kind: whoever waits for these holds nothing that
    /// others wait for.
    async fn room(&self, cost: u32) -> Vec<Room> {
        let cost = cost.clamp(CALL_BYTES_MIN, CALL_BYTES_MAX);
        let mut rooms = vec![self.peer_room.take(cost).await];
        if let Peer::Client(_) = self.from {
            rooms.push(self.shared.client_calls_room.take(cost).await);
        }
        rooms.push(self.shared.calls_room.take(cost).await);
        rooms
    }

    async fn handle(&self, message: DataMessage, answer: &mut SendStream) {
        let call = message.call;
        let (sender, receiver) = oneshot::channel();
        let incoming = IncomingCall { from: self.from, body: message.body, responder: Responder(sender) };
        let answered = async {
            self.shared.from_callers.send(incoming).await.ok()?;
            receiver.await.ok()
        };
        tokio::select! {
            body = answered => match body {
                Some(body) => {
                    self.tally.calls_served.add(1);
                    self.send(answer, call, body).await;
                }
                None => drop(answer.reset(reset::DECLINED)),
            },
            // The caller gave up. Dropping the receiver tells the handler.
            _ = answer.stopped() => drop(answer.reset(reset::CANCELLED)),
        }
    }

    async fn send(&self, stream: &mut SendStream, call: u64, body: DataBody) {
        let message = DataMessage { cluster: self.shared.cluster, call, body };
        let written = time::timeout(CALL_TRANSFER_TIMEOUT, wire::write(stream, &message)).await;
        if !matches!(written, Ok(Ok(()))) {
            let _ = stream.reset(reset::DECLINED);
        }
    }
}

/// A caller that begins something must also get on with it.
async fn in_time<T>(reading: impl Future<Output = Result<T, ReadFault>>) -> Result<T, ReadFault> {
    time::timeout(CALL_TRANSFER_TIMEOUT, reading).await.unwrap_or(Err(ReadFault::Broken(Broken::Slow)))
}

/// What answering will take.
fn cost_of_answer(body: &DataBody) -> u32 {
    match body {
        DataBody::GetBlocks { count, .. } => count.saturating_mul(BLOCK_SIZE),
        DataBody::GetStatus => STATUS_BYTES_MAX,
        _ => 0,
    }
}
