//! A stream whose other end must begin to speak. hyper tells HTTP/1 from HTTP/2 by the first bytes, and has
//! no clock before it knows: who connects and says nothing would keep a place for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// As many as HTTP/2 begins with. After these, every protocol has clocks of its own.
const BYTES: usize = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

pub(super) struct Greeting<S> {
    stream: S,
    /// None once enough was said.
    until: Option<Pin<Box<Sleep>>>,
    byte_count: usize,
}

impl<S> Greeting<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Greeting<S> {
        Greeting { stream, until: Some(Box::pin(sleep(patience))), byte_count: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(until) = &mut self.until else { return read };
        if read.is_pending() {
            return match until.as_mut().poll(context) {
                Poll::Ready(()) => {
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end says nothing")))
                }
                Poll::Pending => Poll::Pending,
            };
        }
        self.byte_count += buffer.filled().len() - before;
        if self.byte_count >= BYTES {
            self.until = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto;
    use hyper_util::service::TowerToHyperService;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Connections that said nothing, or `P`, stayed open until their clients closed them: eight thousand of
    /// them, without any key, and the gateway was closed to everybody.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_say_which_http_it_speaks_is_given_up() {
        for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(said.as_bytes()).await.unwrap();
            let began = Instant::now();
            let answer = axum::Router::new();
            let builder = auto::Builder::new(TokioExecutor::new());
            let stream = TokioIo::new(Greeting::new(near, PATIENCE));
            let served = builder.serve_connection(stream, TowerToHyperService::new(answer));
            let served = tokio::time::timeout(PATIENCE * 10, served).await;
            assert!(served.expect("it was not given up").is_err(), "{said:?}");
            assert_eq!(began.elapsed(), PATIENCE, "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_spoken_may_be_silent() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Greeting::new(near, PATIENCE);
        let said = [b'x'; BYTES];
        far.write_all(&said).await.unwrap();
        stream.read_exact(&mut [0; BYTES]).await.unwrap();
        let later = tokio::time::timeout(PATIENCE * 10, stream.read_u8()).await;
        assert!(later.is_err(), "nothing was cut");
    }
}
