//! Whether a disk that holds nothing is that of a new cluster, or a disk that was lost.
//!
//! A replica that lost its disk and took itself for a new one would deny what it has promised. Nobody
//! can tell the two apart alone, but the others can:
//!
//! * A blank disk is formatted only after every other replica has said that it never ran.
//! * A formatted disk's replica runs only after every other one is formatted, or says that it runs:
//!   then it has seen that all were.
//!
//! So once any replica has run, all disks were formatted, and a blank one among them was lost.
//!
//! That leaves the case in which nobody remembers because no disk is there: power returns, and the
//! replicas start before their file systems are mounted. So somebody must have said that the cluster is
//! new before any blank disk is formatted.

use std::time::{Duration, Instant};

use protocol::config::Config;
use protocol::data::message::{DataBody, Past};
use protocol::types::ReplicaId;
use replica::driver;
use replica::storage::disk::Disk;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time;

use super::Shared;
use crate::commands::Failure;

/// Between two rounds of questions.
const INTERVAL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

const NOT_NEW: &str = "the directory is blank, and nobody has said that the cluster is new. If it is, start \
     every replica with --new-cluster. If the data is on a disk that is not mounted yet, mount it. If that \
     disk is lost, `viewstone replace-disk` readmits the replica with an empty one";

/// What one other replica says of itself.
#[derive(Clone, Copy, Debug)]
struct Answer {
    past: Past,
    /// How many replicas it believes the cluster to have.
    replicas: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Format,
    Run,
    WaitFor(Vec<ReplicaId>),
    Refuse(String),
}

/// What to do with a disk of this past. None is a replica that does not answer.
fn decide(own: Past, new_cluster: bool, others: &[(ReplicaId, Option<Answer>)]) -> Decision {
    let replicas = others.len() + 1;
    let answers = || others.iter().filter_map(|(id, answer)| Some((id, (*answer)?)));
    if own == Past::Started {
        return Decision::Run;
    }
    if let Some((id, answer)) = answers().find(|(_, answer)| answer.replicas != replicas) {
        return Decision::Refuse(format!(
            "replica {id} was started with {} peers, this one with {replicas}: all replicas need the same list",
            answer.replicas
        ));
    }
    let running = answers().find(|(_, answer)| answer.past == Past::Started);
    let missing = |is_missing: fn(&Option<Answer>) -> bool| {
        others.iter().filter(|(_, answer)| is_missing(answer)).map(|(id, _)| *id).collect::<Vec<_>>()
    };
    let (waiting_for, then) = match (own, running) {
        (Past::Blank, Some((id, _))) => {
            return Decision::Refuse(format!(
                "the directory is blank, but replica {id} has run: this cluster is not new, and what this \
                 replica knew is gone. `viewstone replace-disk` readmits it with an empty disk; if the data is \
                 on another disk, mount that"
            ));
        }
        (Past::Blank, None) if !new_cluster => return Decision::Refuse(NOT_NEW.to_owned()),
        (Past::Blank, None) => (missing(Option::is_none), Decision::Format),
        (_, Some(_)) => return Decision::Run,
        (_, None) => {
            let unformatted =
                |answer: &Option<Answer>| answer.is_none_or(|answer| answer.past == Past::Blank);
            (missing(unformatted), Decision::Run)
        }
    };
    if waiting_for.is_empty() { then } else { Decision::WaitFor(waiting_for) }
}

/// Returns when the core may run.
pub(super) async fn settle(
    shared: &Shared,
    disk: &impl Disk,
    config: &Config,
    new_cluster: bool,
) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let own = shared.past();
        let others = if own == Past::Started { vec![] } else { ask_all(shared).await };
        match decide(own, new_cluster, &others) {
            Decision::Run => {
                shared.set_past(Past::Started);
                return Ok(());
            }
            Decision::Format => {
                let (disk, config) = (disk.clone(), config.clone());
                let formatted = spawn_blocking(move || driver::format(&disk, &config)).await;
                formatted.map_err(Failure::new)?.map_err(Failure::new)?;
                tracing::info!(cluster = ?shared.seat.cluster.key.cluster(), "the disk is that of a new cluster now");
                shared.set_past(Past::Formatted);
            }
            Decision::Refuse(why) => return Err(Failure::new(why)),
            Decision::WaitFor(whom) => {
                if told.is_none_or(|told: Instant| told.elapsed() >= PROGRESS_EVERY) {
                    told = Some(Instant::now());
                    tracing::info!(
                        waiting_for = names(shared, &whom),
                        "first start: all replicas must be there"
                    );
                }
                shared.set_waiting_for(whom);
                time::sleep(INTERVAL).await;
            }
        }
    }
}

