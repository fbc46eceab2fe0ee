//! ListBuckets: the buckets that the caller may see.
//!
//! A caller that may see some buckets only has them looked up by name. If the list of all were cut down to
//! them, a page would end where the list of all was cut, and its token would name a bucket of somebody else's.

use std::collections::BTreeSet;

use protocol::catalog::{Answer, Bucket, BucketRef, ListPosition, Query as Ask};

use crate::cluster::{ClusterError, Link};
use crate::http::response::{self, Response};
use crate::http::{Call, Query};
use crate::s3::owner::Owner;
use crate::s3::xml::Document;
use crate::s3::{ErrorCode, S3Error, S3Result, token};

/// The most buckets of an answer.
const LIMIT_MAX: u32 = 10_000;

struct Request {
    prefix: String,
    after: String,
    /// Who gives neither a limit nor a token may not know of pages, and gets all buckets at once, as
    /// before S3 had pages here.
    limit: Option<u32>,
    /// Only buckets of this region.
    region: Option<String>,
}

struct Page {
    buckets: Vec<Bucket>,
    /// The name after which to go on.
    next: Option<String>,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let request = Request::parse(&call.head.query)?;
    let region = call.region();
    let page = match &request.region {
        Some(other) if other != region => Page { buckets: Vec::new(), next: None },
        _ => match call.caller.buckets() {
            None => request.page_of_all(call).await?,
            Some(names) => request.page_of(request.look_up(call, names).await?),
        },
    };
    Ok(response::xml(request.document(region, &page, &Owner::of_caller(call.caller))))
}

impl Request {
    fn parse(query: &Query) -> S3Result<Request> {
        let given = |name| query.get(name).filter(|text| !text.is_empty());
        let (limit, token) = (query.number("max-buckets", u32::MAX)?, given("continuation-token"));
        if let Some(limit) = limit.filter(|limit| !(1..=LIMIT_MAX).contains(limit)) {
            let error = S3Error::invalid_argument("max-buckets lies between 1 and 10000");
            return Err(error
                .detail("ArgumentName", "max-buckets")
                .detail("ArgumentValue", limit.to_string()));
        }
        let after = match token.map(token::parse).transpose()? {
            Some(ListPosition::AfterKey { key }) => String::from_utf8_lossy(&key).into_owned(),
            Some(_) => return Err(S3Error::invalid_argument("the token is not one of a list of buckets")),
            None => String::new(),
        };
        Ok(Request {
            prefix: given("prefix").unwrap_or_default().to_owned(),
            after,
            limit: limit.or(token.map(|_| LIMIT_MAX)),
            region: given("bucket-region").map(str::to_owned),
        })
    }

    async fn page_of_all<L: Link>(&self, call: &Call<'_, L>) -> S3Result<Page> {
        let mut page = Page { buckets: Vec::new(), next: None };
        let mut after = self.after.clone();
        loop {
            let query = Ask::ListBuckets {
                owner: None,
                prefix: self.prefix.clone().into(),
                after: after.into(),
                limit: self.limit.unwrap_or(LIMIT_MAX),
            };
            let Answer::Buckets { buckets, truncated } = call.read(&query).await? else {
                return Err(ClusterError::Invalid("the answer is not a list of buckets".into()).into());
            };
            page.next = buckets.last().map(name_of).filter(|_| truncated);
            page.buckets.extend(buckets);
            match &page.next {
                Some(next) if self.limit.is_none() && page.buckets.len() < LIMIT_MAX as usize => {
                    after = next.clone();
                }
                _ => return Ok(page),
            }
        }
    }

    /// Those of them that exist and are wanted, in order.
    async fn look_up<L: Link>(&self, call: &Call<'_, L>, names: BTreeSet<&str>) -> S3Result<Vec<Bucket>> {
        let mut buckets = Vec::new();
        for name in names.into_iter().filter(|name| self.wants(name)) {
            let bucket = BucketRef::named(name.to_owned());
            match call.read(&Ask::GetBucket { bucket }).await {
                Ok(Answer::Bucket { bucket }) => buckets.push(bucket),
                Ok(_) => return Err(ClusterError::Invalid("the answer is not a bucket".into()).into()),
                Err(error) if error.code == ErrorCode::NoSuchBucket => {}
                Err(error) => return Err(error),
            }
        }
        Ok(buckets)
    }

    fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && name > self.after.as_str()
    }

    /// The first of these, which are all that there are.
    fn page_of(&self, mut buckets: Vec<Bucket>) -> Page {
        let limit = self.limit.unwrap_or(LIMIT_MAX) as usize;
        let is_cut = buckets.len() > limit;
        buckets.truncate(limit);
        let next = buckets.last().map(name_of).filter(|_| is_cut);
        Page { buckets, next }
    }

    fn document(&self, region: &str, page: &Page, owner: &Owner) -> Document {
        let mut document = Document::with_capacity("ListAllMyBucketsResult", 1024 + page.buckets.len() * 160);
        owner.write(&mut document, "Owner");
        document.group("Buckets", |buckets| {
            for bucket in &page.buckets {
                buckets.group("Bucket", |element| {
                    element.element("Name", String::from_utf8_lossy(&bucket.name));
                    element.moment("CreationDate", bucket.created);
                    element.element("BucketRegion", region);
                });
            }
        });
        let token = |name: &String| token::format(&ListPosition::AfterKey { key: name.clone().into() });
        document.optional("ContinuationToken", page.next.as_ref().map(token));
        document.optional("Prefix", Some(&self.prefix).filter(|prefix| !prefix.is_empty()));
        document
    }
}

fn name_of(bucket: &Bucket) -> String {
    String::from_utf8_lossy(&bucket.name).into_owned()
}

#[cfg(test)]
mod tests {
    use protocol::catalog::BucketId;
    use protocol::types::Timestamp;

    use super::*;
    use crate::s3::listing::tests::{assert_document, owner, query};

    fn request(text: &str) -> S3Result<Request> {
        Request::parse(&query(text))
    }

    fn token(name: &'static str) -> String {
        token::format(&ListPosition::AfterKey { key: name.into() })
    }

    #[test]
    fn who_does_not_know_of_pages_gets_all_buckets() {
        assert_eq!(request("").unwrap().limit, None);
        assert_eq!(request("prefix=a").unwrap().limit, None);
        assert_eq!(request("max-buckets=7").unwrap().limit, Some(7));
        let next = request(&format!("continuation-token={}", token("abc"))).unwrap();
        assert_eq!((next.limit, next.after.as_str()), (Some(LIMIT_MAX), "abc"));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let of_prefix = token::format(&ListPosition::AfterPrefix { prefix: "a".into() });
        for text in ["max-buckets=0", "max-buckets=10001", "max-buckets=a", "continuation-token=a"] {
            assert_eq!(request(text).err().unwrap().code, ErrorCode::InvalidArgument, "{text}");
        }
        assert!(request(&format!("continuation-token={of_prefix}")).is_err());
        assert!(request("max-buckets=10000").is_ok());
    }

    fn bucket(name: &'static str) -> Bucket {
        Bucket {
            name: name.into(),
            id: BucketId::new(1),
            owner: "ab".into(),
            created: Timestamp::new(1_767_323_045_678_901),
            tags: vec![],
        }
    }

    /// The token was the name of the last bucket that was looked at: with `max-buckets=1`, a key for one bucket
    /// read the names of all.
    #[test]
    fn who_may_see_some_buckets_is_told_of_no_other() {
        let own = || vec![bucket("b1"), bucket("b2"), bucket("b3")];
        let page = |text: &str| {
            let page = request(text).unwrap().page_of(own());
            (page.buckets.iter().map(name_of).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(page("max-buckets=1"), (vec!["b1".into()], Some("b1".into())));
        assert_eq!(page("max-buckets=3"), (vec!["b1".into(), "b2".into(), "b3".into()], None));
        assert_eq!(page("").1, None);

        let next = request(&format!("prefix=b&continuation-token={}", token("b1"))).unwrap();
        let asked: Vec<_> = ["a", "b", "b1", "b2", "c"].into_iter().filter(|name| next.wants(name)).collect();
        assert_eq!(asked, ["b2"]);
    }

    #[test]
    fn buckets_have_a_date_and_a_region() {
        let page = Page { buckets: vec![bucket("abc")], next: Some("abc".into()) };
        assert_document(
            request("prefix=a").unwrap().document("here", &page, &owner()),
            "ListAllMyBucketsResult",
            &[
                "<Owner><ID>ab</ID></Owner><Buckets><Bucket><Name>abc</Name>",
                "<CreationDate>2026-01-02T03:04:05.678Z</CreationDate><BucketRegion>here</BucketRegion>",
                "</Bucket></Buckets><ContinuationToken>AQIDAAAAYWJj</ContinuationToken><Prefix>a</Prefix>",
            ],
        );
        assert_document(
            request("").unwrap().document("here", &Page { buckets: vec![], next: None }, &owner()),
            "ListAllMyBucketsResult",
            &["<Owner><ID>ab</ID></Owner><Buckets></Buckets>"],
        );
    }
}
