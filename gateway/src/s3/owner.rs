//! Whose things are: everything in a bucket belongs to the bucket's owner.

use bytes::Bytes;
use protocol::catalog::Bucket;

use super::bucket;
use super::xml::{Document, Element};
use super::{ErrorCode, S3Result};
use crate::auth::Caller;
use crate::cluster::Link;
use crate::http::Call;

/// A user as documents name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The canonical id.
    pub(crate) id: String,
    /// Known of the caller only: a bucket has no more than an id of its owner.
    pub(crate) display_name: Option<String>,
}

impl Owner {
    pub(crate) fn of_caller(caller: &Caller) -> Owner {
        Owner { id: caller.owner.clone(), display_name: Some(caller.display_name.clone()) }
    }

    pub(crate) fn of_bucket(bucket: &Bucket, caller: &Caller) -> Owner {
        Owner::of_id(&bucket.owner, caller)
    }

    fn of_id(id: &Bytes, caller: &Caller) -> Owner {
        if id == caller.owner.as_bytes() {
            return Owner::of_caller(caller);
        }
        Owner { id: String::from_utf8_lossy(id).into_owned(), display_name: None }
    }

    /// The owner of the bucket that the request is about.
    pub(crate) async fn find<L: Link>(call: &Call<'_, L>) -> S3Result<Owner> {
        let bucket = bucket::find(call).await?;
        Ok(Owner::of_bucket(&bucket, call.caller))
    }

    pub(crate) fn write(&self, document: &mut Document, name: &'static str) {
        document.group(name, |document| self.write_fields(document));
    }

    fn write_fields(&self, document: &mut Document) {
        document.element("ID", &self.id);
        document.optional("DisplayName", self.display_name.as_ref());
    }

    /// The only access control list there is: everything belongs to its owner, wholly. What others may do
    /// follows from their access keys.
    pub(crate) fn access_control_policy(&self) -> Document {
        let mut document = Document::new("AccessControlPolicy");
        self.write(&mut document, "Owner");
        document.group("AccessControlList", |list| {
            list.group("Grant", |grant| {
                grant.group_of_type("Grantee", "CanonicalUser", |grantee| self.write_fields(grantee));
                grant.element("Permission", "FULL_CONTROL");
            });
        });
        document
    }

    /// Refuses every list but that one. Names do not count, ids do.
    pub(crate) fn check_access_control_policy(&self, document: &[u8]) -> S3Result<()> {
        let policy = Element::parse(document, "AccessControlPolicy")?;
        let mut grants = 0_usize;
        for grant in policy.required("AccessControlList")?.all("Grant") {
            let grantee = grant.required("Grantee")?.optional_text("ID")?;
            let permission = grant.required_text("Permission")?;
            if grantee != Some(self.id.as_str()) || permission != "FULL_CONTROL" {
                return Err(ErrorCode::AccessControlListNotSupported.into());
            }
            grants += 1;
        }
        let owner = policy.optional("Owner")?.map(|owner| owner.required_text("ID")).transpose()?;
        if grants == 0 || owner.is_some_and(|id| id != self.id) {
            return Err(ErrorCode::AccessControlListNotSupported.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_has_full_control() {
        let owner = Owner { id: "ab".into(), display_name: Some("A".into()) };
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Owner><ID>ab</ID><DisplayName>A</DisplayName></Owner>\
            <AccessControlList><Grant>\
            <Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">\
            <ID>ab</ID><DisplayName>A</DisplayName></Grantee>\
            <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>";
        assert_eq!(owner.access_control_policy().finish(), expected);
        assert_eq!(owner.check_access_control_policy(expected.as_bytes()), Ok(()));
    }

    #[test]
    fn nobody_else_gets_anything() {
        let owner = Owner { id: "ab".into(), display_name: None };
        let grant = |id: &str, permission: &str| {
            format!("<Grant><Grantee><ID>{id}</ID></Grantee><Permission>{permission}</Permission></Grant>")
        };
        let everybody = "<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
            <Permission>READ</Permission></Grant>";
        let full = grant("ab", "FULL_CONTROL");
        let refused = Some(ErrorCode::AccessControlListNotSupported);
        let malformed = Some(ErrorCode::MalformedXml);
        for (of, grants, refusal) in [
            ("<Owner><ID>ab</ID></Owner>", full.clone(), None),
            ("", full.clone(), None),
            ("<Owner><ID>cd</ID></Owner>", full.clone(), refused),
            ("", format!("{full}{full}"), None),
            ("", format!("{full}{}", grant("cd", "FULL_CONTROL")), refused),
            ("", format!("{full}{everybody}"), refused),
            ("", grant("ab", "READ"), refused),
            ("", String::new(), refused),
            ("<Owner/>", full.clone(), malformed),
            ("", "<Grant/>".into(), malformed),
        ] {
            let document = format!(
                "<AccessControlPolicy>{of}<AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
            );
            let outcome = owner.check_access_control_policy(document.as_bytes());
            assert_eq!(outcome.err().map(|error| error.code), refusal, "{document}");
        }
        assert!(owner.check_access_control_policy(b"").is_err());
        assert!(owner.check_access_control_policy(b"<AccessControlPolicy/>").is_err());
    }

    #[test]
    fn only_the_caller_has_a_name() {
        let caller = Caller {
            access_key: "AK".into(),
            owner: "ab".into(),
            display_name: "A".into(),
            grants: crate::auth::Grants::default(),
        };
        assert_eq!(Owner::of_id(&"ab".into(), &caller).display_name.as_deref(), Some("A"));
        assert_eq!(Owner::of_id(&"cd".into(), &caller).display_name, None);
    }
}
