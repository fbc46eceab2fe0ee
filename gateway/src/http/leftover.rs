//! What a handler leaves of a request's body. A connection on which an answer is sent while bytes still come
//! is closed under the client that sends them, and it never reads why: so the rest is taken, and thrown
//! away, up to a bound.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// A client that sends more than this for nothing loses its connection.
const BYTES_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The body, while somebody else reads it.
pub(super) struct Leftover(Arc<Mutex<Source>>);

struct Source {
    /// None once the rest belongs to whoever throws it away.
    body: Option<Body>,
    /// Asking for the first bytes tells a client that waits for it to go on.
    begun: bool,
}

/// What the handler reads.
struct Lent(Arc<Mutex<Source>>);

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leftover {
    /// The same body, to be read by a handler.
    pub(super) fn of(body: Body) -> (Body, Leftover) {
        let source = Arc::new(Mutex::new(Source { body: Some(body), begun: false }));
        (Body::new(Lent(Arc::clone(&source))), Leftover(source))
    }

    /// Takes what the handler has left, beside the answer. `waits`: the client sends nothing before it is
    /// told to, and after this answer it will not be.
    ///
    /// Nobody can tell what comes next from one who waits: the body, because it lost its patience, or
    /// another request, because it was answered. The connection must not be used again then: the beginning
    /// of the request would be taken for the body, and its end for a request. True says so.
    #[must_use]
    pub(super) fn take(self, waits: bool) -> bool {
        let (body, begun) = {
            let mut source = lock(&self.0);
            (source.body.take(), source.begun)
        };
        let Some(body) = body.filter(|body| !body.is_end_stream()) else { return false };
        if waits && !begun {
            return true;
        }
        tokio::spawn(tokio::time::timeout(PATIENCE, throw_away(body)));
        false
    }
}

async fn throw_away(mut body: Body) {
    let mut taken = 0;
    while let Some(Ok(frame)) = body.frame().await {
        taken += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        if taken > BYTES_MAX {
            return;
        }
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut source = lock(&self.0);
        source.begun = true;
        match &mut source.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::testing::pipe;

    #[tokio::test]
    async fn what_a_handler_leaves_is_taken() {
        let (bytes, body) = pipe();
        let (mut lent, leftover) = Leftover::of(body);
        bytes.send(Ok(Bytes::from_static(b"read"))).unwrap();
        assert_eq!(lent.frame().await.unwrap().unwrap().into_data().unwrap(), "read");
        assert!(!leftover.take(true));
        bytes.send(Ok(Bytes::from_static(b"left"))).unwrap();
        drop(lent);
        tokio::task::yield_now().await;
        assert!(!bytes.is_closed());
    }

    #[tokio::test]
    async fn a_client_that_waits_to_go_on_is_not_told_to_and_has_to_connect_anew() {
        let (bytes, body) = pipe();
        let (lent, leftover) = Leftover::of(body);
        drop(lent);
        assert!(leftover.take(true));
        assert!(bytes.is_closed());
    }

    #[tokio::test]
    async fn nobody_can_send_for_nothing_without_end() {
        let (bytes, body) = pipe();
        let (_lent, leftover) = Leftover::of(body);
        assert!(!leftover.take(false));
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..=BYTES_MAX >> 20 {
            let _ = bytes.send(Ok(mebibyte.clone()));
        }
        bytes.closed().await;
    }
}
