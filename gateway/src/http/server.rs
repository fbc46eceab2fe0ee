//! Connections: from listening to the last answer. Everything that a client can make us hold has an end:
//! the number of connections, the time to begin to speak, to send a request's head, to ask for nothing, to take
//! an answer's bytes.

use std::convert::Infallible;
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
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::Service;

use super::activity::Activity;
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

/// No more than half of the files that the process may have open: whoever connects must not keep a
/// replica beside this gateway from opening its own, which would end it.
fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX)
}

/// For a TLS handshake.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// For a request's head, and for the next request on a connection that is kept.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// For a client of HTTP/2 that has been told to ask for nothing more, and asks for nothing, to hang up.
const ENDING_PATIENCE: Duration = Duration::from_secs(10);
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
    let connections_max = connections_max();
    let room = Arc::new(Semaphore::new(connections_max));
    let server = Server { router: router(gateway, tls.is_some()), tls: tls.map(Arc::new), room, stop };
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(server.clone().accept_all(listener));
    }
    accepting.join_all().await;
    let all = u32::try_from(connections_max).expect("a small number");
    if timeout(STOP_PATIENCE, server.room.acquire_many(all)).await.is_err() {
        let left = connections_max - server.room.available_permits();
        tracing::warn!(connections = left, "stopping while requests run: they took too long");
    }
}

/// Everything is answered by the gateway: what a path means is S3's business, not a router's.
fn router<L: Link>(gateway: Arc<Gateway<L>>, is_encrypted: bool) -> Router {
    let answer = move |State(gateway): State<Arc<Gateway<L>>>, mut request: Request| {
        if is_encrypted {
            request.extensions_mut().insert(Encrypted);
        }
        async move { gateway.serve(request).await }
    };
    Router::new().fallback(answer).with_state(gateway)
}

/// Answers one of the requests of a connection.
async fn answer(
    mut router: Router,
    activity: Arc<Activity>,
    request: http::Request<Incoming>,
) -> Result<Response, Infallible> {
    // An answer that has a connection to itself is given up with it.
    if request.version() < Version::HTTP_2 {
        activity.has_clock();
        return router.call(request).await;
    }
    let running = activity.begin();
    let answer = router.call(request).await?;
    if answer.body().is_end_stream() {
        return Ok(answer);
    }
    Ok(answer.map(|body| Body::new(Untaken::new(body, TAKING_PATIENCE, running))))
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
        let activity = Activity::new();
        let service = {
            let (router, activity) = (self.router.clone(), Arc::clone(&activity));
            service_fn(move |request| answer(router.clone(), Arc::clone(&activity), request))
        };
        let stream = Greeting::new(stream, HEAD_PATIENCE);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut stop = self.stop.clone();
        let asked = async move { drop(stop.wait_for(|stop| *stop).await) };
        if let Err(error) = run(connection, asked, &activity).await {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs a connection to its end, which comes after the running requests once `asked` is over, or when there
/// have been none for a while.
async fn run<C: Gracious>(connection: C, asked: impl Future<Output = ()>, activity: &Activity) -> Outcome {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = asked => {}
        () = activity.idle(HEAD_PATIENCE) => {}
    }
    connection.as_mut().finish();
    tokio::select! {
        outcome = connection => outcome,
        () = activity.idle(ENDING_PATIENCE) => Err("the other end has nothing to ask and does not hang up".into()),
    }
}

/// A connection that can be asked to end after the running request.
trait Gracious: Future<Output = Outcome> {
    fn finish(self: Pin<&mut Self>);
}

impl<S, I> Gracious for auto::Connection<'_, I, S, TokioExecutor>
where
    Self: Future<Output = Outcome>,
    S: hyper::service::Service<hyper::Request<Incoming>, Response = Response>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    TokioExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, Body>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const ACK: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 1 | 4;

    /// `GET / http` of the static table, and a name for the host.
    const GET: &[u8] = b"\x82\x84\x86\x41\x01h";

    async fn send(
        client: &mut DuplexStream,
        kind: u8,
        flags: u8,
        stream: u8,
        payload: &[u8],
    ) -> io::Result<()> {
        let length = u8::try_from(payload.len()).unwrap();
        client.write_all(&[0, 0, length, kind, flags, 0, 0, 0, stream]).await?;
        client.write_all(payload).await
    }

    /// A client that does all that HTTP/2 wants of it, until it is told that nothing more is answered. Then
    /// only if it is `polite`. Ends with the connection.
    async fn be_idle(mut client: DuplexStream, polite: bool) {
        let mut is_over = false;
        loop {
            let mut head = [0; 9];
            if client.read_exact(&mut head).await.is_err() {
                return;
            }
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            if client.read_exact(&mut payload).await.is_err() {
                return;
            }
            is_over |= head[3] == GOAWAY;
            if head[4] & ACK != 0 || (is_over && !polite) {
                continue;
            }
            let answered = match head[3] {
                SETTINGS => send(&mut client, SETTINGS, ACK, 0, &[]).await,
                PING => send(&mut client, PING, ACK, 0, &payload).await,
                _ => Ok(()),
            };
            if answered.is_err() {
                return;
            }
        }
    }

    /// And what would stop it.
    fn server(router: Router) -> (Server, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        (Server { router, tls: None, room: Arc::new(Semaphore::new(1)), stop: stopped }, stop)
    }

    /// Eight thousand of them, from anybody, kept everybody else out for as long as they liked.
    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http_2_on_which_nothing_is_asked_ends() {
        for polite in [true, false] {
            let (near, mut far) = tokio::io::duplex(64 << 10);
            let began = Instant::now();
            far.write_all(PREFACE).await.unwrap();
            send(&mut far, SETTINGS, 0, 0, &[]).await.unwrap();
            let client = tokio::spawn(be_idle(far, polite));
            let (server, _stop) = server(Router::new());
            let served = timeout(HEAD_PATIENCE * 10, server.serve_connection(near)).await;
            assert!(served.is_ok(), "it never ended");
            let took = began.elapsed();
            assert!((HEAD_PATIENCE..HEAD_PATIENCE * 2 + ENDING_PATIENCE).contains(&took), "{took:?}");
            client.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_long_keeps_its_connection() {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let began = Instant::now();
        far.write_all(PREFACE).await.unwrap();
        send(&mut far, SETTINGS, 0, 0, &[]).await.unwrap();
        send(&mut far, HEADERS, END_STREAM_AND_HEADERS, 1, GET).await.unwrap();
        let client = tokio::spawn(be_idle(far, true));
        let slowly = || sleep(HEAD_PATIENCE * 5);
        let (server, _stop) = server(Router::new().fallback(slowly));
        timeout(HEAD_PATIENCE * 20, server.serve_connection(near)).await.expect("it ends afterwards");
        assert!(began.elapsed() >= HEAD_PATIENCE * 6, "{:?}", began.elapsed());
        client.await.unwrap();
    }
}
