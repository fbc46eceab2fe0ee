//! Whose things are: everything in a bucket belongs to the bucket's owner.

use bytes::Bytes;
use protocol::catalog::Bucket;

use super::S3Result;
use super::bucket;
use super::xml::Document;
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
