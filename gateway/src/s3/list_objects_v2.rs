//! ListObjectsV2: pages by continuation token.

use protocol::catalog::ListPosition;

use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Query};
use crate::s3::listing::{Listing, Page, write_object};
use crate::s3::owner::Owner;
use crate::s3::xml::Document;
use crate::s3::{S3Result, token};

struct Request {
    listing: Listing,
    /// As the client sent it, to be repeated.
    token: Option<String>,
    start_after: Option<String>,
    fetch_owner: bool,
    after: ListPosition,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let request = Request::parse(&call.head.query)?;
    let page = request.listing.objects(call, request.after.clone());
    let (page, owner) = if request.fetch_owner {
        let (page, owner) = tokio::try_join!(page, Owner::find(call))?;
        (page, Some(owner))
    } else {
        (page.await?, None)
    };
    Ok(response::xml(request.document(call.head.bucket_name(), &page, owner.as_ref())))
}

impl Request {
    fn parse(query: &Query) -> S3Result<Request> {
        let listing = Listing::parse(query, "max-keys")?;
        let given = |name| query.get(name).map(str::to_owned);
        let (token, start_after) = (given("continuation-token"), given("start-after"));
        // A token knows more: what the listing began after is behind it.
        let after = match token.as_deref().filter(|token| !token.is_empty()) {
            Some(token) => token::parse(token)?,
            None => listing.after(start_after.as_deref().unwrap_or_default()),
        };
        let fetch_owner = query.get("fetch-owner").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Request { listing, token, start_after, fetch_owner, after })
    }

    fn document(&self, bucket: &str, page: &Page, owner: Option<&Owner>) -> Document {
        let listing = &self.listing;
        let mut document = Listing::document("ListBucketResult", page.entries.len());
        document.element("Name", bucket);
        listing.name(&mut document, "Prefix", &listing.prefix);
        if let Some(start_after) = &self.start_after {
            listing.name(&mut document, "StartAfter", start_after);
        }
        document.optional("ContinuationToken", self.token.as_ref());
        document.optional("NextContinuationToken", page.next.as_ref().map(token::format));
        document.element("KeyCount", page.entries.len());
        listing.write_request(&mut document, "MaxKeys");
        document.element("IsTruncated", page.next.is_some());
        for (key, object) in page.objects() {
            document.group("Contents", |contents| {
                listing.name(contents, "Key", key);
                write_object(contents, object, owner);
            });
        }
        for prefix in page.prefixes() {
            listing.write_common_prefix(&mut document, prefix);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::listing::tests::{
        OBJECT, OBJECT_WITH_OWNER, assert_document, object, owner, prefix, query,
    };

    fn request(text: &str) -> S3Result<Request> {
        Request::parse(&query(text))
    }

    #[test]
    fn a_token_comes_before_a_start() {
        let position = ListPosition::AfterPrefix { prefix: "a/".into() };
        let token = token::format(&position);
        let after = |text: &str| request(text).map(|request| request.after).ok();
        assert_eq!(after(&format!("start-after=b&continuation-token={token}")), Some(position));
        let key = |key: &'static str| Some(ListPosition::AfterKey { key: key.into() });
        assert_eq!(after("start-after=b&continuation-token="), key("b"));
        assert_eq!(after("start-after=b"), key("b"));
        assert_eq!(after("delimiter=/&start-after=b/c"), key("b/c"));
        assert_eq!(after(""), Some(ListPosition::Start));
        assert_eq!(after("continuation-token=b"), None);
    }

    #[test]
    fn a_page_repeats_its_request_and_says_where_to_go_on() {
        let next = Some(ListPosition::AfterKey { key: "a\n".into() });
        let page = Page { entries: vec![prefix("A/"), object("a\n")], next };
        let token = token::format(&ListPosition::Start);
        let text = format!("list-type=2&delimiter=/&continuation-token={token}&start-after=%2B&max-keys=2");
        assert_document(
            request(&text).unwrap().document("b", &page, None),
            "ListBucketResult",
            &[
                "<Name>b</Name><Prefix></Prefix><StartAfter>+</StartAfter>",
                "<ContinuationToken>AQE</ContinuationToken>",
                "<NextContinuationToken>AQICAAAAYQo</NextContinuationToken>",
                "<KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><Delimiter>/</Delimiter>",
                "<IsTruncated>true</IsTruncated>",
                "<Contents><Key>a&#xa;</Key>",
                OBJECT,
                "</Contents><CommonPrefixes><Prefix>A/</Prefix></CommonPrefixes>",
            ],
        );
    }

    #[test]
    fn what_is_empty_is_repeated_and_the_owner_only_on_request() {
        let request = request("fetch-owner=true&encoding-type=url&continuation-token=&start-after=").unwrap();
        assert!(request.fetch_owner);
        assert_document(
            request.document("b", &Page { entries: vec![object("a b")], next: None }, Some(&owner())),
            "ListBucketResult",
            &[
                "<Name>b</Name><Prefix></Prefix><StartAfter></StartAfter>",
                "<ContinuationToken></ContinuationToken><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>",
                "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>",
                "<Contents><Key>a%20b</Key>",
                OBJECT_WITH_OWNER,
                "</Contents>",
            ],
        );
    }
}
