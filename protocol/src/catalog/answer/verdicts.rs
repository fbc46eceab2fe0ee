//! What may become of a chunk: the only thing by which a chunk is ever deleted.
//!
//! ```text
//!              commit                last reference dropped
//!   Pending ───────────▶ Referenced ────────────────────────▶ Retiring
//!      │                                                         │ the reads that began
//!      │ the session ends, or says that the upload has ended     ▼ before have ended
//!      └──────────────────────────────────────────────────────▶ Dead
//! ```
//!
//! `Dead` is for ever. A session never comes back and its marks only rise, so a fenced upload stays
//! fenced and `claim` refuses it; a body without references has a row that makes `claim` refuse its
//! number, and that row goes only after the upload is fenced; and a copy refers only to what is
//! referenced. A session that is not known has ended only if it began before the op that the answer
//! is given as of: a replica that is behind has not heard yet of those that began later. Therefore an answer may be old, repeated or from a replica far behind, and whoever
//! deletes by it deletes nothing that anybody needs. Every other verdict only delays a deletion.

use super::Ask;
use crate::canary::{Canary, planted};
use crate::catalog::keys::Bodies;
use crate::catalog::names::{BodyId, ChunkId};
use crate::catalog::reply::{Answer, Verdict};
use crate::catalog::rows::{BodyRow, RetiredRow};
use crate::catalog::store::{Failure, read};
use crate::state::Sessions;
use crate::tables::{TableFault, Tables};
use crate::types::Op;

/// The verdict on a chunk, as of `applied`, which is what the tables and the sessions have applied.
pub fn verdict<T: Tables>(
    tables: &T,
    sessions: &Sessions,
    applied: Op,
    chunk: ChunkId,
) -> Result<Verdict, TableFault> {
    // A body never grows: a chunk beyond its end was left over when the body was committed.
    let beyond = |chunk_count| u64::from(chunk.index) >= chunk_count;
    if let Some(row) = read::<BodyRow>(tables, &Bodies::Referenced.row(chunk.body))? {
        return Ok(if beyond(row.body.chunk_count()) { Verdict::Dead } else { Verdict::Referenced });
    }
    if let Some(row) = read::<RetiredRow>(tables, &Bodies::Retired.row(chunk.body))? {
        let dead = beyond(row.chunk_count) || is_read_by_nobody(sessions, row.since);
        return Ok(if dead { Verdict::Dead } else { Verdict::Retiring });
    }
    let has_begun = chunk.body.session.registered_at() <= applied;
    let dead = has_begun && is_fenced(sessions, chunk.body);
    Ok(if dead { Verdict::Dead } else { Verdict::Pending })
}

/// Whether the log says that the upload has ended, if it says at all that its session has begun.
pub(in crate::catalog) fn is_fenced(sessions: &Sessions, id: BodyId) -> bool {
    sessions.session(id.session).is_none_or(|facts| id.upload < facts.oldest_live_upload)
}

/// Whether every read that may have seen what was dropped at `since` has ended.
pub(in crate::catalog) fn is_read_by_nobody(sessions: &Sessions, since: Op) -> bool {
    sessions.oldest_read().is_none_or(|oldest| oldest > since) || planted(Canary::ReaderFenceOff)
}

/// Whether the row may go: the body is dead, and without the row it would be so too.
pub(in crate::catalog) fn is_collectable(sessions: &Sessions, id: BodyId, row: &RetiredRow) -> bool {
    is_read_by_nobody(sessions, row.since) && is_fenced(sessions, id)
}

impl<T: Tables> Ask<'_, T> {
    pub(super) fn get_verdicts(&self, chunks: &[ChunkId]) -> Result<Answer, Failure> {
        let verdicts = chunks
            .iter()
            .map(|chunk| verdict(self.tables, self.context.sessions, self.context.applied, *chunk))
            .collect::<Result<_, _>>()?;
        Ok(Answer::Verdicts { applied: self.context.applied, verdicts })
    }
}
