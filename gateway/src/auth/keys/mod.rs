//! Access keys: how they are kept, and how long a gateway remembers them.
//!
//! A key is a row of the catalog, its secret sealed (`vault`). A gateway asks for it when it is first
//! used and remembers it for a few seconds (`cache`), so that every gateway knows within seconds that
//! a key was added, disabled or removed. Keys are managed by `users`.

mod cache;
mod identity;
mod users;
mod vault;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use protocol::catalog::{AccessKey, Answer, Error, Query};
use transport::ClusterKey;

use crate::cluster::{Cluster, ClusterError, Link};
use crate::s3::S3Result;
use cache::Cache;
use vault::Vault;

pub(super) use identity::Identity;
pub use identity::RootKey;
pub use users::{KeyInfo, KeySelection, NewKey, UserError, Users};

/// The user that the root key belongs to. Nobody else can have the name.
pub const ROOT: &str = "root";

/// Where access keys are looked up: the cluster, or whatever a test says.
pub trait KeySource: Send + Sync + 'static {
    fn access_key(&self, id: &str) -> impl Future<Output = Result<Option<AccessKey>, ClusterError>> + Send;
}

impl<L: Link> KeySource for Cluster<L> {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, ClusterError> {
        let query = Query::GetAccessKey { id: Bytes::copy_from_slice(id.as_bytes()) };
        match self.read(&query).await?.1 {
            Ok(Answer::AccessKey { access_key }) => Ok(Some(access_key)),
            Err(Error::NoSuchAccessKey) => Ok(None),
            other => Err(ClusterError::Invalid(format!("asked for an access key, was told {other:?}"))),
        }
    }
}

/// All keys that can sign.
pub(super) struct KeyRing<S> {
    root: Option<Arc<Identity>>,
    cache: Cache<S>,
}

impl<S: KeySource> KeyRing<S> {
    pub(super) fn new(cluster_key: &ClusterKey, root: Option<RootKey>, source: S) -> KeyRing<S> {
        let vault = Vault::new(cluster_key);
        let root = root.map(|root| Arc::new(Identity::of_root(&vault, root)));
        KeyRing { root, cache: Cache::new(vault, source) }
    }

    /// The key of this id, if there is one that may be used. The root key comes first: nobody can lock
    /// the operator out.
    pub(super) async fn get(&self, id: &str) -> S3Result<Option<Arc<Identity>>> {
        match &self.root {
            Some(root) if root.caller().access_key == id => Ok(Some(Arc::clone(root))),
            _ => self.cache.get(id).await,
        }
    }
}
