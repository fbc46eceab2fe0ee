//! No view starts without the votes for it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::message::Vote;
use protocol::quorums::Quorums;
use protocol::types::{ReplicaId, View};

/// Who has voted for which view, from a log whose end was known to the voter.
#[derive(Default)]
pub struct Elections {
    /// Votes that were sent.
    cast: BTreeMap<View, BTreeSet<ReplicaId>>,
    /// Votes that were durable: of these, the elect may count its own.
    sworn: BTreeSet<(ReplicaId, View)>,
}

impl Elections {
    /// A replica's superblock holds its vote.
    pub fn on_durable_vote(&mut self, replica: ReplicaId, vote: &Vote) {
        if vote.certain {
            self.sworn.insert((replica, vote.view));
        }
    }

    pub fn on_vote(&mut self, from: ReplicaId, vote: &Vote) {
        if vote.certain {
            self.cast.entry(vote.view).or_default().insert(from);
        }
    }

    pub fn on_start_view(&self, quorums: &Quorums, from: ReplicaId, view: View) -> Result<(), String> {
        let cast = self.cast.get(&view).into_iter().flatten();
        let others = cast.filter(|voter| **voter != from).count();
        let votes = others + usize::from(self.sworn.contains(&(from, view)));
        if votes >= quorums.view_change {
            return Ok(());
        }
        Err(format!("replica {from} starts view {view}, for which {votes} replicas have voted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::types::Op;

    const VIEW: View = View::new(4);

    fn vote(certain: bool) -> Vote {
        Vote {
            view: VIEW,
            log_view: View::ZERO,
            commit: Op::ZERO,
            checkpoint: Op::ZERO,
            certain,
            slots: Vec::new(),
            incarnations: Default::default(),
        }
    }

    /// Three votes are needed of five. What does not count: a second copy of a vote, a vote of an
    /// uncertain log, an own vote that only travelled, and another's that never left its disk.
    #[test]
    fn a_view_starts_with_the_votes_of_a_quorum_and_not_before() {
        let [elect, second, third, fourth, fifth] = [4, 0, 1, 2, 3].map(ReplicaId::new);
        let quorums = Quorums::of(5);
        let mut elections = Elections::default();
        elections.on_vote(second, &vote(true));
        elections.on_vote(second, &vote(true));
        elections.on_vote(third, &vote(false));
        elections.on_vote(elect, &vote(true));
        elections.on_durable_vote(fourth, &vote(true));
        elections.on_vote(fifth, &vote(true));
        assert!(elections.on_start_view(&quorums, elect, VIEW).is_err());
        elections.on_durable_vote(elect, &vote(true));
        assert!(elections.on_start_view(&quorums, elect, VIEW).is_ok());
        assert!(elections.on_start_view(&quorums, elect, VIEW.next()).is_err());
    }
}
