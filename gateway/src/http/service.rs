//! From a request to its answer: parse, authenticate, authorise, perform; and whatever happens, an answer
//! with the request's id, and a line in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use axum::body::Body;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use protocol::catalog::Query as CatalogQuery;
use tokio::sync::Semaphore;

use super::answers::AnswerRoom;
use super::authorise::authorise;
use super::leftover::Leftover;
use super::metrics::Metrics;
use super::readiness::Readiness;
use super::request::Head;
use super::response::{self, Response};
use super::route::{Operation, route};
use super::same_machine;
use crate::auth::{Authenticator, Caller, SignedRequest};
use crate::body::{MemoryBudget, Payload};
use crate::cluster::{Cluster, Link};
use crate::s3::{self, ErrorCode, S3Error, S3Result};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");
const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// Requests that are worked on at once. Who comes on top is told to come again.
const REQUESTS_MAX: usize = 1_024;

/// No bucket can be called so. It stands for the gateway itself: `/-/live` and `/-/ready`, which need no
/// signature.
const OWN_BUCKET: &str = "-";

/// What a gateway is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it calls its region. Requests signed for any other are served as well.
    pub region: String,
    /// Hosts of which a subdomain is a bucket.
    pub domains: Vec<String>,
    /// What the bodies of all requests together may take.
    pub memory_bytes: usize,
    /// The keys are no secret: what a web page can make a browser send is refused.
    pub known_keys: bool,
}

/// All that the handlers of one gateway share.
pub struct Gateway<L> {
    pub(crate) cluster: Cluster<L>,
    pub(crate) options: Options,
    pub(crate) memory: MemoryBudget,
    authenticator: Authenticator<Cluster<L>>,
    metrics: Metrics,
    readiness: Readiness,
    room: Semaphore,
    answers: AnswerRoom,
    ids: RequestIds,
}

/// One request on its way: what a handler is given.
pub struct Call<'a, L> {
    pub(crate) gateway: &'a Gateway<L>,
    pub(crate) head: &'a Head,
    pub(crate) caller: &'a Caller,
}

