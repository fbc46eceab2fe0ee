//! What must hold.

use protocol::entry::Operation;
use protocol::types::{Op, ReplicaId, View};
use protocol::vsr::StatusName;

use super::mail::{Kind, MailId};
use super::{Cluster, EntryId, Facts, World};

/// So many durable copies commit an entry of three replicas.
const REPLICATION: usize = 2;

/// In words, for the report.
pub const PROPERTIES: [&str; 7] = [
    "what was committed is in the log of every later view, on every replica that installed it",
    "no two replicas hold different entries to be committed at one op",
    "what was committed is durable on a replication quorum, of which a lost disk may be missing until it has rejoined",
    "no election counts a vote, and no primary an acknowledgement, of a disk whose Rejoin was committed",
    "one life of a disk casts one vote for a view",
    "no replica finds itself in contradiction with another one",
    "no assertion of the core fails",
];

impl Cluster {
    /// Puts on record what `replica` knows to be committed.
    pub(super) fn record(
        &mut self,
        ledger: u32,
        replica: usize,
        committed: &[(Op, EntryId, View)],
    ) -> Result<u32, String> {
        let mut changed = None;
        for (op, entry, view) in committed {
            let index = usize::try_from(op.get() - 1).expect("logs are short");
            let known = changed.as_ref().unwrap_or(&self.ledgers[ledger as usize]);
            match known.get(index).copied().flatten() {
                Some((other, _)) if other == *entry => {}
                Some((other, before)) => {
                    return Err(format!(
                        "r{replica} takes {} for committed at op {op}, and {} was, in view {before}",
                        self.entry_text(*entry),
                        self.entry_text(other),
                    ));
                }
                None => {
                    let mut more = known.clone();
                    more.resize(more.len().max(index + 1), None);
                    more[index] = Some((*entry, *view));
                    changed = Some(more);
                }
            }
        }
        Ok(changed.map_or(ledger, |ledger| self.ledger_number(ledger)))
    }

    fn committed(&self, ledger: u32) -> impl Iterator<Item = (usize, EntryId, View)> {
        let ledger = self.ledgers[ledger as usize].iter().enumerate();
        ledger.filter_map(|(index, known)| known.map(|(entry, view)| (index, entry, view)))
    }

    /// The op of a committed `Rejoin` of this replica that makes words of `incarnation` void, if a
    /// view up to `view` committed one.
    fn voided(&self, ledger: u32, replica: ReplicaId, incarnation: u64, view: View) -> Option<u64> {
        let rejoins = self.committed(ledger).filter_map(|(_, entry, committed_in)| {
            let header = &self.entries[usize::from(entry)].header;
            let rejoin = header.incarnations[replica.index()].get() == header.op.get();
            (rejoin && committed_in <= view).then_some(header.op.get())
        });
        rejoins.filter(|op| *op > incarnation).max()
    }

    pub(super) fn judge_election(
        &self,
        ledger: u32,
        elect: usize,
        view: View,
        counted: &[(ReplicaId, u64)],
    ) -> Result<(), String> {
        for (replica, incarnation) in counted {
            if let Some(op) = self.voided(ledger, *replica, *incarnation, View::new(view.get() - 1)) {
                return Err(format!(
                    "r{elect} is elected for view {view} by a vote of r{replica}'s disk {incarnation}, \
                     which was replaced by op {op}"
                ));
            }
        }
        Ok(())
    }

    /// A message has had an effect: it must not have been an acknowledgement from the grave.
    pub(super) fn judge_effect(&self, world: &World, id: MailId) -> Result<(), String> {
        let mail = self.post.get(id);
        if !matches!(mail.kind, Kind::PrepareOk { .. }) {
            return Ok(());
        }
        let sender = ReplicaId::new(u8::try_from(mail.from).expect("three replicas"));
        let view = self.facts(world.nodes[mail.to]).log_view;
        match self.voided(world.ledger, sender, mail.message.incarnation.get(), view) {
            Some(op) => Err(format!(
                "r{} counts an acknowledgement of r{sender}'s disk {}, which was replaced by op {op}",
                mail.to, mail.message.incarnation
            )),
            None => Ok(()),
        }
    }

    /// A vote is new in the network: it must not contradict an earlier one.
    pub(super) fn judge_vote(&self, present: &[MailId], id: MailId) -> Result<(), String> {
        let vote = self.post.get(id);
        let Kind::Vote(view) = vote.kind else { return Ok(()) };
        let contradicts = |other: &&MailId| {
            let other = self.post.get(**other);
            other.from == vote.from
                && other.kind == vote.kind
                && other.message.incarnation == vote.message.incarnation
        };
        match present.iter().find(contradicts) {
            Some(_) => Err(format!("r{} casts two votes for view {view}", vote.from)),
            None => Ok(()),
        }
    }

    pub(super) fn judge_logs(&self, world: &World) -> Option<String> {
        let facts = world.nodes.map(|node| self.facts(node));
        for (index, entry, view) in self.committed(world.ledger) {
            for (replica, facts) in facts.iter().enumerate() {
                // What is being fetched for a `Rejoin` is not a log of any view yet.
                if facts.status == StatusName::Rejoining || facts.amnesiac {
                    continue;
                }
                let held = facts.log.get(index).map(|(held, _)| *held);
                let lost = facts.log_view > view && held != Some(entry);
                let replaced = facts.log_view == view && held.is_some_and(|held| held != entry);
                if lost || replaced {
                    return Some(format!(
                        "{} was committed in view {view}, and r{replica} holds the log of view {} without it",
                        self.entry_text(entry),
                        facts.log_view,
                    ));
                }
            }
            let holds = |facts: &&&Facts| facts.amnesiac || facts.log.get(index) == Some(&(entry, true));
            if facts.iter().filter(holds).count() < REPLICATION {
                return Some(format!(
                    "{} was committed in view {view} and is durable on fewer than {REPLICATION} replicas",
                    self.entry_text(entry),
                ));
            }
        }
        None
    }

    pub(super) fn entry_text(&self, entry: EntryId) -> String {
        let entry = &self.entries[usize::from(entry)];
        let requests = entry.requests().unwrap_or_default();
        let what = match requests.first().map(|request| &request.operation) {
            Some(Operation::Rejoin { replica, .. }) => format!("Rejoin of r{replica}"),
            _ => {
                let client = requests.first().map_or(0, |request| request.client.get());
                let letter = u8::try_from(client).map_or(b'?', |client| b'A' + client.saturating_sub(1));
                char::from(letter).to_string()
            }
        };
        format!("{what}@{}/v{}", entry.op(), entry.header.view)
    }
}
