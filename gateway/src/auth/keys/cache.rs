//! What a gateway remembers of access keys.
//!
//! | age of an answer | |
//! |---|---|
//! | up to 5 s | is used, also the answer that there is no such key |
//! | up to 65 s | is used if the cluster cannot be asked |
//! | beyond | is not used; without a cluster the request is refused with a 503 |
//!
//! The age counts from the question, so that a key removed at some instant is refused everywhere five
//! seconds later. Requests with the same key share one question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::catalog::ACCESS_KEY_ID_BYTES_MAX;
use tokio::time::Instant;

use super::vault::Vault;
use super::{Identity, KeySource};
use crate::s3::{ErrorCode, S3Error, S3Result};

const FRESH: Duration = Duration::from_secs(5);
const STALE: Duration = Duration::from_secs(60);

/// After a question without an answer the cluster is left in peace for so long.
const RETRY: Duration = Duration::from_secs(1);

/// For so long is an answer waited for, if there is none to fall back on.
const PATIENCE: Duration = Duration::from_secs(10);
/// And if there is.
const PATIENCE_STALE: Duration = Duration::from_secs(1);

/// So many keys are remembered, and up to as many again that were used before those.
const GENERATION: usize = 4096;

pub(super) struct Cache<S> {
    vault: Vault,
    source: S,
    slots: Mutex<Generations>,
}

/// What is known of one key. Whoever holds the lock asks; the others wait and share the answer.
type Slot = Arc<tokio::sync::Mutex<Known>>;

#[derive(Default)]
struct Known {
    answer: Option<Remembered>,
    /// When the cluster last failed to answer.
    failed: Option<Instant>,
}

struct Remembered {
    asked: Instant,
    identity: Option<Arc<Identity>>,
}

/// When the young ones are too many they become the old ones, and the old ones are forgotten: what is
/// used stays, and ids that somebody makes up do not fill the memory.
#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Slot>,
    old: HashMap<Box<str>, Slot>,
}

impl Generations {
    fn slot(&mut self, id: &str) -> Slot {
        if let Some(slot) = self.young.get(id) {
            return Arc::clone(slot);
        }
        let slot = self.old.remove(id).unwrap_or_default();
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id.into(), Arc::clone(&slot));
        slot
    }
}

impl<S: KeySource> Cache<S> {
    pub(super) fn new(vault: Vault, source: S) -> Cache<S> {
        Cache { vault, source, slots: Mutex::default() }
    }

    /// The key of this id, if there is one that may be used.
    pub(super) async fn get(&self, id: &str) -> S3Result<Option<Arc<Identity>>> {
        if id.is_empty() || id.len() > ACCESS_KEY_ID_BYTES_MAX {
            return Ok(None);
        }
        // A panic elsewhere leaves the map as it was.
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).slot(id);
        let mut known = slot.lock().await;
        if let Some(answer) = known.answer.as_ref().filter(|answer| answer.asked.elapsed() < FRESH) {
            return Ok(answer.identity.clone());
        }
        if known.failed.is_none_or(|failed| failed.elapsed() >= RETRY) {
            self.ask(id, &mut known).await;
        }
        match &known.answer {
            Some(answer) if answer.asked.elapsed() < FRESH => Ok(answer.identity.clone()),
            Some(answer) if answer.is_stale() => Ok(answer.identity.clone()),
            _ => Err(S3Error::with(
                ErrorCode::ServiceUnavailable,
                "The access key cannot be looked up: the cluster does not answer. Please try again.",
            )),
        }
    }

    async fn ask(&self, id: &str, known: &mut Known) {
        let asked = Instant::now();
        let has_stale = known.answer.as_ref().is_some_and(Remembered::is_stale);
        let patience = if has_stale { PATIENCE_STALE } else { PATIENCE };
        let why = match tokio::time::timeout(patience, self.source.access_key(id)).await {
            Ok(Ok(row)) => {
                let identity = row.and_then(|row| Identity::of_row(&self.vault, id, &row)).map(Arc::new);
                *known = Known { answer: Some(Remembered { asked, identity }), failed: None };
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".into(),
        };
        tracing::debug!(access_key = id, why, "an access key could not be looked up");
        known.failed = Some(Instant::now());
    }
}

impl Remembered {
    /// Too old to be used, unless the cluster cannot be asked.
    fn is_stale(&self) -> bool {
        self.identity.is_some() && self.asked.elapsed() < FRESH + STALE
    }
}

#[cfg(test)]
mod tests;
