//! Connections: from listening to the last answer. Everything that a client can make us hold has an end:
//! the number of connections, the time to begin to speak, to send a request's head, to take an answer's bytes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use http::Version;
use http_body::Body as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::greeting::Greeting;
use super::patient::Patient;
use super::request::Encrypted;
use super::response::Response;
use super::tls::Tls;
use super::untaken::Untaken;
use super::{Gateway, HEAD_BYTES_MAX};
use crate::cluster::Link;

/// The next waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 8_192;
/// For a TLS handshake.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// For a request's head, and for the next request on a connection that is kept.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// For a client to take a byte of what it asked for.
const TAKING_PATIENCE: Duration = Duration::from_secs(60);
/// After a failure to accept, which is most likely a want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For requests that run when the gateway is asked to stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// Serves until `stop` becomes true, and then finishes the requests that run.
pub async fn serve<L: Link>(
    gateway: Arc<Gateway<L>>,
    listeners: Vec<TcpListener>,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let server = Server { router: router(gateway, tls.is_some()), tls: tls.map(Arc::new), room, stop };
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(server.clone().accept_all(listener));
    }
    accepting.join_all().await;
    let all = u32::try_from(CONNECTIONS_MAX).expect("a small number");
    if timeout(STOP_PATIENCE, server.room.acquire_many(all)).await.is_err() {
        let left = CONNECTIONS_MAX - server.room.available_permits();
        tracing::warn!(connections = left, "stopping while requests run: they took too long");
    }
}

/// Everything is answered by the gateway: what a path means is S3's business, not a router's.
fn router<L: Link>(gateway: Arc<Gateway<L>>, is_encrypted: bool) -> Router {
    let answer = move |State(gateway): State<Arc<Gateway<L>>>, mut request: Request| {
        if is_encrypted {
            request.extensions_mut().insert(Encrypted);
        }
        answer(gateway, request)
    };
    Router::new().fallback(answer).with_state(gateway)
}

async fn answer<L: Link>(gateway: Arc<Gateway<L>>, request: Request) -> Response {
    let is_alone = request.version() < Version::HTTP_2;
    let answer = gateway.serve(request).await;
    // An answer that has a connection to itself is given up with it.
    if is_alone || answer.body().is_end_stream() {
        return answer;
    }
    answer.map(|body| Body::new(Untaken::new(body, TAKING_PATIENCE)))
}

#[derive(Clone)]
struct Server {
    router: Router,
    tls: Option<Arc<Tls>>,
    room: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Server {
    async fn accept_all(self, listener: TcpListener) {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, _, place)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.serve_stream(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place first: a connection that nobody serves would only wait elsewhere.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.room).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, from) = listener.accept().await?;
        Ok((stream, from, place))
    }

    async fn serve_stream(self, stream: TcpStream) {
        // An answer in two packets must not wait for the acknowledgement of the first.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection that cannot be set up");
            return;
        }
        let stream = Patient::new(stream, TAKING_PATIENCE);
        match &self.tls {
            None => self.serve_connection(stream).await,
            Some(tls) => match timeout(HELLO_PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.serve_connection(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                Err(_) => tracing::debug!("no TLS in time"),
            },
        }
    }

    async fn serve_connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_BYTES_MAX)
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HEAD_PATIENCE)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).expect("some kilobytes"))
            .max_concurrent_streams(STREAMS_MAX);
        let service = TowerToHyperService::new(self.router.clone());
        let stream = Greeting::new(stream, HEAD_PATIENCE);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut stop = self.stop.clone();
        let asked = async move { drop(stop.wait_for(|stop| *stop).await) };
        if let Err(error) = until_asked(connection, asked).await {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs a connection to its end, which comes after the running request once `asked` is over.
async fn until_asked<C: Gracious>(connection: C, asked: impl Future<Output = ()>) -> Outcome {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = asked => connection.as_mut().finish(),
    }
    connection.await
}

/// A connection that can be asked to end after the running request.
trait Gracious: Future<Output = Outcome> {
    fn finish(self: Pin<&mut Self>);
}

impl<S, I> Gracious for auto::Connection<'_, I, S, TokioExecutor>
where
    Self: Future<Output = Outcome>,
    S: hyper::service::Service<hyper::Request<hyper::body::Incoming>, Response = Response>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    TokioExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, Body>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
