//! DeleteObjects: up to a thousand keys, each decided on its own.
//!
//! ```text
//!  keys ─▶ refused here (not allowed, no such version, too long)
//!     └──▶ operations on the catalog, as many as their size demands, one after the other
//! ```
//!
//! One after the other, because a key may be there twice, and because nothing is deleted any more once an
//! operation has failed. The answer says of every key what became of it, in the order of the request.

use bytes::Bytes;
use protocol::catalog::{
    self, BucketRef, Conditions, Delete, ETag, ETagMatch, KEY_BYTES_MAX, Operation, Success,
};
use protocol::config::Limits;

use crate::body::{self, Payload};
use crate::cluster::{ClusterError, Link};
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::xml::{Document, Element, malformed};
use crate::s3::{ErrorCode, S3Error, S3Result, bucket, unsupported};

/// The most keys of a request.
const KEY_COUNT_MAX: usize = 1000;

/// So large may the deletions of one operation be. A part of what an operation may be: other requests
/// want to be in the same batch.
const OPERATION_BYTES: usize = 128 << 10;

const _: () = assert!(OPERATION_BYTES * 2 <= Limits::standard().operation_bytes_max);

/// What a deletion takes in an operation, besides its key: lengths and a condition on the ETag.
const DELETE_BYTES: usize = 64;

#[derive(Debug, PartialEq, Eq)]
struct Request {
    objects: Vec<Object>,
    /// Only failures are answered.
    quiet: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    key: String,
    version_id: Option<String>,
    conditions: Conditions,
}

/// What became of a key.
type Outcome = Result<(), S3Error>;

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    unsupported::check(call.head)?;
    let request = Request::parse(&body::document(payload, &call.gateway.memory).await?)?;
    let bucket = bucket::reference(call).await?;
    let mut outcomes: Vec<Outcome> = request
        .objects
        .iter()
        .map(|object| {
            object.check()?;
            match call.caller.may_write(call.head.bucket_name(), &object.key) {
                true => Ok(()),
                false => Err(ErrorCode::AccessDenied.into()),
            }
        })
        .collect();
    let mut failure = None;
    for (index, batch) in batches(&request.objects, &outcomes).into_iter().enumerate() {
        let replies = match &failure {
            None => delete(call, &bucket, &request.objects, &batch).await,
            Some(error) => Err(S3Error::clone(error)),
        };
        match replies {
            Ok(replies) => {
                for (at, reply) in batch.into_iter().zip(replies) {
                    outcomes[at] = reply.map_or(Ok(()), |error| Err(error.into()));
                }
            }
            // Nothing was deleted: that can be said in one word.
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                for at in batch {
                    outcomes[at] = Err(error.clone());
                }
                failure = Some(error);
            }
        }
    }
    Ok(response::xml(request.document(&outcomes)))
}

