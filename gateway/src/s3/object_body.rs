//! The bytes of an object as the body of an answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::cluster::{ClusterError, Link, Reader};

/// Where the bytes come from.
pub(crate) trait Source: Send + 'static {
    /// None at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ClusterError>> + Send;
}

impl<L: Link> Source for Reader<L> {
    async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        self.next().await
    }
}

/// Asks for the next bytes only when the last ones have been taken, so a slow client holds no more than
/// what its reader reads ahead; one that goes away lets go of everything.
///
/// It ends after as many bytes as were promised, or with an error: then the connection is cut, and what
/// has come does not look whole to the client.
pub(crate) struct ObjectBody<S> {
    state: State<S>,
    left: u64,
}

enum State<S> {
    /// These bytes are there.
    Ready(Bytes, Box<S>),
    Waiting(Box<S>),
    Reading(Pin<Box<dyn Future<Output = Read<S>> + Send>>),
    Over,
}

/// What a read came to, and the source of the next one.
type Read<S> = (Result<Option<Bytes>, ClusterError>, Box<S>);

impl<S: Source> ObjectBody<S> {
    pub(crate) fn new(source: S, length: u64) -> ObjectBody<S> {
        ObjectBody { state: State::Waiting(Box::new(source)), left: length }
    }

    /// `first` is what the source has given already of the `length` bytes that it gives.
    pub(crate) fn begun(first: Bytes, source: S, length: u64) -> ObjectBody<S> {
        ObjectBody { state: State::Ready(first, Box::new(source)), left: length }
    }

    fn on_read(&mut self, (outcome, source): Read<S>) -> Result<Frame<Bytes>, ClusterError> {
        let given = match outcome {
            Ok(Some(bytes)) => self.give(bytes, source),
            Ok(None) => Err(ClusterError::Lost("the rest of the object".into())),
            Err(error) => Err(error),
        };
        given.inspect_err(|error| tracing::warn!(%error, left = self.left, "an answer breaks off"))
    }

    /// The source goes as soon as nothing is left: what it keeps from being collected goes with it.
    fn give(&mut self, bytes: Bytes, source: Box<S>) -> Result<Frame<Bytes>, ClusterError> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| ClusterError::Lost("the end of the object".into()))?;
        if self.left > 0 {
            self.state = State::Waiting(source);
        }
        Ok(Frame::data(bytes))
    }
}

impl<S: Source> Body for ObjectBody<S> {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        let mut reading = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Poll::Ready(None),
            State::Ready(bytes, source) => return Poll::Ready(Some(self.on_read((Ok(Some(bytes)), source)))),
            State::Waiting(mut source) => Box::pin(async move { (source.next().await, source) }),
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// Gives a piece, or fails, for each permit.
    struct Script {
        pieces: VecDeque<Result<Option<Bytes>, ClusterError>>,
        permits: Arc<Semaphore>,
    }

    impl Source for Script {
        async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
            self.permits.acquire().await.unwrap().forget();
            self.pieces.pop_front().unwrap_or(Ok(None))
        }
    }

    type Pieces = Vec<Result<Option<Bytes>, ClusterError>>;

    fn body(length: u64, pieces: Pieces) -> (ObjectBody<Script>, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(100));
        let script = Script { pieces: pieces.into(), permits: permits.clone() };
        (ObjectBody::begun("ab".into(), script, length), permits)
    }

    fn piece(text: &'static str) -> Result<Option<Bytes>, ClusterError> {
        Ok(Some(text.into()))
    }

    #[tokio::test]
    async fn a_body_is_all_that_was_promised() {
        let (body, _) = body(7, vec![piece("cd"), piece("efg")]);
        assert_eq!(body.size_hint().exact(), Some(7));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdefg");
        let (body, _) = self::body(2, Vec::new());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "ab");
    }

    /// A body that ended like a whole one would be taken for one.
    #[tokio::test]
    async fn a_body_that_cannot_be_whole_ends_with_an_error() {
        let lost = || ClusterError::Lost("a chunk".into());
        let scripts: [Pieces; 4] = [
            vec![piece("cd"), Err(lost())],
            vec![piece("cd"), Ok(None)],
            vec![piece("cdefghi")],
            vec![Err(ClusterError::Expired)],
        ];
        for script in scripts {
            let (body, _) = body(7, script.clone());
            assert!(body.collect().await.is_err(), "{script:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_asked_for_before_it_is_wanted_and_the_source_goes_with_the_last_byte() {
        let (mut body, permits) = body(6, vec![piece("cd"), piece("ef")]);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        assert_eq!(permits.available_permits(), 100);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "cd");
        assert_eq!(permits.available_permits(), 99);
        assert_eq!(Arc::strong_count(&permits), 2);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ef");
        assert_eq!(Arc::strong_count(&permits), 1);
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}
