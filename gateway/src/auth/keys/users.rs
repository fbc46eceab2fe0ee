//! Managing access keys.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use protocol::catalog::{
    AccessKey, Answer, DISPLAY_NAME_BYTES_MAX, Error, KEY_BYTES_MAX, NamedAccessKey, Operation, Query,
    SCOPE_COUNT_MAX, Success, USER_NAME_BYTES_MAX, check_bucket_name,
};
use protocol::types::Timestamp;
use transport::ClusterKey;

use super::ROOT;
use super::identity::{DISABLED, READ_ONLY};
use super::vault::{SECRET_SIZE_MAX, Secret, Vault, random};
use crate::auth::caller::Scope;
use crate::cluster::{Cluster, ClusterError, Link};

/// A shorter secret can be guessed from a single signed request.
const SECRET_SIZE_MIN: usize = 16;

/// The users of a cluster. A user is a name with access keys: one who has none is gone.
pub struct Users<L> {
    cluster: Cluster<L>,
    vault: Vault,
}

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    pub user: String,
    /// None: the user's name.
    pub display_name: Option<String>,
    pub read_only: bool,
    /// None: everything.
    pub scopes: Vec<Scope>,
}

/// Everything about a key but its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    pub access_key: String,
    pub user: String,
    /// The user's canonical id.
    pub owner: String,
    pub display_name: String,
    pub read_only: bool,
    pub disabled: bool,
    pub scopes: Vec<Scope>,
    pub created: SystemTime,
}

/// A user's keys, or one of them.
#[derive(Clone, Debug)]
pub struct KeySelection {
    pub user: String,
    pub access_key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserError {
    /// What was asked for cannot be.
    Invalid(String),
    NoSuchUser(String),
    NoSuchKey(String),
    NoRandomness,
    Cluster(ClusterError),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::Invalid(why) => f.write_str(why),
            UserError::NoSuchUser(user) => write!(f, "there is no user {user:?}"),
            UserError::NoSuchKey(id) => write!(f, "the user has no access key {id:?}"),
            UserError::NoRandomness => f.write_str("the operating system gave no random bytes"),
            UserError::Cluster(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UserError {}

impl From<ClusterError> for UserError {
    fn from(error: ClusterError) -> UserError {
        UserError::Cluster(error)
    }
}

impl NewKey {
    fn check(&self) -> Result<(), UserError> {
        let wrong = |why: String| Err(UserError::Invalid(why));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@+=".contains(&byte);
        if self.user.is_empty() || self.user.len() > USER_NAME_BYTES_MAX || !self.user.bytes().all(plain) {
            return wrong(format!(
                "a user's name has 1 to {USER_NAME_BYTES_MAX} letters, digits and - _ . @ + ="
            ));
        }
        if self.user == ROOT {
            return wrong(format!("{ROOT} is whoever has the key of the gateways' configuration"));
        }
        if self.display_name.as_ref().is_some_and(|name| name.len() > DISPLAY_NAME_BYTES_MAX) {
            return wrong(format!("a display name has at most {DISPLAY_NAME_BYTES_MAX} bytes"));
        }
        if self.scopes.len() > SCOPE_COUNT_MAX {
            return wrong(format!("a key has at most {SCOPE_COUNT_MAX} scopes"));
        }
        for Scope { bucket, prefix } in &self.scopes {
            if let Err(why) = check_bucket_name(bucket.as_bytes()) {
                return wrong(format!("{bucket:?} cannot be a bucket: {why}"));
            }
            if prefix.len() > KEY_BYTES_MAX {
                return wrong(format!("a prefix has at most {KEY_BYTES_MAX} bytes"));
            }
        }
        Ok(())
    }
}

impl<L: Link> Users<L> {
    pub fn new(cluster: Cluster<L>, cluster_key: &ClusterKey) -> Users<L> {
        Users { cluster, vault: Vault::new(cluster_key) }
    }

    /// Makes a key, and the user with it if it is the first. The second text is the secret, which
    /// nobody can ask for again. `secret`: instead of a random one.
    pub async fn add(&self, new: NewKey, secret: Option<String>) -> Result<(KeyInfo, String), UserError> {
        new.check()?;
        let secret = match secret {
            Some(secret) => check_secret(secret)?,
            None => random_secret()?,
        };
        let id = random_id()?;
        let sealed = self.vault.seal(&id, &secret).ok_or(UserError::NoRandomness)?;
        let row = AccessKey {
            secret: sealed,
            owner: self.vault.owner(&new.user).into(),
            display_name: new.display_name.unwrap_or_else(|| new.user.clone()).into(),
            user: new.user.into(),
            flags: if new.read_only { READ_ONLY } else { 0 },
            scopes: new.scopes.into_iter().map(Into::into).collect(),
            created: wall(),
        };
        let info = KeyInfo::of_row(id.as_bytes(), &row);
        self.put(id.into(), row).await?;
        Ok((info, secret.0))
    }

    /// All keys, by user and then by age.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, UserError> {
        let rows = self.rows().await?;
        let mut keys: Vec<KeyInfo> =
            rows.iter().map(|NamedAccessKey { id, access_key }| KeyInfo::of_row(id, access_key)).collect();
        keys.sort_by(|a, b| (&a.user, a.created, &a.access_key).cmp(&(&b.user, b.created, &b.access_key)));
        Ok(keys)
    }

    /// Removes keys for ever. What was made with them stays.
    pub async fn remove(&self, selection: &KeySelection) -> Result<Vec<KeyInfo>, UserError> {
        let selected = self.select(selection).await?;
        for NamedAccessKey { id, .. } in &selected {
            let operation = Operation::DeleteAccessKey { id: id.clone() };
            match self.cluster.submit(&operation).await?.1 {
                // Somebody else was faster.
                Ok(Success::Done) | Err(Error::NoSuchAccessKey) => {}
                other => return Err(strange(format!("{other:?}"))),
            }
        }
        Ok(infos(&selected))
    }

    /// Makes keys unusable, or usable again.
    pub async fn set_disabled(
        &self,
        selection: &KeySelection,
        disabled: bool,
    ) -> Result<Vec<KeyInfo>, UserError> {
        let mut selected = self.select(selection).await?;
        for NamedAccessKey { id, access_key } in &mut selected {
            match disabled {
                true => access_key.flags |= DISABLED,
                false => access_key.flags &= !DISABLED,
            }
            self.put(id.clone(), access_key.clone()).await?;
        }
        Ok(infos(&selected))
    }

    async fn put(&self, id: Bytes, access_key: AccessKey) -> Result<(), UserError> {
        match self.cluster.submit(&Operation::PutAccessKey { id, access_key }).await?.1 {
            Ok(Success::Done) => Ok(()),
            other => Err(strange(format!("{other:?}"))),
        }
    }

    async fn select(&self, selection: &KeySelection) -> Result<Vec<NamedAccessKey>, UserError> {
        let KeySelection { user, access_key } = selection;
        let mut rows = self.rows().await?;
        rows.retain(|row| row.access_key.user == user.as_bytes());
        if rows.is_empty() {
            return Err(UserError::NoSuchUser(user.clone()));
        }
        if let Some(wanted) = access_key {
            rows.retain(|row| row.id == wanted.as_bytes());
            if rows.is_empty() {
                return Err(UserError::NoSuchKey(wanted.clone()));
            }
        }
        Ok(rows)
    }

    async fn rows(&self) -> Result<Vec<NamedAccessKey>, UserError> {
        let mut rows: Vec<NamedAccessKey> = Vec::new();
        loop {
            let after = rows.last().map_or_else(Bytes::new, |row| row.id.clone());
            let query = Query::ListAccessKeys { after, limit: 1000 };
            match self.cluster.read(&query).await?.1 {
                Ok(Answer::AccessKeys { access_keys, truncated }) => {
                    let more = truncated && !access_keys.is_empty();
                    rows.extend(access_keys);
                    if !more {
                        return Ok(rows);
                    }
                }
                other => return Err(strange(format!("{other:?}"))),
            }
        }
    }
}

impl KeyInfo {
    fn of_row(id: &[u8], row: &AccessKey) -> KeyInfo {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        KeyInfo {
            access_key: text(id),
            user: text(&row.user),
            owner: text(&row.owner),
            display_name: text(&row.display_name),
            read_only: row.flags & READ_ONLY != 0,
            disabled: row.flags & DISABLED != 0,
            scopes: row.scopes.iter().map(Scope::from).collect(),
            created: UNIX_EPOCH + Duration::from_micros(row.created.get()),
        }
    }
}

fn infos(rows: &[NamedAccessKey]) -> Vec<KeyInfo> {
    rows.iter().map(|NamedAccessKey { id, access_key }| KeyInfo::of_row(id, access_key)).collect()
}

fn strange(answer: String) -> UserError {
    UserError::Cluster(ClusterError::Invalid(format!("the cluster answers {answer}")))
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Twenty capitals and digits, as clients know it, of which the first two say where it is from.
fn random_id() -> Result<String, UserError> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bytes: [u8; 18] = random().ok_or(UserError::NoRandomness)?;
    let digits = bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte & 31)]));
    Ok("VS".chars().chain(digits).collect())
}

