//! From a request to its answer: parse, authenticate, authorise, perform; and whatever happens, an answer
//! with the request's id, and a line in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method};

use super::request::Head;
use super::response::{self, Response};
use super::route::route;
use crate::auth::Caller;
use crate::cluster::{Cluster, Link};
use crate::s3::{self, S3Result};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");

/// What a gateway is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it calls its region. Requests signed for any other are served as well.
    pub region: String,
    /// Hosts of which a subdomain is a bucket.
    pub domains: Vec<String>,
}

/// All that the handlers of one gateway share.
pub struct Gateway<L> {
    pub cluster: Cluster<L>,
    pub options: Options,
    ids: RequestIds,
}

/// One request on its way: what a handler is given.
pub struct Call<'a, L> {
    pub gateway: &'a Gateway<L>,
    pub head: &'a Head,
    pub caller: &'a Caller,
}

impl<L: Link> Gateway<L> {
    pub fn new(cluster: Cluster<L>, options: Options, seed: u64) -> Arc<Gateway<L>> {
        Arc::new(Gateway { cluster, options, ids: RequestIds { seed, next: AtomicU64::new(0) } })
    }

    /// Answers a request. Never fails: what goes wrong is an answer, too.
    pub async fn serve(self: Arc<Self>, request: http::Request<Body>) -> Response {
        let id = self.ids.next();
        let (parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let resource = parts.uri.path().to_owned();
        let outcome = match Head::parse(&parts, &self.options.domains) {
            Ok(head) => self.perform(&head, body).await,
            Err(error) => Err(error),
        };
        let mut response = outcome.unwrap_or_else(|error| {
            tracing::debug!(id, %error, resource, "refused");
            response::error(&error, &resource, &id, !is_head)
        });
        let id = HeaderValue::from_str(&id).expect("hexadecimal digits");
        response.headers_mut().insert(ID_2, id.clone());
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn perform(&self, head: &Head, _body: Body) -> S3Result<Response> {
        let operation = route(head)?;
        let caller = Caller {
            access_key: String::new(),
            owner: "root".into(),
            display_name: "root".into(),
            grants: crate::auth::Grants::default(),
        };
        let call = Call { gateway: self, head, caller: &caller };
        s3::perform(&call, operation).await
    }
}

/// Ids that no two requests share, and that do not tell how many there were.
struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor is a bijection: different numbers have different products.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.seed;
        format!("{mixed:016X}")
    }
}
