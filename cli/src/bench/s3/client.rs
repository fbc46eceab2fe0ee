//! One connection to an S3 endpoint, and signed requests on it, one after another: as an SDK does it with
//! each connection of its pool.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gateway::auth::{Signer, ToSign};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::Tls;
use crate::commands::Failure;

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// So often is a request sent again that the server could not serve, as an SDK does.
const RETRIES: u32 = 5;

/// Much more than any error document.
const ERROR_BYTES: usize = 1 << 10;

/// Who is asked, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// With the port, as in the `Host` header.
    host: String,
    address: String,
    tls: Option<Tls>,
    signer: Signer,
    signs_payload: bool,
}

impl Endpoint {
    /// `url`: `http://host[:port]` or `https://host[:port]`. `roots`: a file with whom to trust then.
    pub(crate) fn parse(
        url: &str,
        roots: Option<&Path>,
        signer: Signer,
        signs_payload: bool,
    ) -> Result<Endpoint, Failure> {
        let wrong = || Failure::new(format!("{url}: an endpoint is written http[s]://HOST:PORT"));
        let (scheme, host) = url.split_once("://").ok_or_else(wrong)?;
        let standard_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(wrong()),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.is_empty() || host.contains(['/', '?', '@']) {
            return Err(wrong());
        }
        let split = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let (name, address) = match split {
            Some((name, _)) => (name, host.to_owned()),
            None => (host, format!("{host}:{standard_port}")),
        };
        let tls = if scheme == "https" { Some(Tls::new(name, roots)?) } else { None };
        Ok(Endpoint { host: host.to_owned(), address, tls, signer, signs_payload })
    }
}

/// A body and its digest, which is computed once however often the body is sent.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    sha256: String,
}

impl Body {
    pub(super) fn new(bytes: Bytes) -> Body {
        let sha256 = Signer::payload(&bytes);
        Body { bytes, sha256 }
    }

    pub(super) fn empty() -> Body {
        Body::new(Bytes::new())
    }
}

/// Why a request was not answered as it should have been.
#[derive(Debug)]
pub(super) enum Refused {
    /// Trying again may help.
    ForNow(String),
    ForGood(String),
    /// It is not there.
    Absent(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refused::ForNow(why) | Refused::ForGood(why) | Refused::Absent(why)) = self;
        f.write_str(why)
    }
}

fn broken(error: impl fmt::Display) -> Refused {
    Refused::ForNow(format!("the connection broke: {error}"))
}

pub(super) struct Client {
    endpoint: Endpoint,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// Requests that were sent again.
    pub(super) retries: usize,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Client {
        Client { endpoint, connection: None, retries: 0 }
    }

    /// Whether there is a bucket of this name. Not with HEAD, whose refusals do not say why.
    pub(super) async fn is_there(&mut self, bucket: &str) -> Result<bool, Failure> {
        let question =
            Question { method: Method::GET, path: bucket, query: "location=", body: &Body::empty() };
        match self.persist(&question, &mut |_, _| true).await {
            Ok(_) => Ok(true),
            Err(Refused::Absent(_)) => Ok(false),
            Err(why) => Err(question.failed(&why)),
        }
    }

    /// Sends a request until it is answered well, and gives the body of the answer to `take`, piece by piece.
    /// `take` says no to a piece that is wrong.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        query: &str,
        body: &Body,
        mut take: impl FnMut(usize, &[u8]) -> bool,
    ) -> Result<usize, Failure> {
        let question = Question { method, path, query, body };
        self.persist(&question, &mut take).await.map_err(|why| question.failed(&why))
    }

    async fn persist(
        &mut self,
        question: &Question<'_>,
        take: &mut impl FnMut(usize, &[u8]) -> bool,
    ) -> Result<usize, Refused> {
        let mut attempt = 0;
        loop {
            match self.try_once(question, take).await {
                Err(Refused::ForNow(_)) if attempt < RETRIES => {
                    self.connection = None;
                    self.retries += 1;
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                    attempt += 1;
                }
                answered => return answered,
            }
        }
    }

    async fn try_once(
        &mut self,
        question: &Question<'_>,
        take: &mut impl FnMut(usize, &[u8]) -> bool,
    ) -> Result<usize, Refused> {
        let request = self.request(question)?;
        let sender = self.connection().await?;
        let answered = timeout(PATIENCE, sender.send_request(request)).await;
        let response = answered.map_err(|_| broken("no answer in time"))?.map_err(broken)?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let mut answer = response.into_body();
        let mut length = 0;
        while let Some(frame) = timeout(PATIENCE, answer.frame()).await.map_err(broken)? {
            let Ok(bytes) = frame.map_err(broken)?.into_data() else { continue };
            if !take(length, &bytes) {
                return Err(Refused::ForGood(format!("the answer is wrong after {length} bytes")));
            }
            length += bytes.len();
        }
        Ok(length)
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Refused> {
        let mut alive = self.connection.take();
        if let Some(sender) = &mut alive
            && sender.ready().await.is_err()
        {
            alive = None;
        }
        let sender = match alive {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(sender))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Refused> {
        let stream = TcpStream::connect(&self.endpoint.address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        match &self.endpoint.tls {
            None => begin(stream).await,
            Some(tls) => begin(tls.connect(stream).await.map_err(broken)?).await,
        }
    }

    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>, Refused> {
        let Question { method, path, query, body } = question;
        let Endpoint { host, signer, signs_payload, .. } = &self.endpoint;
        let payload = if *signs_payload { body.sha256.as_str() } else { "UNSIGNED-PAYLOAD" };
        let unsound = |error: &dyn fmt::Display| Refused::ForGood(error.to_string());
        let mut headers = HeaderMap::new();
        let what = ToSign { method, host, raw_path: path, raw_query: query };
        signer.sign(what, &mut headers, payload, SystemTime::now()).map_err(|error| unsound(&error))?;
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|error| unsound(&error))?);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.bytes.len()));
        let mut request = Request::new(Full::new(body.bytes.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = question.target().parse().map_err(|error| unsound(&error))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, Refused> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with its sender, and whoever waits for an answer hears of what goes wrong.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// What is asked, as often as it takes.
struct Question<'a> {
    method: Method,
    path: &'a str,
    query: &'a str,
    body: &'a Body,
}

impl Question<'_> {
    fn target(&self) -> String {
        let Question { path, query, .. } = self;
        if query.is_empty() { (*path).to_owned() } else { format!("{path}?{query}") }
    }

    fn failed(&self, why: &Refused) -> Failure {
        Failure::new(format!("{} {}: {why}", self.method, self.target()))
    }
}