/// Forty characters that need no quotes in a shell and no escapes in a URL.
fn random_secret() -> Result<Secret, UserError> {
    let bytes: [u8; 30] = random().ok_or(UserError::NoRandomness)?;
    Ok(Secret(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

fn check_secret(secret: String) -> Result<Secret, UserError> {
    let is_size = (SECRET_SIZE_MIN..=SECRET_SIZE_MAX).contains(&secret.len());
    if is_size && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Secret(secret));
    }
    Err(UserError::Invalid(format!(
        "a secret has {SECRET_SIZE_MIN} to {SECRET_SIZE_MAX} printable ASCII characters"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_secrets_are_random_and_of_the_usual_size() {
        let (id, secret) = (random_id().unwrap(), random_secret().unwrap());
        assert_eq!((id.len(), secret.0.len()), (20, 40));
        assert!(
            id.starts_with("VS") && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        );
        assert_ne!((id, secret.clone()), (random_id().unwrap(), random_secret().unwrap()));
        assert_eq!(check_secret(secret.0.clone()), Ok(secret));
        for wrong in ["", "tooshort", "with a space in it", "ümläutümläut", &"x".repeat(129)] {
            assert!(check_secret(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_catalog_would_refuse_is_refused_with_a_reason() {
        let key = |user: &str| NewKey { user: user.into(), ..NewKey::default() };
        let with = |bucket: &str, prefix: usize, count: usize| {
            let scope = Scope { bucket: bucket.into(), prefix: vec![b'p'; prefix] };
            NewKey { scopes: vec![scope; count], ..key("alice") }
        };
        for good in [key("alice"), key("a.b+c=d@e_f-1"), key(&"u".repeat(64)), with("bucket", 1024, 64)] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        let long_name = NewKey { display_name: Some("x".repeat(257)), ..key("alice") };
        for wrong in [
            key(""),
            key("a b"),
            key("a/b"),
            key("root"),
            key(&"u".repeat(65)),
            long_name,
            with("Bucket", 0, 1),
            with("bucket", 1025, 1),
            with("bucket", 0, 65),
        ] {
            assert!(matches!(wrong.check(), Err(UserError::Invalid(_))), "{wrong:?}");
        }
    }
}
