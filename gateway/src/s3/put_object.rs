//! PutObject: a body becomes an object, whole or not at all.

use bytes::Bytes;
use http::header::{ETAG, EXPECT};
use http::{HeaderMap, HeaderValue, StatusCode};
use protocol::catalog::{
    self, Answer, BucketRef, CatalogLimits, Conditions, ETag, OBJECT_TAG_COUNT_MAX, Operation, Success, Tags,
};

use super::{ErrorCode, S3Error, S3Result, bucket, conditions, headers, tags, unsupported};
use crate::body::{self, Algorithm, Checksum, Digested, Payload};
use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Head};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, mut payload: Payload) -> S3Result<Response> {
    let head = call.head;
    unsupported::check(head)?;
    let conditions = conditions::for_write(head)?;
    let headers = headers::stored(head)?;
    let tags = tags(head)?;
    body::check_length(&payload)?;
    let bucket = bucket::reference(call).await?;
    let key = Bytes::copy_from_slice(head.key().as_bytes());
    if is_worth_asking_first(head, &payload) {
        check_before_reading(call, &bucket, &key, &conditions).await?;
    }

    payload.want_md5();
    if payload.algorithm().is_none() {
        payload.want(Algorithm::DEFAULT);
    }
    let make = move |digested: &Digested, body| Operation::PutObject {
        bucket: bucket.clone(),
        key: key.clone(),
        conditions: conditions.clone(),
        etag: etag(digested),
        headers: headers.clone(),
        checksums: digested.checksums.iter().map(Checksum::to_catalog).collect(),
        tags: tags.clone(),
        body,
    };
    let (digested, success) =
        body::store(call.cluster(), &call.gateway.memory, payload, call.seed(), make).await?;
    match success {
        Success::ObjectWritten { .. } => Ok(answer(&digested)),
        other => Err(unexpected(&other)),
    }
}

/// The catalog has answered another question.
pub(super) fn unexpected(success: &Success) -> S3Error {
    S3Error::with(ErrorCode::InternalError, format!("an answer to something else: {success:?}"))
}

/// The MD5 that was wanted.
pub(super) fn etag(digested: &Digested) -> ETag {
    ETag::simple(digested.md5.expect("it was asked for"))
}

fn answer(digested: &Digested) -> Response {
    let mut response = response::empty(StatusCode::OK);
    response.headers_mut().insert(ETAG, response::etag(&etag(digested)));
    if let Some(checksum) = digested.checksums.first() {
        write_checksum(checksum, response.headers_mut());
        response
            .headers_mut()
            .insert("x-amz-checksum-type", HeaderValue::from_static(checksum.checksum_type().name()));
    }
    response
}

pub(super) fn write_checksum(checksum: &Checksum, headers: &mut HeaderMap) {
    let value = HeaderValue::from_str(&checksum.to_string()).expect("base64 and digits");
    headers.insert(checksum.algorithm.header(), value);
}

/// A client that waits to be told to go on, or that has much to send, had better be told at once that it
/// need not. Otherwise the log tells it soon enough.
fn is_worth_asking_first(head: &Head, payload: &Payload) -> bool {
    let is_small = |length: u64| length <= CatalogLimits::standard().inline_bytes_max as u64;
    head.headers.contains_key(EXPECT) || !payload.declared_length().is_some_and(is_small)
}

/// What holds now may not hold when the body has come: the log decides then.
async fn check_before_reading<L: Link>(
    call: &Call<'_, L>,
    bucket: &BucketRef,
    key: &Bytes,
    conditions: &Conditions,
) -> S3Result<()> {
    let query = catalog::Query::GetObject { bucket: bucket.clone(), key: key.clone(), pieces: None };
    let (_, answer) = call.cluster().read(&query).await?;
    let etag = match answer {
        Ok(Answer::Object { object, .. }) => Some(object.summary.etag),
        Err(catalog::Error::NoSuchKey) => None,
        Ok(_) => return Err(S3Error::with(ErrorCode::InternalError, "the answer is not an object")),
        Err(error) => return Err(bucket::refused(call, error)),
    };
    check_conditions(conditions, etag.as_ref())
}

/// As the catalog will.
fn check_conditions(conditions: &Conditions, etag: Option<&ETag>) -> S3Result<()> {
    let Conditions { if_match, if_none_match } = conditions;
    match etag {
        None if if_match.is_some() => Err(ErrorCode::NoSuchKey.into()),
        None => Ok(()),
        Some(etag) => {
            let holds = if_match.as_ref().is_none_or(|wanted| wanted.matches(etag))
                && !if_none_match.as_ref().is_some_and(|unwanted| unwanted.matches(etag));
            if holds { Ok(()) } else { Err(ErrorCode::PreconditionFailed.into()) }
        }
    }
}

fn tags(head: &Head) -> S3Result<Tags> {
    match head.header("x-amz-tagging")? {
        Some(text) => tags::parse_header(text, OBJECT_TAG_COUNT_MAX),
        None => Ok(Tags::new()),
    }
}

#[cfg(test)]
mod tests {
    use protocol::catalog::ETagMatch;

    use super::*;

    #[test]
    fn conditions_are_judged_as_the_log_judges_them() {
        let (same, other) = (ETag::simple([1; 16]), ETag::simple([2; 16]));
        let if_match = |wanted| Conditions { if_match: Some(wanted), if_none_match: None };
        let if_none_match = |unwanted| Conditions { if_match: None, if_none_match: Some(unwanted) };
        let (missing, failed) = (Some(ErrorCode::NoSuchKey), Some(ErrorCode::PreconditionFailed));
        for (conditions, absent, present) in [
            (Conditions::none(), None, None),
            (if_match(ETagMatch::one(same)), missing, None),
            (if_match(ETagMatch::one(other)), missing, failed),
            (if_match(ETagMatch::Any), missing, None),
            (if_match(ETagMatch::OneOf { etags: vec![] }), missing, failed),
            (if_none_match(ETagMatch::one(same)), None, failed),
            (if_none_match(ETagMatch::one(other)), None, None),
            (if_none_match(ETagMatch::Any), None, failed),
        ] {
            let refused = |etag| check_conditions(&conditions, etag).map_err(|error| error.code).err();
            assert_eq!(refused(None), absent, "{conditions:?}");
            assert_eq!(refused(Some(&same)), present, "{conditions:?}");
        }
    }
}