/// What the server says of it.
async fn refusal(response: Response<Incoming>) -> Refused {
    let status = response.status();
    let mut document = Vec::new();
    let mut body = response.into_body();
    while let Ok(Some(Ok(frame))) = timeout(PATIENCE, body.frame()).await {
        if let Ok(bytes) = frame.into_data() {
            document.extend_from_slice(&bytes);
        }
        if document.len() > ERROR_BYTES {
            break;
        }
    }
    document.truncate(ERROR_BYTES);
    let why = format!("{status}: {}", String::from_utf8_lossy(&document));
    match status {
        StatusCode::NOT_FOUND => Refused::Absent(why),
        StatusCode::REQUEST_TIMEOUT => Refused::ForNow(why),
        _ if status.is_server_error() => Refused::ForNow(why),
        _ => Refused::ForGood(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of nobody: its key was thrown away.
    const ROOT: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBmDCCAT6gAwIBAgIUcwitTfiF8hIjfX7zzh5w44BkBLQwCgYIKoZIzj0EAwIw\n\
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE1MzQyMFoYDzIxMjYxMDI4\n\
MTUzNDIwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
PQMBBwNCAATiIzKBIJkKAiSbL0iRPkyugp1fyQUN6aLwV8gYo7xphX98ON4bYbdI\n\
Q5oihZrwMC8vQ8cENwaYXrRGZHuTd8veo2wwajAdBgNVHQ4EFgQUNR75BOlgI+pc\n\
BE8qQax1Tm7ef98wHwYDVR0jBBgwFoAUNR75BOlgI+pcBE8qQax1Tm7ef98wGgYD\n\
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E\n\
AwIDSAAwRQIhAPxvrlRJAzOgta61TIZGVsDGOTQtjy8yZIZPYcnk58/pAiBNZd7t\n\
wz6l7hnu05H86BtW0sicCfKJeEknk1HPkvne5w==\n\
-----END CERTIFICATE-----\n\n";

    fn endpoint(url: &str) -> Option<(String, String)> {
        let signer = Signer { access_key: "A".into(), secret: "S".into(), region: "us-east-1".into() };
        Endpoint::parse(url, None, signer, true).ok().map(|endpoint| (endpoint.host, endpoint.address))
    }

    #[test]
    fn an_endpoint_over_tls_needs_somebody_to_trust() {
        let parse = |url: &str, roots: &Path| {
            let signer = Signer { access_key: "A".into(), secret: "S".into(), region: "us-east-1".into() };
            Endpoint::parse(url, Some(roots), signer, true).map(|endpoint| endpoint.address)
        };
        let place = std::env::temp_dir().join(format!("viewstone-roots-{}", std::process::id()));
        assert!(parse("https://localhost", &place).is_err(), "there is no such file");
        std::fs::write(&place, "nobody").unwrap();
        assert!(parse("https://localhost", &place).is_err());
        std::fs::write(&place, ROOT).unwrap();
        assert_eq!(parse("https://localhost", &place).unwrap(), "localhost:443");
        assert_eq!(parse("https://[::1]:9000/", &place).unwrap(), "[::1]:9000");
        assert!(parse("https://a b", &place).is_err());
        std::fs::remove_file(&place).unwrap();
    }

    #[test]
    fn an_endpoint_is_a_host_with_or_without_a_port() {
        let pair = |host: &str, address: &str| Some((host.to_owned(), address.to_owned()));
        assert_eq!(endpoint("http://127.0.0.1:9000"), pair("127.0.0.1:9000", "127.0.0.1:9000"));
        assert_eq!(endpoint("http://localhost/"), pair("localhost", "localhost:80"));
        assert_eq!(endpoint("http://[::1]:9000"), pair("[::1]:9000", "[::1]:9000"));
        for url in ["", "localhost:9000", "ftp://localhost", "http://", "http://a/b", "http://u@a"] {
            assert_eq!(endpoint(url), None, "{url}");
        }
    }
}
