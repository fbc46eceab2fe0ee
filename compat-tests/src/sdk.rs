//! The official SDK, over plain HTTP.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Config, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;

use crate::server::server;

/// How long one operation may take, with all its tries.
const PATIENCE: Duration = Duration::from_secs(60);

/// The SDK as it is by default, except that what fails is told and not tried again.
pub fn client() -> Client {
    Client::from_conf(config().retry_config(RetryConfig::disabled()).build())
}

/// For the server under test.
pub fn config() -> Builder {
    config_for(&server().address, &server().access_key, &server().secret_key)
}

pub fn config_for(address: &str, access_key: &str, secret_key: &str) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(PATIENCE).build();
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "tests"))
        .endpoint_url(format!("http://{address}"))
        .force_path_style(true)
        .timeout_config(timeouts)
        .http_client(PlainHttp::default())
}

/// The SDK's own HTTP client comes with a second TLS stack, for which there is no use here.
#[derive(Clone, Debug)]
struct PlainHttp {
    client: legacy::Client<TcpConnector, SdkBody>,
}

impl Default for PlainHttp {
    fn default() -> PlainHttp {
        let mut connector = TcpConnector::new();
        connector.set_nodelay(true);
        PlainHttp { client: legacy::Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl HttpClient for PlainHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for PlainHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.client.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let answer = client.request(request).await.map_err(|error| match error.is_connect() {
                true => ConnectorError::io(error.into()),
                false => ConnectorError::other(error.into(), None),
            })?;
            let answer = answer.map(|body| SdkBody::from_body_1_x(body.map_err(Box::new)));
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// How a request was refused: the status, and the code if there was a document.
pub trait Refusal {
    fn refusal(self) -> (u16, String);
}

impl<E: ProvideErrorMetadata + std::fmt::Debug> Refusal for SdkError<E, HttpResponse> {
    #[track_caller]
    fn refusal(self) -> (u16, String) {
        let status = self.raw_response().map(|answer| answer.status().as_u16());
        let status = status.unwrap_or_else(|| panic!("not answered: {self:?}"));
        (status, self.code().unwrap_or_default().to_owned())
    }
}

impl<T: std::fmt::Debug, E: Refusal> Refusal for Result<T, E> {
    #[track_caller]
    fn refusal(self) -> (u16, String) {
        match self {
            Ok(output) => panic!("it succeeded: {output:?}"),
            Err(error) => error.refusal(),
        }
    }
}

/// It was refused so.
#[track_caller]
pub fn assert_refused(result: impl Refusal, status: u16, code: &str) {
    assert_eq!(result.refusal(), (status, code.to_owned()));
}

/// It was refused with this status. An answer to HEAD has no document.
#[track_caller]
pub fn assert_status(result: impl Refusal, status: u16) {
    assert_eq!(result.refusal().0, status);
}
