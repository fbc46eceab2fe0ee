//! HTTP/1.1 written by hand: what no library sends, and answers as they come.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use jiff::Timestamp;

use crate::checksums::sha256_hex;
use crate::server::{Server, server};
use crate::sign::{self, Parts, Signer};

const PATIENCE: Duration = Duration::from_secs(30);

/// The keys of the server under test, now.
pub fn signer() -> Signer {
    signer_for(server())
}

fn signer_for(server: &Server) -> Signer {
    Signer {
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
        at: Timestamp::now(),
    }
}

/// A request under construction. Nothing is checked or completed but what `signed` and `send` say.
#[derive(Clone, Debug)]
pub struct Request {
    server: Server,
    pub method: String,
    /// Decoded.
    pub path: Vec<u8>,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// What stands on the request line instead of path and query.
    target: Option<String>,
    keeps_length: bool,
}

impl Request {
    pub fn new(method: &str, path: impl AsRef<[u8]>) -> Request {
        Request::to(server(), method, path)
    }

    /// For another server than the one under test.
    pub fn to(server: &Server, method: &str, path: impl AsRef<[u8]>) -> Request {
        Request {
            server: server.clone(),
            method: method.to_owned(),
            path: path.as_ref().to_vec(),
            query: Vec::new(),
            headers: vec![("host".to_owned(), server.address.clone().into_bytes())],
            body: Vec::new(),
            target: None,
            keeps_length: false,
        }
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Request {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Instead of what was said before.
    #[must_use]
    pub fn replace(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.retain(|(present, _)| present != name);
        self.header(name, value)
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(present, _)| present != name);
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Spelled so on the request line, whatever was signed.
    #[must_use]
    pub fn spelled(mut self, target: impl Into<String>) -> Request {
        self.target = Some(target.into());
        self
    }

    /// No `Content-Length` is added.
    #[must_use]
    pub fn without_length(mut self) -> Request {
        self.keeps_length = true;
        self
    }

    /// By header, all headers so far, and the digest of the body.
    #[must_use]
    pub fn signed(self) -> Request {
        let digest = sha256_hex(&self.body);
        self.signed_as(&digest)
    }

    /// By header, with this as `x-amz-content-sha256`.
    #[must_use]
    pub fn signed_as(self, payload: &str) -> Request {
        let signer = signer_for(&self.server);
        self.signed_by(&signer, payload)
    }

    #[must_use]
    pub fn signed_by(self, signer: &Signer, payload: &str) -> Request {
        let request = self.header("x-amz-content-sha256", payload).header("x-amz-date", signer.date());
        let authorization = signer.authorization(&request.parts(payload));
        request.header("authorization", authorization)
    }

    #[must_use]
    pub fn presigned(self, seconds: &str) -> Request {
        let signer = signer_for(&self.server);
        self.presigned_by(&signer, seconds)
    }

    /// By query: all headers so far are signed, the body is not.
    #[must_use]
    pub fn presigned_by(mut self, signer: &Signer, seconds: &str) -> Request {
        self.query.extend(signer.presigned_query(seconds, &self.headers));
        let signature = signer.signature(&self.parts(sign::UNSIGNED));
        self.query("X-Amz-Signature", signature)
    }

    /// As one chunk of `aws-chunked` for each piece, all signed.
    #[must_use]
    pub fn chunked(self, pieces: &[&[u8]]) -> Request {
        let (request, seed) = self.chunked_seed(pieces, sign::STREAMING);
        request.0.body(signed_chunks(&request.1, &seed, pieces).0)
    }

    /// As signed chunks and a signed trailer of these lines.
    #[must_use]
    pub fn chunked_with_trailer(self, pieces: &[&[u8]], trailer: &[(&str, &str)]) -> Request {
        let names: Vec<&str> = trailer.iter().map(|(name, _)| *name).collect();
        let request = self.header("x-amz-trailer", names.join(","));
        let (request, seed) = request.chunked_seed(pieces, sign::STREAMING_TRAILER);
        let (mut body, last) = signed_chunks(&request.1, &seed, pieces);
        // The trailer stands where the empty line after the last chunk would.
        body.truncate(body.len() - 2);
        let mut signed = Vec::new();
        for (name, value) in trailer {
            body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
            signed.extend_from_slice(format!("{name}:{value}\n").as_bytes());
        }
        let signature = request.1.trailer_signature(&last, &signed);
        body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n\r\n").as_bytes());
        request.0.body(body)
    }

    /// As chunks without signatures, and a trailer of these lines.
    #[must_use]
    pub fn unsigned_chunks_with_trailer(self, pieces: &[&[u8]], trailer: &[(&str, &str)]) -> Request {
        let names: Vec<&str> = trailer.iter().map(|(name, _)| *name).collect();
        let request = self.header("x-amz-trailer", names.join(","));
        let ((request, _), _) = request.chunked_seed(pieces, sign::STREAMING_UNSIGNED_TRAILER);
        let mut body = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n");
        for (name, value) in trailer {
            body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        request.body(body)
    }

    fn chunked_seed(self, pieces: &[&[u8]], payload: &str) -> ((Request, Signer), String) {
        let signer = signer_for(&self.server);
        let decoded: usize = pieces.iter().map(|piece| piece.len()).sum();
        let request = self
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", decoded.to_string())
            .signed_by(&signer, payload);
        let authorization = request.header_text("authorization").expect("it was signed");
        let seed = authorization.rsplit('=').next().expect("it has a signature").to_owned();
        ((request, signer), seed)
    }

    fn parts<'a>(&'a self, payload: &'a str) -> Parts<'a> {
        Parts { method: &self.method, path: &self.path, query: &self.query, headers: &self.headers, payload }
    }

    fn header_text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(present, _)| present == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Path and query as they stand on the request line.
    pub fn target(&self) -> String {
        if let Some(target) = &self.target {
            return target.clone();
        }
        let path = sign::encode_path(&self.path);
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| match value.is_empty() {
                true => sign::encode_query(name),
                false => format!("{}={}", sign::encode_query(name), sign::encode_query(value)),
            })
            .collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// The request line and the headers, with the length of the body unless that was forbidden.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target()).into_bytes();
        let has = |name: &str| self.headers.iter().any(|(present, _)| present == name);
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        let may_have_body = !self.body.is_empty() || self.method == "PUT" || self.method == "POST";
        if may_have_body && !self.keeps_length && !has("content-length") && !has("transfer-encoding") {
            head.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    pub fn send(&self) -> Answer {
        let mut wire = Wire::connect_to(&self.server);
        wire.write(&self.head());
        // A server that has seen enough need not read the rest.
        wire.offer(&self.body);
        wire.read(self.method == "HEAD").expect("an answer")
    }
}

fn signed_chunks(signer: &Signer, seed: &str, pieces: &[&[u8]]) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    let mut previous = seed.to_owned();
    for piece in pieces.iter().copied().filter(|piece| !piece.is_empty()).chain([&b""[..]]) {
        previous = signer.chunk_signature(&previous, piece);
        body.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", piece.len()).as_bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    (body, previous)
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    /// Read and not yet looked at.
    buffer: Vec<u8>,
}

impl Wire {
    pub fn connect() -> Wire {
        Wire::connect_to(server())
    }

    pub fn connect_to(server: &Server) -> Wire {
        let stream = TcpStream::connect(&server.address).expect("the server accepts connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        stream.set_nodelay(true).expect("an open socket");
        Wire { stream, buffer: Vec::new() }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends what the server takes of it. It may have seen enough, and closed the connection.
    pub fn offer(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Nothing more will be written.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Whether nothing arrives for a while.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout that is not zero");
        let mut byte = [0];
        let silent = matches!(self.stream.read(&mut byte), Err(error) if matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ));
        if !silent {
            self.buffer.push(byte[0]);
        }
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        silent
    }

    /// The next answer. None: the connection ended before it began.
    pub fn read(&mut self, to_head: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "half an answer: {:?}", self.buffer);
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {head}"));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let has_body = !to_head && !matches!(status, 100..200 | 204 | 304);
        if has_body {
            answer.body = self.read_body(&answer);
        }
        Some(answer)
    }

    fn read_body(&mut self, answer: &Answer) -> Vec<u8> {
        if answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            let mut body = Vec::new();
            loop {
                let line = self.take_line();
                let size = usize::from_str_radix(line.split(';').next().unwrap_or(&line).trim(), 16);
                let size = size.unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
                body.extend(self.take(size));
                if size == 0 {
                    while !self.take_line().is_empty() {}
                    return body;
                }
                self.take_line();
            }
        }
        match answer.header("content-length") {
            Some(length) => self.take(length.parse().expect("a length")),
            None => {
                while self.fill() {}
                std::mem::take(&mut self.buffer)
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "the answer ends after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    fn take_line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return line;
            }
            assert!(self.fill(), "the answer ends within a line");
        }
    }

    /// False: there is no more.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands in the first element of this name, as it stands there.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close, empty) = (format!("<{name}>"), format!("</{name}>"), format!("<{name}/>"));
        let text = self.text();
        let mut rest = text.as_str();
        let mut found = Vec::new();
        loop {
            match (rest.find(&open), rest.find(&empty)) {
                (at, Some(none)) if at.is_none_or(|at| none < at) => {
                    found.push(String::new());
                    rest = &rest[none + empty.len()..];
                }
                (Some(at), _) => {
                    let Some(length) = rest[at + open.len()..].find(&close) else { return found };
                    found.push(rest[at + open.len()..][..length].to_owned());
                    rest = &rest[at + open.len() + length..];
                }
                (None, _) => return found,
            }
        }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// It is this error, and says so in a document as S3 has it.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Answer {
        let said = (self.status, self.element("Code").unwrap_or_default());
        assert_eq!(said, (status, code.to_owned()), "{:?}\n{}", self.headers, self.text());
        self
    }
}
