//! Bodies whose bytes come when a test says so.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

/// An error is a connection that breaks.
pub(crate) type Piece = Result<Bytes, &'static str>;

struct Pipe(mpsc::UnboundedReceiver<Piece>);

impl http_body::Body for Pipe {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Ends when the sender is dropped.
pub(crate) fn pipe() -> (mpsc::UnboundedSender<Piece>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Body::new(Pipe(receiver)))
}