impl<L: Link> Gateway<L> {
    pub fn new(
        cluster: Cluster<L>,
        authenticator: Authenticator<Cluster<L>>,
        options: Options,
        seed: u64,
    ) -> Arc<Gateway<L>> {
        let memory = MemoryBudget::new(options.memory_bytes);
        Arc::new(Gateway {
            cluster,
            options,
            memory,
            authenticator,
            metrics: Metrics::default(),
            readiness: Readiness::default(),
            room: Semaphore::new(REQUESTS_MAX),
            answers: AnswerRoom::new(),
            ids: RequestIds { seed, next: AtomicU64::new(0) },
        })
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers a request. Never fails: what goes wrong is an answer, too.
    pub(super) async fn serve(&self, request: http::Request<Body>) -> Response {
        let began = Instant::now();
        let id = self.ids.next();
        let (parts, body) = request.into_parts();
        let (body, leftover) = Leftover::of(body);
        let _running = self.metrics.begin();
        let mut name = "-";
        let outcome = match self.read_head(&parts) {
            Ok(head) if head.target.bucket.as_deref() == Some(OWN_BUCKET) => {
                Ok(self.answer_health(&head).await)
            }
            Ok(head) => match route(&head) {
                Ok(operation) => {
                    name = operation.name();
                    self.admit(operation, &head, &parts.headers, body).await
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let path = parts.uri.path();
        let mut response = match outcome {
            Ok(response) => response,
            Err(error) => {
                if error.status() == StatusCode::INTERNAL_SERVER_ERROR {
                    tracing::error!(id, operation = name, path, %error, "failed");
                } else {
                    tracing::debug!(id, operation = name, path, %error, "refused");
                }
                let answer = |error: &S3Error, resource: &str| {
                    response::error(error, resource, &id, parts.method != Method::HEAD)
                };
                // A path can be long, and what was signed longer. What remains without them is short.
                let mut refusal = answer(&error, path);
                if !self.answers.try_take(&mut refusal) {
                    refusal = answer(&ErrorCode::SlowDown.into(), "");
                }
                refusal
            }
        };
        let ends = leftover.take(parts.headers.contains_key(EXPECT));
        // HTTP/2 has a stream for each request, and no such header.
        if ends && parts.version <= Version::HTTP_11 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let took = began.elapsed();
        self.metrics.on_answer(name, response.status(), took);
        tracing::debug!(
            id,
            method = %parts.method,
            path,
            operation = name,
            status = response.status().as_u16(),
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        // Clients learn the region so before they know how to sign: also from a refusal.
        if name == Operation::HeadBucket.name()
            && let Ok(region) = HeaderValue::from_str(&self.options.region)
        {
            response.headers_mut().insert(BUCKET_REGION, region);
        }
        let id = HeaderValue::from_str(&id).expect("hexadecimal digits");
        response.headers_mut().insert(ID_2, id.clone());
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    fn read_head(&self, parts: &http::request::Parts) -> S3Result<Head> {
        let head = Head::parse(parts, &self.options.domains)?;
        if self.options.known_keys {
            same_machine::check(&head, &self.options.domains)?;
        }
        Ok(head)
    }

    /// `sent`: the headers as they came, which is how they were signed.
    async fn admit(
        &self,
        operation: Operation,
        head: &Head,
        sent: &HeaderMap,
        body: Body,
    ) -> S3Result<Response> {
        let Ok(_place) = self.room.try_acquire() else {
            self.metrics.on_turned_away();
            return Err(ErrorCode::SlowDown.into());
        };
        let signed = SignedRequest {
            method: &head.method,
            raw_path: &head.raw_path,
            raw_query: &head.raw_query,
            headers: sent,
            host: &head.host,
            host_bucket: head.host_bucket.as_deref(),
        };
        let (caller, body_auth) = self.authenticator.authenticate(&signed, SystemTime::now()).await?;
        authorise(operation, &caller, head)?;
        let payload = match operation {
            Operation::CompleteMultipartUpload => Payload::of_completion(body, body_auth, &head.headers)?,
            _ => Payload::new(body, body_auth, &head.headers)?,
        };
        let answer = s3::perform(&Call { gateway: self, head, caller: &caller }, operation, payload).await?;
        self.answers.take(answer).await
    }

    /// `live`: this process answers. `ready`: the cluster answers it.
    async fn answer_health(&self, head: &Head) -> Response {
        let status = match (&head.method, head.key()) {
            (&Method::GET | &Method::HEAD, "live") => StatusCode::OK,
            (&Method::GET | &Method::HEAD, "ready") if self.is_ready().await => StatusCode::OK,
            (&Method::GET | &Method::HEAD, "ready") => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NOT_FOUND,
        };
        response::empty(status)
    }

    /// Whether the cluster answers, as of the last second.
    pub async fn is_ready(&self) -> bool {
        let ask = || async {
            let query = CatalogQuery::ListBuckets {
                owner: None,
                prefix: Default::default(),
                after: Default::default(),
                limit: 0,
            };
            self.cluster.read(&query).await.is_ok()
        };
        self.readiness.learn(ask).await
    }
}

impl<L: Link> Call<'_, L> {
    /// For whatever has to be random in this one request, and need not be secret.
    pub(crate) fn seed(&self) -> u64 {
        self.gateway.ids.next_number()
    }

    /// What this gateway's region is called.
    pub(crate) fn region(&self) -> &str {
        &self.gateway.options.region
    }

    pub(crate) fn cluster(&self) -> &Cluster<L> {
        &self.gateway.cluster
    }

    /// What the catalog answers to a query, and an error of either kind in S3's words.
    pub(crate) async fn read(&self, query: &CatalogQuery) -> S3Result<protocol::catalog::Answer> {
        let (_, answer) = self.cluster().read(query).await?;
        answer.map_err(S3Error::from)
    }

    /// The same for an operation.
    pub(crate) async fn submit(
        &self,
        operation: &protocol::catalog::Operation,
    ) -> S3Result<protocol::catalog::Success> {
        let (_, reply) = self.cluster().submit(operation).await?;
        reply.map_err(S3Error::from)
    }
}

/// Ids that no two requests share, and that do not tell how many there were.
struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> String {
        format!("{:016X}", self.next_number())
    }

    fn next_number(&self) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor is a bijection: different numbers have different products.
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.seed
    }
}
