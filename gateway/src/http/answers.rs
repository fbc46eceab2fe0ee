//! How much memory answers may take that wait for their clients to take them.
//!
//! A page of a listing is made as a whole, and a connection of HTTP/2 can ask for hundreds and take none. So an
//! answer pays for its bytes, and what was paid is given back with the last of them. What is read piece by
//! piece while it is taken has paid where it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::response::Response;
use crate::s3::{ErrorCode, S3Error, S3Result};

const BYTES: u32 = 128 << 20;

/// Not more than a connection takes for a request anyhow.
const FREE_BYTES: u32 = 4 << 10;

/// An answer waits so long for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// And so many of them, because those that wait are there already.
const WAITING_MAX: usize = 64;

/// What is handed on at a time. One of these is out of our sight for each answer: HTTP/2 takes it before it
/// knows whether the client will.
const PIECE_BYTES: usize = 64 << 10;

/// Goes with an answer that is read while it is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaidFor;

pub(super) struct AnswerRoom {
    room: Arc<Semaphore>,
    waiting: Semaphore,
}

impl AnswerRoom {
    pub(super) fn new() -> AnswerRoom {
        AnswerRoom { room: Arc::new(Semaphore::new(BYTES as usize)), waiting: Semaphore::new(WAITING_MAX) }
    }

    /// The answer, as soon as there is room for it.
    pub(super) async fn take(&self, mut answer: Response) -> S3Result<Response> {
        if self.try_take(&mut answer) {
            return Ok(answer);
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Err(no_room()) };
        let permit = timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(cost(&answer))).await;
        charge(&mut answer, permit.map_err(|_| no_room())?.expect("the room is never closed"));
        Ok(answer)
    }

    /// Whether there is room for the answer now. If not, it is not to be sent.
    #[must_use]
    pub(super) fn try_take(&self, answer: &mut Response) -> bool {
        let cost = cost(answer);
        if cost == 0 {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(cost) else { return false };
        charge(answer, permit);
        true
    }
}

fn no_room() -> S3Error {
    S3Error::with(
        ErrorCode::SlowDown,
        "Too many answers wait to be taken at the moment. Please reduce the rate.",
    )
}

fn cost(answer: &Response) -> u32 {
    if answer.extensions().get::<PaidFor>().is_some() {
        return 0;
    }
    let bytes = answer.body().size_hint().lower();
    let bytes = if bytes <= u64::from(FREE_BYTES) { 0 } else { bytes };
    u32::try_from(bytes).unwrap_or(BYTES).min(BYTES)
}

fn charge(answer: &mut Response, permit: OwnedSemaphorePermit) {
    let body = std::mem::take(answer.body_mut());
    *answer.body_mut() = Body::new(Charged { body, rest: Bytes::new(), permit: Arc::new(permit) });
}

/// A body that was paid for.
struct Charged {
    body: Body,
    /// What has come of it and was not handed on.
    rest: Bytes,
    permit: Arc<OwnedSemaphorePermit>,
}

/// Bytes of such a body. They are paid for until nobody holds them, wherever the body is by then.
struct Piece {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(bytes) => {
                    let _permit = Arc::clone(&self.permit);
                    self.rest = Bytes::from_owner(Piece { bytes, _permit });
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let size = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::sleep;

    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![7; bytes]))
    }

    fn free(room: &AnswerRoom) -> usize {
        room.room.available_permits()
    }

    /// With one connection of HTTP/2 a client could ask for 256 pages of a listing, of 3 MB each, and take
    /// nothing of them; with another for as many more.
    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_takes_are_bounded_and_little_ones_get_through() {
        const PAGE: usize = 3_000_000;
        let room = AnswerRoom::new();
        let mut kept = Vec::new();
        let refused = loop {
            match room.take(answer(PAGE)).await {
                Ok(answer) => kept.push(answer),
                Err(refused) => break refused.code,
            }
        };
        assert_eq!((refused, kept.len()), (ErrorCode::SlowDown, BYTES as usize / PAGE));
        assert!(room.take(answer(FREE_BYTES as usize)).await.is_ok());
        let mut read = answer(PAGE);
        read.extensions_mut().insert(PaidFor);
        assert!(room.take(read).await.is_ok());
        assert!(!room.try_take(&mut answer(PAGE)));

        // Who waits is let in, and not everybody waits.
        let freed = async {
            sleep(Duration::from_secs(1)).await;
            let waiting = std::iter::repeat_with(|| room.take(answer(PAGE))).take(WAITING_MAX);
            let mut waiting: Vec<_> = waiting.map(Box::pin).collect();
            for waits in &mut waiting {
                let _ = timeout(Duration::ZERO, waits).await;
            }
            let began = tokio::time::Instant::now();
            assert_eq!(room.take(answer(PAGE)).await.unwrap_err().code, ErrorCode::SlowDown);
            assert_eq!(began.elapsed(), Duration::ZERO);
            kept.pop();
        };
        let (first, ()) = tokio::join!(room.take(answer(PAGE)), freed);
        drop(first.unwrap());
        drop(kept);
        assert_eq!(free(&room), BYTES as usize);
    }

    /// What HTTP/2 has taken of an answer waits as well, and longer than the answer.
    #[tokio::test]
    async fn an_answer_is_paid_for_until_its_last_byte_is_gone() {
        let room = AnswerRoom::new();
        let size = 2 * PIECE_BYTES + 10;
        let mut body = room.take(answer(size)).await.unwrap().into_body();
        assert_eq!(body.size_hint().exact(), Some(size as u64));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
            let left = size - pieces.iter().map(Bytes::len).sum::<usize>();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(body.is_end_stream(), left == 0);
        }
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, PIECE_BYTES, 10]);
        drop(body);
        assert_eq!(free(&room), BYTES as usize - size);
        let last = pieces.pop();
        drop(pieces);
        assert_eq!(free(&room), BYTES as usize - size);
        drop(last);
        assert_eq!(free(&room), BYTES as usize);
    }
}
