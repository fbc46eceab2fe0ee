//! Four questions over HTTP, for monitoring: does it live, is it of use, how much of everything, and
//! how is it. Reads only, and only from whoever reaches the address.

mod exposition;
mod gateway;
mod metrics;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time;

pub(crate) use self::gateway::{GatewaySite, NodeSite};
use crate::commands::{Failure, cannot_listen};
use crate::process::Shared;
use crate::status::Health;

/// Nobody needs more at once. The next waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// A request that takes longer to arrive is none.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// Monitoring comes again. Without an end, silent connections would use up all there are.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// After a failure to accept, which is most likely a want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is asked about.
pub(crate) trait Site: Send + Sync + 'static {
    /// Or why it is of no use.
    fn readiness(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;

    /// In the format of Prometheus.
    fn metrics(&self) -> String;

    /// As JSON. None if it has no status beyond its readiness.
    fn status(&self) -> Option<String>;
}

impl Site for Shared {
    fn readiness(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        let status = Shared::status(self);
        let behind = status.core.as_ref().is_some_and(|core| !core.caught_up);
        let health = match status.health {
            Health::Normal if behind => "catching up",
            health => health.words(),
        };
        Box::pin(std::future::ready(if status.ready { Ok(()) } else { Err(health.to_owned()) }))
    }

    fn metrics(&self) -> String {
        metrics::render(&metrics::Figures::of(self))
    }

    fn status(&self) -> Option<String> {
        let status = serde_json::to_string_pretty(&Shared::status(self));
        Some(status.expect("numbers and texts have a JSON form"))
    }
}

pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| cannot_listen(address, "health and metrics", &error, "--admin"))
}

pub(crate) async fn serve(listener: TcpListener, site: Arc<impl Site>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    // Whoever is cut off, or breaks off, asks again.
                    let _ = time::timeout(CONNECTION_MAX, serve_connection(stream, site)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin: no connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, site: Arc<impl Site>) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &*site).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn answer(method: &Method, path: &str, site: &impl Site) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match path {
        // What cannot go on ends its process: whoever answers lives.
        "/healthz" => respond(StatusCode::OK, TEXT, "alive\n".to_owned()),
        "/readyz" => match site.readiness().await {
            Ok(()) => respond(StatusCode::OK, TEXT, "ready\n".to_owned()),
            Err(why) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n")),
        },
        "/metrics" => respond(StatusCode::OK, PROMETHEUS, site.metrics()),
        "/status" => match site.status() {
            Some(status) => respond(StatusCode::OK, JSON, status + "\n"),
            None => respond(StatusCode::NOT_FOUND, TEXT, "a gateway has no state of its own\n".to_owned()),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "/healthz /readyz /metrics /status\n".to_owned()),
    }
}

fn respond(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