/// The indices of those that are to be deleted, in operations of a bounded size.
fn batches(objects: &[Object], outcomes: &[Outcome]) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for (at, (object, _)) in
        objects.iter().zip(outcomes).enumerate().filter(|(_, (_, outcome))| outcome.is_ok())
    {
        let size = object.key.len() + DELETE_BYTES;
        if bytes + size > OPERATION_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        batch.push(at);
        bytes += size;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Why each of a batch was not deleted.
async fn delete<L: Link>(
    call: &Call<'_, L>,
    bucket: &BucketRef,
    objects: &[Object],
    batch: &[usize],
) -> S3Result<Vec<Option<catalog::Error>>> {
    let deletes = batch.iter().map(|at| objects[*at].delete()).collect();
    let operation = Operation::DeleteObjects { bucket: bucket.clone(), deletes };
    match bucket::submit(call, &operation).await? {
        Success::ObjectsDeleted { outcomes } if outcomes.len() == batch.len() => Ok(outcomes),
        _ => Err(ClusterError::Invalid("the reply is not one to deletions".into()).into()),
    }
}

impl Request {
    fn parse(document: &[u8]) -> S3Result<Request> {
        let element = Element::parse(document, "Delete")?;
        let objects = element.all("Object").map(Object::parse).collect::<S3Result<Vec<_>>>()?;
        if objects.is_empty() || objects.len() > KEY_COUNT_MAX {
            return Err(malformed("a request deletes 1 to 1000 objects"));
        }
        let quiet = match element.optional_text("Quiet")?.map(str::trim) {
            None | Some("false" | "0" | "") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(malformed("Quiet is true or false")),
        };
        Ok(Request { objects, quiet })
    }

    fn document(&self, outcomes: &[Outcome]) -> Document {
        let mut document = Document::with_capacity("DeleteResult", 1024 + outcomes.len() * 128);
        for (object, outcome) in self.objects.iter().zip(outcomes) {
            match outcome {
                Ok(()) if self.quiet => {}
                Ok(()) => document.group("Deleted", |deleted| object.write(deleted)),
                Err(error) => document.group("Error", |element| {
                    object.write(element);
                    element.element("Code", error.code.as_str());
                    element.element("Message", error.message());
                }),
            }
        }
        document
    }
}

impl Object {
    fn parse(element: &Element) -> S3Result<Object> {
        let key = element.required_text("Key")?.to_owned();
        if key.is_empty() {
            return Err(malformed("a key is not empty"));
        }
        // Conditions that we would not check: the client believes that they protect the object.
        for name in ["LastModifiedTime", "Size"] {
            if element.optional(name)?.is_some() {
                let error = S3Error::not_implemented("a deletion can be tied to the ETag only");
                return Err(error.detail("Element", name));
            }
        }
        let version_id = element.optional_text("VersionId")?.filter(|id| !id.is_empty());
        let if_match = element.optional_text("ETag")?.map(|etag| match etag.trim() {
            "*" => ETagMatch::Any,
            // An ETag that no object of ours can have matches none.
            etag => ETagMatch::OneOf { etags: ETag::parse(etag.as_bytes()).into_iter().collect() },
        });
        let version_id = version_id.map(str::to_owned);
        Ok(Object { key, version_id, conditions: Conditions { if_match, ..Conditions::none() } })
    }

    /// What can be said of it without asking.
    fn check(&self) -> Outcome {
        if self.key.len() > KEY_BYTES_MAX {
            return Err(ErrorCode::KeyTooLong.into());
        }
        match self.version_id.as_deref() {
            None | Some("null") => Ok(()),
            Some(_) => Err(ErrorCode::NoSuchVersion.into()),
        }
    }

    fn delete(&self) -> Delete {
        Delete { key: Bytes::copy_from_slice(self.key.as_bytes()), conditions: self.conditions.clone() }
    }

    fn write(&self, document: &mut Document) {
        document.element("Key", &self.key);
        document.optional("VersionId", self.version_id.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use protocol::wire::Wire;

    use super::*;
    use crate::s3::listing::tests::assert_document;

    fn object(key: &str) -> Object {
        Object { key: key.into(), version_id: None, conditions: Conditions::none() }
    }

    fn request(inner: &str) -> S3Result<Request> {
        Request::parse(format!("<Delete>{inner}</Delete>").as_bytes())
    }

    #[test]
    fn a_request_is_a_list_of_keys() {
        let etag = "<ETag>&quot;abababababababababababababababab&quot;</ETag>";
        let request = request(&format!(
            "<Quiet>true</Quiet><Object><Key> a&lt;&#x1; </Key></Object>\
             <Object><Key>b</Key><VersionId>null</VersionId>{etag}</Object>\
             <Object><Key>c</Key><VersionId/><ETag>*</ETag></Object>\
             <Object><Key>c</Key><ETag>none</ETag></Object>"
        ))
        .unwrap();
        let with = |object: Object, if_match: ETagMatch| Object {
            conditions: Conditions { if_match: Some(if_match), ..Conditions::none() },
            ..object
        };
        let b = Object { version_id: Some("null".into()), ..object("b") };
        let objects = vec![
            object(" a<\u{1} "),
            with(b, ETagMatch::one(ETag::simple([0xab; 16]))),
            with(object("c"), ETagMatch::Any),
            with(object("c"), ETagMatch::OneOf { etags: vec![] }),
        ];
        assert_eq!(request, Request { objects, quiet: true });
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let one = "<Object><Key>a</Key></Object>";
        for (inner, code) in [
            (String::new(), ErrorCode::MalformedXml),
            (one.repeat(1001), ErrorCode::MalformedXml),
            ("<Object/>".into(), ErrorCode::MalformedXml),
            ("<Object><Key/></Object>".into(), ErrorCode::MalformedXml),
            ("<Object><Key>a</Key><Key>b</Key></Object>".into(), ErrorCode::MalformedXml),
            (format!("<Quiet>maybe</Quiet>{one}"), ErrorCode::MalformedXml),
            ("<Object><Key>a</Key><Size>1</Size></Object>".into(), ErrorCode::NotImplemented),
            (
                "<Object><Key>a</Key><LastModifiedTime>x</LastModifiedTime></Object>".into(),
                ErrorCode::NotImplemented,
            ),
        ] {
            assert_eq!(request(&inner).unwrap_err().code, code, "{inner:.60}");
        }
        assert_eq!(request(&one.repeat(1000)).unwrap().objects.len(), 1000);
        assert!(Request::parse(b"<Deletes/>").is_err());
    }

    #[test]
    fn a_key_that_cannot_be_there_fails_alone() {
        let of_version = |id: &str| Object { version_id: Some(id.into()), ..object("a") };
        assert_eq!(of_version("null").check(), Ok(()));
        assert_eq!(of_version("1").check(), Err(ErrorCode::NoSuchVersion.into()));
        assert_eq!(object(&"k".repeat(1024)).check(), Ok(()));
        assert_eq!(object(&"k".repeat(1025)).check(), Err(ErrorCode::KeyTooLong.into()));
    }

    #[test]
    fn operations_are_bounded_and_hold_every_key_in_order() {
        let etag = ETagMatch::one(ETag { digest: [1; 16], part_count: 10_000 });
        let conditions = Conditions { if_match: Some(etag), ..Conditions::none() };
        let long = Object { conditions, ..object(&"k".repeat(1024)) };
        let objects = vec![long; 1000];
        let mut outcomes = vec![Ok(()); 1000];
        outcomes[500] = Err(ErrorCode::AccessDenied.into());

        let batches = batches(&objects, &outcomes);
        let expected: Vec<_> = (0..1000).filter(|at| *at != 500).collect();
        assert_eq!(batches.concat(), expected);
        assert!(batches.len() < 12);
        for batch in &batches {
            let deletes: Vec<_> = batch.iter().map(|at| objects[*at].delete()).collect();
            assert!(deletes.to_bytes().len() <= OPERATION_BYTES + 4);
        }
        assert!(super::batches(&objects[..1], &outcomes[500..501]).is_empty());
    }

    #[test]
    fn the_answer_says_what_became_of_each_key() {
        let inner = "<Object><Key>a</Key></Object><Object><Key>&lt;</Key><VersionId>1</VersionId></Object>";
        let mut request = request(inner).unwrap();
        let outcomes = [Ok(()), Err(S3Error::with(ErrorCode::NoSuchVersion, "no"))];
        let error = "<Error><Key>&lt;</Key><VersionId>1</VersionId><Code>NoSuchVersion</Code>\
                     <Message>no</Message></Error>";
        let deleted = "<Deleted><Key>a</Key></Deleted>";
        assert_document(request.document(&outcomes), "DeleteResult", &[deleted, error]);
        request.quiet = true;
        assert_document(request.document(&outcomes), "DeleteResult", &[error]);
    }
}
