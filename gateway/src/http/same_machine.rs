//! Who may ask a gateway whose keys everybody knows, as those of `viewstone dev` are. It listens on this machine
//! only, but so does every browser here: a page from anywhere can make it send a request that the page has
//! signed with these keys, and one whose own name is made to lead to this machine can read the answers.
//!
//! Browsers say which page a request is from (`Origin`), and which name they have looked up (`Host`).

use std::net::IpAddr;

use http::header::ORIGIN;

use super::request::{Head, name_of_host};
use crate::s3::{ErrorCode, S3Error, S3Result};

/// `domains`: those of which a subdomain is a bucket.
pub(super) fn check(head: &Head, domains: &[String]) -> S3Result<()> {
    let host = name_of_host(&head.host);
    if !is_this_machine(host) && !domains.iter().any(|domain| is_within(host, domain)) {
        return Err(refused("asked for by the name of another machine"));
    }
    for origin in head.headers.get_all(ORIGIN) {
        let origin = std::str::from_utf8(origin.as_bytes()).unwrap_or_default();
        let host = origin.split_once("://").map_or("", |(_, host)| name_of_host(host));
        if !is_this_machine(host) {
            return Err(refused("asked for by a web page from elsewhere"));
        }
    }
    Ok(())
}

fn refused(why: &str) -> S3Error {
    S3Error::with(
        ErrorCode::AccessDenied,
        format!(
            "This server was started with keys that everybody knows, so it serves this machine only, and is {why}. \
             Start it with keys of your own: set VIEWSTONE_ACCESS_KEY and VIEWSTONE_SECRET_KEY."
        ),
    )
}

fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        // Resolves to this machine, also its subdomains.
        Err(_) => is_within(host.strip_suffix('.').unwrap_or(host), "localhost"),
    }
}

fn is_within(host: &str, domain: &str) -> bool {
    let Some(at) = host.len().checked_sub(domain.len()) else { return false };
    let Some((before, end)) = host.split_at_checked(at) else { return false };
    end.eq_ignore_ascii_case(domain) && (before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(host: &str, origin: Option<&str>) -> Option<ErrorCode> {
        let mut request = http::Request::builder().uri("/b/k").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let head = Head::parse(&request.body(()).unwrap().into_parts().0, &[]).unwrap();
        check(&head, &["s3.example.com".into()]).map_err(|error| error.code).err()
    }

    /// The keys of `viewstone dev` are in the README. Any page that was open in a browser beside it could
    /// write to it, and, by a name that leads to this machine, read from it.
    #[test]
    fn with_keys_that_everybody_knows_only_this_machine_is_served() {
        let local =
            ["localhost", "LOCALHOST:9000", "b.localhost:9000", "127.0.0.1:9000", "127.1.2.3", "[::1]:9000"];
        let foreign =
            ["evil.example", "evil.example:9000", "evillocalhost", "10.0.0.1", "[::2]:9000", "[::1", ""];
        let denied = Some(ErrorCode::AccessDenied);
        for host in local.into_iter().chain(["s3.example.com", "b.s3.example.com:9000"]) {
            assert_eq!(check_of(host, None), None, "{host}");
        }
        for host in foreign.into_iter().chain(["127.0.0.1.evil.example", "xs3.example.com"]) {
            assert_eq!(check_of(host, None), denied, "{host}");
        }
        for host in local {
            assert_eq!(check_of("localhost", Some(&format!("http://{host}"))), None, "{host}");
        }
        for host in foreign {
            assert_eq!(check_of("localhost", Some(&format!("https://{host}"))), denied, "{host}");
        }
        // A page without an origin of its own, as in a frame that was shut in.
        assert_eq!(check_of("localhost", Some("null")), denied);
    }
}
