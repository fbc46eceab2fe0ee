//! What is looked at beside what happens: rules that a single step may break, and coincidences.

use protocol::entry::{Entry, Operation, Request};
use protocol::machine::Machine as _;
use protocol::message::{Body, Message};
use protocol::tables::ReplicaTables as _;
use protocol::types::{Peer, Room};
use protocol::vsr::{Event as CoreEvent, StatusName};

use super::World;
use crate::node::Core;

impl World {
    /// What happens at the same time as something else: where two parts of the protocol meet.
    pub(super) fn notice_coincidence(&mut self, machine: usize, event: CoreEvent) {
        let among = |status| {
            let cores = self.machines.iter().filter_map(|machine| machine.process.as_ref());
            cores.filter(|process| process.core.status() == status).count() > 0
        };
        let process = self.machines[machine].process.as_ref().expect("only processes have events");
        let checkpointing = process.core.state().tables().frozen();
        let (syncing, rejoining) = (among(StatusName::Syncing), among(StatusName::Rejoining));
        match event {
            CoreEvent::ViewChangeStarted => {
                let reached = [
                    (checkpointing, "view change during a checkpoint"),
                    (syncing, "view change while somebody syncs"),
                    (rejoining, "view change while somebody rejoins"),
                ];
                for (_, mark) in reached.iter().filter(|(reached, _)| *reached) {
                    self.coverage.mark(*mark);
                }
            }
            CoreEvent::EntryRepaired if checkpointing => self.coverage.mark("repair during a checkpoint"),
            CoreEvent::SyncStarted if rejoining => self.coverage.mark("sync while somebody rejoins"),
            _ => {}
        }
    }
}

/// A primary whose own disk is full must not give what grows a place in the log.
pub(super) fn check_room(core: &Core, entry: &Entry) -> Result<(), String> {
    let prepared = core.is_primary() && core.head() == (entry.op(), entry.name);
    if !prepared || core.room() < Room::Scarce || entry.header.view != core.view() {
        return Ok(());
    }
    let requests = entry.requests().map_err(|error| format!("op {} was prepared: {error}", entry.op()))?;
    let grows = |request: &Request| match &request.operation {
        Operation::Machine(operation) => core.state().machine().grows(operation),
        _ => false,
    };
    match requests.iter().any(grows) {
        true => Err(format!("op {} grows, and was prepared while the disk was full", entry.op())),
        false => Ok(()),
    }
}

/// Whether a message testifies for a disk of which the receiver knows that it was replaced.
pub(super) fn is_void(core: &Core, message: &Message) -> bool {
    let Peer::Replica(from) = message.from else { return false };
    let testifies = matches!(
        message.body,
        Body::PrepareOk { .. } | Body::CommitOk { .. } | Body::DoViewChange(_) | Body::CheckpointRoot { .. }
    );
    testifies && message.incarnation < core.state().incarnations()[from.index()]
}
