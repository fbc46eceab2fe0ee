//! Bodies: who still needs which, found out by looking everywhere.

use std::collections::BTreeMap;

use protocol::catalog::{BodyId, ChunkId, Error, NewBody, Success, UploadId, Verdict};
use protocol::types::{Op, SessionId};

use super::{Body, CatalogModel, Composition, Condemned, Content, Live, Place, Run};

impl CatalogModel {
    /// The bytes that an operation brings. A number stands for one body, and for none once its
    /// session has said that it is done with it.
    pub(super) fn claim(&mut self, place: &Place<'_>, body: &NewBody) -> Result<Run, Error> {
        match body {
            NewBody::Inline { bytes } => Ok(Run::Inline(bytes.clone())),
            NewBody::Chunked { upload, body, layout, receipts } => {
                let id = BodyId { session: place.session, upload: *upload };
                if is_fenced(place.live, id) {
                    return Err(Error::UploadFenced);
                }
                if self.bodies.contains_key(&id) {
                    return Err(Error::UploadSpent);
                }
                let disks = self.disks_of(place, body, *layout, receipts)?;
                let owing = self.owing(id, &disks);
                let copies_min = disks.iter().map(|holders| holders.len()).min().unwrap_or(0);
                let body = Body { body: body.clone(), retired: None, owing, copies_min };
                self.bodies.insert(id, body);
                Ok(Run::Slice { id, offset: 0 })
            }
        }
    }

    /// Condemns what no object consists of any more, then retires what nothing refers to.
    pub(super) fn retire(&mut self, op: Op) {
        let in_use = sorted(self.objects().filter_map(Content::upload));
        let gone = |upload: &UploadId| in_use.binary_search(upload).is_err();
        for (upload, composition) in self.composed.extract_if(.., |upload, _| gone(upload)) {
            let runs = composition.parts.iter().map(|(_, part)| (part.part.number, part.run.clone()));
            let mut parts: BTreeMap<u16, Run> = runs.collect();
            parts.extend(self.surplus.remove(&upload).unwrap_or_default());
            self.condemned.insert(upload, Condemned { since: op, parts, composition: Some(composition) });
        }
        let referenced = self.referenced();
        for (id, body) in &mut self.bodies {
            if body.retired.is_none() && referenced.binary_search(id).is_err() {
                body.retired = Some(op);
                body.owing.clear();
            }
        }
    }

    fn objects(&self) -> impl Iterator<Item = &Content> {
        self.buckets.values().flat_map(|bucket| bucket.objects.values()).map(|object| &object.content)
    }

    /// In order.
    fn referenced(&self) -> Vec<BodyId> {
        let whole = self.objects().filter_map(|content| match content {
            Content::Run(run) => run.body(),
            Content::Composed(_) => None,
        });
        let open = self.buckets.values().flat_map(|bucket| bucket.uploads.values());
        let open = open.flat_map(|upload| upload.parts.values()).filter_map(|part| part.run.body());
        let composed = self.composed.values().flat_map(|composition| &composition.parts);
        let composed = composed.filter_map(|(_, part)| part.run.body());
        let condemned = self.condemned.values().flat_map(|condemned| condemned.parts.values());
        let condemned = condemned.filter_map(Run::body);
        let surplus = self.surplus.values().flat_map(BTreeMap::values).filter_map(Run::body);
        sorted(whole.chain(open).chain(composed).chain(surplus).chain(condemned))
    }

    /// What is asked for pieces by its upload: readable until the first of it is taken apart.
    pub(super) fn composition(&self, upload: UploadId) -> Option<&Composition> {
        self.composed
            .get(&upload)
            .or_else(|| self.condemned.get(&upload).and_then(|condemned| condemned.composition.as_ref()))
    }

    pub(super) fn collect(
        &mut self,
        place: &Place<'_>,
        retired: &[BodyId],
        condemned: &[UploadId],
    ) -> Success {
        let mut forgotten = 0;
        for id in retired {
            if self.is_collectable(place.live, *id) {
                self.bodies.remove(id);
                forgotten += 1;
            }
        }
        let mut taken = 0;
        for upload in condemned {
            let left = self.limits.collect_parts_max - taken;
            if left == 0 {
                break;
            }
            if let Some(surplus) = self.surplus.get_mut(upload) {
                taken += take(surplus, left);
                if surplus.is_empty() {
                    self.surplus.remove(upload);
                }
            } else if let Some(condemned) = self.condemned.get_mut(upload)
                && is_read_by_nobody(place.live, condemned.since)
            {
                condemned.composition = None;
                taken += take(&mut condemned.parts, left);
                if condemned.parts.is_empty() {
                    self.condemned.remove(upload);
                }
            }
        }
        Success::Collected { retired: forgotten, parts: taken }
    }

    /// Whether the body may be forgotten: nobody reads it, and its number could not be used again.
    pub(super) fn is_collectable(&self, live: &Live, id: BodyId) -> bool {
        let since = self.bodies.get(&id).and_then(|body| body.retired);
        since.is_some_and(|since| is_read_by_nobody(live, since)) && is_fenced(live, id)
    }

    pub(super) fn verdict(&self, live: &Live, applied: Op, chunk: ChunkId) -> Verdict {
        let Some(Body { body, retired, .. }) = self.bodies.get(&chunk.body) else {
            // The name of a session that may begin later is no proof that it has ended.
            let may_begin = chunk.body.session >= SessionId::from_register(applied.next(), 0);
            return if !may_begin && is_fenced(live, chunk.body) { Verdict::Dead } else { Verdict::Pending };
        };
        if u64::from(chunk.index) >= body.length.div_ceil(u64::from(body.chunk_size)) {
            return Verdict::Dead;
        }
        match retired {
            None => Verdict::Referenced,
            Some(since) if is_read_by_nobody(live, *since) => Verdict::Dead,
            Some(_) => Verdict::Retiring,
        }
    }
}

impl Content {
    pub(super) fn upload(&self) -> Option<UploadId> {
        match self {
            Content::Run(_) => None,
            Content::Composed(upload) => Some(*upload),
        }
    }
}

impl Run {
    fn body(&self) -> Option<BodyId> {
        match self {
            Run::Inline(_) => None,
            Run::Slice { id, .. } => Some(*id),
        }
    }
}

/// Drops the first parts, and tells how many.
fn take(parts: &mut BTreeMap<u16, Run>, count_max: u32) -> u32 {
    let mut count = 0;
    while count < count_max && parts.pop_first().is_some() {
        count += 1;
    }
    count
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items
}

/// Whether the session has ended, or has said that this upload of its has.
fn is_fenced(live: &Live, id: BodyId) -> bool {
    live.get(&id.session).is_none_or(|facts| id.upload < facts.oldest_live_upload)
}

/// Whether every read that began at `since` or before has ended.
pub(super) fn is_read_by_nobody(live: &Live, since: Op) -> bool {
    live.values().all(|facts| facts.oldest_read > since)
}
