//! CreateBucket. All of a cluster is one region, so a location constraint may say what it likes; but a
//! client that gives one is told if the bucket was there, as S3 does everywhere but in its first region.

use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};
use protocol::catalog::{BUCKET_TAG_COUNT_MAX, Operation, Tags, check_bucket_name};

use crate::body::{self, Payload};
use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Head};
use crate::s3::xml::Element;
use crate::s3::{ErrorCode, S3Error, S3Result, bucket, tags, unsupported};

const OBJECT_OWNERSHIP: HeaderName = HeaderName::from_static("x-amz-object-ownership");

#[derive(Debug, Default, PartialEq, Eq)]
struct Configuration {
    has_location: bool,
    tags: Tags,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    let name = call.head.bucket_name();
    check_name(name)?;
    unsupported::check(call.head)?;
    check_ownership(call.head)?;
    let configuration = Configuration::parse(&body::document(payload, &call.gateway.memory).await?)?;
    let operation = Operation::CreateBucket {
        name: name.to_owned().into(),
        owner: call.caller.owner.clone().into(),
        tags: configuration.tags,
    };
    match bucket::submit(call, &operation).await {
        Ok(_) => {}
        // So that a client that did not hear of its success can ask again.
        Err(error) if error.code == ErrorCode::BucketAlreadyOwnedByYou && !configuration.has_location => {}
        Err(error) => return Err(error),
    }
    let mut response = response::empty(StatusCode::OK);
    let location = HeaderValue::from_str(&format!("/{name}")).expect("a bucket's name is plain ASCII");
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn check_name(name: &str) -> S3Result<()> {
    check_bucket_name(name.as_bytes())
        .map_err(|why| S3Error::with(ErrorCode::InvalidBucketName, why).detail("BucketName", name))
}

/// Without access control lists every object is the bucket owner's, and cannot be anybody else's.
fn check_ownership(head: &Head) -> S3Result<()> {
    match head.headers.get(OBJECT_OWNERSHIP) {
        Some(ownership) if ownership != "BucketOwnerEnforced" => {
            Err(S3Error::not_implemented("objects belong to their bucket's owner")
                .detail("Header", OBJECT_OWNERSHIP.as_str()))
        }
        _ => Ok(()),
    }
}

impl Configuration {
    fn parse(document: &[u8]) -> S3Result<Configuration> {
        if document.trim_ascii().is_empty() {
            return Ok(Configuration::default());
        }
        let element = Element::parse(document, "CreateBucketConfiguration")?;
        // Of directory buckets: they are not what the client would get.
        for name in ["Location", "Bucket"] {
            if element.optional(name)?.is_some() {
                return Err(S3Error::not_implemented("directory buckets are not implemented"));
            }
        }
        let location = element.optional_text("LocationConstraint")?.unwrap_or_default().trim();
        let tags = match element.optional("Tags")? {
            Some(set) => tags::parse_set(set, BUCKET_TAG_COUNT_MAX)?,
            None => Tags::new(),
        };
        Ok(Configuration { has_location: !location.is_empty(), tags })
    }
}

#[cfg(test)]
mod tests {
    use protocol::catalog::Tag;

    use super::*;

    #[test]
    fn a_configuration_may_be_empty() {
        let xmlns = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        for (document, has_location, tag_count) in [
            ("", false, 0),
            (" \n", false, 0),
            ("<CreateBucketConfiguration/>", false, 0),
            (&format!("<CreateBucketConfiguration {xmlns}/>"), false, 0),
            ("<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>", false, 0),
            (
                "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint>\
                 <Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>",
                true,
                1,
            ),
        ] {
            let tag = Tag { key: "a".into(), value: "b".into() };
            let expected = Configuration { has_location, tags: vec![tag; tag_count] };
            assert_eq!(Configuration::parse(document.as_bytes()), Ok(expected), "{document}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for (document, code) in [
            ("<Configuration/>", ErrorCode::MalformedXml),
            ("location", ErrorCode::MalformedXml),
            (
                "<CreateBucketConfiguration><Location><Type>AvailabilityZone</Type></Location>\
                 </CreateBucketConfiguration>",
                ErrorCode::NotImplemented,
            ),
            (
                "<CreateBucketConfiguration><Tags><Tag><Key/><Value/></Tag></Tags>\
                 </CreateBucketConfiguration>",
                ErrorCode::InvalidTag,
            ),
        ] {
            let refused = Configuration::parse(document.as_bytes()).map_err(|error| error.code);
            assert_eq!(refused, Err(code), "{document}");
        }
    }

    #[test]
    fn a_name_must_be_one_of_a_host() {
        assert_eq!(check_name("my-bucket.2"), Ok(()));
        for name in ["ab", "Upper", "under_score", "192.168.0.1", "-a-b", "a..b", "ä-bucket"] {
            assert_eq!(check_name(name).unwrap_err().code, ErrorCode::InvalidBucketName, "{name}");
        }
    }
}
