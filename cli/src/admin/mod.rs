//! Four questions over HTTP, for monitoring: does it live, is it of use, how much of everything, and
//! how is it. Reads only, and only from whoever reaches the address.

mod exposition;
mod metrics;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
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

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Whoever is cut off, or breaks off, asks again.
                    let _ = time::timeout(CONNECTION_MAX, serve_connection(stream, shared)).await;
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

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &shared);
        async { Ok::<_, Infallible>(answer) }
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

fn answer(method: &Method, path: &str, shared: &Shared) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match path {
        // A core that ended takes its process along: whoever answers lives.
        "/healthz" => respond(StatusCode::OK, TEXT, "alive\n".to_owned()),
        "/readyz" => readiness(shared),
        "/metrics" => respond(StatusCode::OK, PROMETHEUS, metrics::render(&metrics::Figures::of(shared))),
        "/status" => {
            let status = serde_json::to_string_pretty(&shared.status());
            respond(StatusCode::OK, JSON, status.expect("numbers and texts have a JSON form") + "\n")
        }
        _ => respond(StatusCode::NOT_FOUND, TEXT, "/healthz /readyz /metrics /status\n".to_owned()),
    }
}

fn readiness(shared: &Shared) -> Response<Full<Bytes>> {
    let status = shared.status();
    if status.ready {
        return respond(StatusCode::OK, TEXT, "ready\n".to_owned());
    }
    let behind = status.core.as_ref().is_some_and(|core| !core.caught_up);
    let health = match status.health {
        Health::Normal if behind => "catching up",
        health => health.words(),
    };
    respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {health}\n"))
}

fn respond(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
