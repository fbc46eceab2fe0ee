//! Requests as they come, and what the authenticator says of them.

mod properties;
mod refusals;
mod vectors;
mod version_2;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use protocol::catalog::AccessKey;
use transport::ClusterKey;

use super::{Authenticator, BodyAuth, Caller, KeySource, RootKey, SignedRequest, Signer, ToSign};
use crate::cluster::ClusterError;
use crate::s3::S3Result;

/// The key of AWS's examples.
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const HOST: &str = "examplebucket.s3.amazonaws.com";

/// 2013-05-24T00:00:00Z, when AWS's examples were signed.
fn example_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_369_353_600)
}

/// A cluster that knows no access keys.
struct NoKeys;

impl KeySource for NoKeys {
    async fn access_key(&self, _id: &str) -> Result<Option<AccessKey>, ClusterError> {
        Ok(None)
    }
}

fn authenticator() -> Authenticator<NoKeys> {
    let root = RootKey { access_key: ACCESS_KEY.into(), secret: SECRET.into() };
    Authenticator::new(&ClusterKey::new([1; 32]), Some(root), NoKeys)
}

fn signer() -> Signer {
    Signer { access_key: ACCESS_KEY.into(), secret: SECRET.into(), region: "us-east-1".into() }
}

/// A request that can be changed after it was signed.
#[derive(Clone, Debug)]
struct Request {
    method: Method,
    host: String,
    path: String,
    query: String,
    headers: HeaderMap,
}

impl Request {
    fn new(method: Method, path: &str, query: &str) -> Request {
        let headers = HeaderMap::new();
        Request { method, host: HOST.into(), path: path.into(), query: query.into(), headers }
    }

    fn get(path: &str, query: &str) -> Request {
        Request::new(Method::GET, path, query)
    }

    fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Request {
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a value of a header");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    fn without(mut self, name: &'static str) -> Request {
        self.headers.remove(name);
        self
    }

    /// With the `Authorization` header as AWS's examples have it.
    fn authorized(self, signed_headers: &str, signature: &str) -> Request {
        let credential = format!("{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request");
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={signed_headers},Signature={signature}"
        );
        self.with("authorization", value)
    }

    fn signed(mut self, payload: &str) -> Request {
        let mut headers = self.headers.clone();
        signer().sign(self.to_sign(), &mut headers, payload, example_time()).expect("it can be signed");
        self.headers = headers;
        self
    }

    fn presigned(mut self, expires_seconds: u32) -> Request {
        let presigned = signer().presign(self.to_sign(), &self.headers, expires_seconds, example_time());
        self.query = presigned.expect("it can be signed");
        self
    }

    fn to_sign(&self) -> ToSign<'_> {
        let Request { method, host, path, query, .. } = self;
        ToSign { method, host, raw_path: path, raw_query: query }
    }

    fn authenticate_at(&self, now: SystemTime) -> S3Result<(Caller, BodyAuth)> {
        let Request { method, host, path, query, headers } = self;
        let request = SignedRequest {
            method,
            host,
            raw_path: path,
            raw_query: query,
            headers,
            host_bucket: self.host.strip_suffix(".s3.amazonaws.com"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(authenticator().authenticate(&request, now))
    }

    fn authenticate(&self) -> S3Result<(Caller, BodyAuth)> {
        self.authenticate_at(example_time())
    }
}