fn names(shared: &Shared, whom: &[ReplicaId]) -> String {
    let name = |id: &ReplicaId| format!("{id} ({})", shared.seat.cluster.peers[id.index()]);
    whom.iter().map(name).collect::<Vec<_>>().join(", ")
}

async fn ask_all(shared: &Shared) -> Vec<(ReplicaId, Option<Answer>)> {
    let replicas = u8::try_from(shared.seat.cluster.peers.len()).expect("there are at most seven replicas");
    let mut questions = JoinSet::new();
    for (id, _) in shared.seat.cluster.replicas().filter(|(id, _)| *id != shared.seat.replica) {
        let transport = shared.transport.clone();
        questions.spawn(async move {
            let asked = transport.call(id, DataBody::Introduce { replicas });
            let answer = match time::timeout(PATIENCE, asked).await {
                Ok(Ok(DataBody::Introduced { past, replicas })) => {
                    Some(Answer { past, replicas: usize::from(replicas) })
                }
                _ => None,
            };
            (id, answer)
        });
    }
    questions.join_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Option<Answer> = None;

    fn says(past: Past) -> Option<Answer> {
        Some(Answer { past, replicas: 3 })
    }

    fn decision(own: Past, one: Option<Answer>, two: Option<Answer>) -> Decision {
        decide(own, true, &[(ReplicaId::new(1), one), (ReplicaId::new(2), two)])
    }

    fn waits_for<const N: usize>(whom: [u8; N]) -> Decision {
        Decision::WaitFor(whom.map(ReplicaId::new).to_vec())
    }

    #[test]
    fn a_blank_disk_is_formatted_when_all_others_never_ran() {
        let (blank, formatted) = (says(Past::Blank), says(Past::Formatted));
        assert_eq!(decision(Past::Blank, blank, blank), Decision::Format);
        assert_eq!(decision(Past::Blank, blank, formatted), Decision::Format);
        assert_eq!(decision(Past::Blank, formatted, formatted), Decision::Format);
        assert_eq!(decision(Past::Blank, formatted, SILENT), waits_for([2]));
        assert_eq!(decision(Past::Blank, SILENT, SILENT), waits_for([1, 2]));
        assert_eq!(decide(Past::Blank, true, &[]), Decision::Format);
    }

    #[test]
    fn a_blank_disk_in_a_cluster_that_has_run_is_refused() {
        for other in [SILENT, says(Past::Blank), says(Past::Formatted), says(Past::Started)] {
            let Decision::Refuse(why) = decision(Past::Blank, other, says(Past::Started)) else {
                panic!("with {other:?} it was not refused");
            };
            assert!(why.contains("viewstone replace-disk"), "{why}");
        }
    }

    /// Power returned before the data was mounted, everywhere at once.
    #[test]
    fn a_blank_disk_is_formatted_only_if_somebody_said_that_the_cluster_is_new() {
        let unasked =
            |own, one, two| decide(own, false, &[(ReplicaId::new(1), one), (ReplicaId::new(2), two)]);
        for other in [SILENT, says(Past::Blank), says(Past::Formatted)] {
            let Decision::Refuse(why) = unasked(Past::Blank, other, says(Past::Blank)) else {
                panic!("with {other:?} it was not refused");
            };
            assert!(why.contains("--new-cluster") && why.contains("viewstone replace-disk"), "{why}");
        }
        assert!(matches!(decide(Past::Blank, false, &[]), Decision::Refuse(_)));
        let Decision::Refuse(why) = unasked(Past::Blank, SILENT, says(Past::Started)) else {
            panic!("it was not refused");
        };
        assert!(!why.contains("--new-cluster"), "that is no way out when another has run: {why}");
        // What was founded goes on without being told again.
        let formatted = says(Past::Formatted);
        assert_eq!(unasked(Past::Formatted, formatted, formatted), Decision::Run);
        assert_eq!(unasked(Past::Started, SILENT, SILENT), Decision::Run);
    }

    #[test]
    fn a_formatted_disk_runs_when_all_are_formatted_or_one_runs() {
        let formatted = says(Past::Formatted);
        assert_eq!(decision(Past::Formatted, formatted, formatted), Decision::Run);
        assert_eq!(decision(Past::Formatted, SILENT, says(Past::Started)), Decision::Run);
        assert_eq!(decision(Past::Formatted, formatted, SILENT), waits_for([2]));
        assert_eq!(decision(Past::Formatted, says(Past::Blank), formatted), waits_for([1]));
        assert_eq!(decide(Past::Formatted, true, &[]), Decision::Run);
    }

    #[test]
    fn a_disk_that_has_run_waits_for_nobody() {
        assert_eq!(decision(Past::Started, SILENT, SILENT), Decision::Run);
    }

    #[test]
    fn replicas_that_count_differently_do_not_found_a_cluster() {
        let other = Some(Answer { past: Past::Blank, replicas: 5 });
        let Decision::Refuse(why) = decision(Past::Blank, says(Past::Blank), other) else {
            panic!("it was not refused");
        };
        assert!(why.contains("replica 2 was started with 5 peers, this one with 3"), "{why}");
    }

    /// Any order of steps of three replicas, with disks lost at any moment.
    #[test]
    fn no_order_of_events_makes_a_lost_disk_new_while_any_other_remembers() {
        let mut open = vec![Founding::new()];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(state) = open.pop() {
            if !seen.insert(state.clone()) {
                continue;
            }
            for next in state.successors() {
                assert!(!next.broken, "{state:?} leads to {next:?}");
                open.push(next);
            }
        }
        assert!(seen.iter().any(|state| state.disks == [3; 3]), "a cluster can be founded");
        assert!(seen.iter().any(|state| state.disks == [1, 3, 3] && state.counted[0]), "disks are lost");
    }

    /// The disks as numbers: 1 blank, 2 formatted, 3 started.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Founding {
        disks: [u8; 3],
        /// Something may have been committed with this replica's word.
        counted: [bool; 3],
        /// A replica whose word counted was made a new one.
        broken: bool,
    }

    impl Founding {
        fn new() -> Founding {
            Founding { disks: [1; 3], counted: [false; 3], broken: false }
        }

        fn answer(&self, id: usize, silent: bool) -> (ReplicaId, Option<Answer>) {
            let past = [Past::Blank, Past::Formatted, Past::Started][usize::from(self.disks[id] - 1)];
            let number = u8::try_from(id).unwrap();
            (ReplicaId::new(number), (!silent).then_some(Answer { past, replicas: 3 }))
        }

        fn successors(&self) -> Vec<Founding> {
            let mut next = Vec::new();
            for id in 0..3 {
                let others = [(id + 1) % 3, (id + 2) % 3];
                let (_, own) = self.answer(id, false);
                for silent in 0..4 {
                    let answers =
                        [self.answer(others[0], silent & 1 > 0), self.answer(others[1], silent & 2 > 0)];
                    let mut state = self.clone();
                    match decide(own.unwrap().past, true, &answers) {
                        Decision::Format => {
                            state.broken |= self.counted[id];
                            state.disks[id] = 2;
                        }
                        Decision::Run => state.disks[id] = 3,
                        Decision::WaitFor(_) | Decision::Refuse(_) => continue,
                    }
                    state.count();
                    next.push(state);
                }
                let mut lost = self.clone();
                lost.disks[id] = 1;
                // With the last disk that knows of it, whatever was committed is gone.
                if (0..3).all(|id| !lost.counted[id] || lost.disks[id] == 1) {
                    lost.counted = [false; 3];
                }
                next.push(lost);
            }
            next
        }

        /// Two that run are a quorum of three, and may commit.
        fn count(&mut self) {
            let running: Vec<usize> = (0..3).filter(|id| self.disks[*id] == 3).collect();
            if running.len() >= 2 {
                running.into_iter().for_each(|id| self.counted[id] = true);
            }
        }
    }
}
