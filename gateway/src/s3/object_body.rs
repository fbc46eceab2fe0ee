//! The bytes of an object as the body of an answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::cluster::{ClusterError, Link, Reader};

/// Asks for the next bytes only when the last ones have been taken, so a slow client holds no more than
/// what its reader reads ahead; one that goes away lets go of everything.
///
/// It ends after as many bytes as were promised, or with an error: then the connection is cut, and what
/// has come does not look whole to the client.
pub(crate) struct ObjectBody<L> {
    state: State<L>,
    left: u64,
}

enum State<L> {
    /// These bytes are there.
    Ready(Bytes, Box<Reader<L>>),
    Waiting(Box<Reader<L>>),
    Reading(Pin<Box<dyn Future<Output = Read<L>> + Send>>),
    Over,
}

/// What a read came to, and the reader for the next one.
type Read<L> = (Result<Option<Bytes>, ClusterError>, Box<Reader<L>>);

impl<L: Link> ObjectBody<L> {
    /// `first` is what the reader gave first of the `length` bytes that it will give.
    pub(crate) fn new(first: Bytes, reader: Reader<L>, length: u64) -> ObjectBody<L> {
        ObjectBody { state: State::Ready(first, Box::new(reader)), left: length }
    }

    /// The reader goes as soon as nothing is left: what it keeps from being collected goes with it.
    fn give(&mut self, bytes: Bytes, reader: Box<Reader<L>>) -> Result<Frame<Bytes>, ClusterError> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| ClusterError::Lost("the end of the object".into()))?;
        if self.left > 0 {
            self.state = State::Waiting(reader);
        }
        Ok(Frame::data(bytes))
    }

    fn on_read(&mut self, (outcome, reader): Read<L>) -> Result<Frame<Bytes>, ClusterError> {
        let given = match outcome {
            Ok(Some(bytes)) => self.give(bytes, reader),
            Ok(None) => Err(ClusterError::Lost("the rest of the object".into())),
            Err(error) => Err(error),
        };
        given.inspect_err(|error| tracing::warn!(%error, left = self.left, "an answer breaks off"))
    }
}

impl<L: Link> Body for ObjectBody<L> {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        let mut reading = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Poll::Ready(None),
            State::Ready(bytes, reader) => return Poll::Ready(Some(self.give(bytes, reader))),
            State::Waiting(mut reader) => Box::pin(async move { (reader.next().await, reader) })
                as Pin<Box<dyn Future<Output = _> + Send>>,
            State::Reading(reading) => reading,
        };
        match reading.as_mut().poll(context) {
            Poll::Ready(read) => Poll::Ready(Some(self.on_read(read))),
            Poll::Pending => {
                self.state = State::Reading(reading);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
