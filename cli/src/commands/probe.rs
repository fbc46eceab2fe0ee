//! `viewstone probe`: whether an address answers that it is ready, for service managers, containers and
//! scripts.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time;

use super::{Failure, print};

/// Health checks are made every few seconds: an answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is ready says so in a word.
const ANSWER_SIZE_MAX: usize = 4 << 10;

pub(super) fn command() -> Command {
    Command::new("probe")
        .about("Ask an address whether it is ready. Exit status: 0 ready, 1 not")
        .arg(Arg::new("url").value_name("URL").required(true).value_parser(target).help(
            "http://127.0.0.1:9100/readyz for a replica or a node, http://127.0.0.1:9101/readyz or \
                     http://127.0.0.1:9000/-/ready for a gateway",
        ))
        .after_help("Speaks plain HTTP only: what serves S3 over TLS is asked at its admin address.")
}

/// Whom to ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

fn target(text: &str) -> Result<Target, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("probes speak plain HTTP: ask the admin address".to_owned()),
        _ => return Err(format!("{text:?} is not a URL such as http://127.0.0.1:9100/readyz")),
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("the URL names no host")?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Target { host: host.to_owned(), port: uri.port_u16().unwrap_or(80), path: path.to_owned() })
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let target = matches.get_one::<Target>("url").expect("it is required");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let answer = runtime.block_on(async { time::timeout(PATIENCE, ask(target)).await });
    // A name that is still being looked up must not keep it.
    runtime.shutdown_background();
    let wrong = |what: &dyn fmt::Display| Failure::new(format!("{target}: {what}"));
    let (status, text) = match answer {
        Ok(answer) => answer.map_err(|error| wrong(&error))?,
        Err(_) => return Err(wrong(&format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    if status != StatusCode::OK {
        return Err(wrong(&format!("{status}: {}", text.trim())));
    }
    print(&format!("{}\n", text.trim()))?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(target: &Target) -> Result<(StatusCode, String), String> {
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, target.port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(&target.path)
        .header(HOST, format!("{}:{}", target.host, target.port))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_SIZE_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_plain_url_of_a_host() {
        let said = |text: &str| target(text).map(|target| target.to_string());
        assert_eq!(said("http://127.0.0.1:9100/readyz").unwrap(), "http://127.0.0.1:9100/readyz");
        assert_eq!(said("http://[::1]:9100/readyz").unwrap(), "http://[::1]:9100/readyz");
        assert_eq!(said("http://gateway-1").unwrap(), "http://gateway-1:80/");
        for wrong in ["", "readyz", "127.0.0.1:9100", "https://127.0.0.1:9100/readyz", "ftp://a/b", "http://"]
        {
            assert!(said(wrong).is_err(), "{wrong:?}");
        }
    }
}
