//! What is in the network: a set of messages, each of which may be delivered at any later time, any
//! number of times, or never. Loss, duplication, reordering, and delay beyond the sender's crash
//! need no actions of their own.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::message::{Body, Message};
use protocol::types::{Checksum, Nonce, Op, Peer, ReplicaId, View};

use super::Facts;

/// The number of a message, the same for equal ones.
pub(super) type MailId = u16;

/// What decides whether a message can still have an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Prepare {
        view: View,
        commit: Op,
        op: Op,
        name: Checksum,
    },
    PrepareOk {
        view: View,
        op: Op,
    },
    Vote(View),
    StartView {
        view: View,
        commit: Op,
    },
    /// An answer to a question.
    ToldView {
        nonce: Nonce,
    },
    Challenge {
        nonce: Nonce,
        challenge: Nonce,
    },
    Answer {
        nonce: Nonce,
        challenge: Nonce,
    },
    Granted {
        nonce: Nonce,
    },
    /// Changes nothing where it arrives but brings an answer, and is asked again: delivered at once,
    /// or never.
    Question,
    /// A heartbeat, delivered at once or never.
    Beat,
    /// Not modelled: wishes (see `leave_for`), confirmations of heartbeats, what clients get.
    Ignored,
    /// Answers to repair, which the model itself gives.
    Repair,
}

pub(super) struct Mail {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) message: Message,
    pub(super) kind: Kind,
}

#[derive(Default)]
pub(super) struct Post {
    known: Vec<Mail>,
    numbers: HashMap<(usize, Bytes), MailId>,
}

impl Post {
    pub(super) fn get(&self, id: MailId) -> &Mail {
        &self.known[usize::from(id)]
    }

    /// The number of a message to a replica; none if the model does not carry it.
    pub(super) fn number(&mut self, to: Peer, message: Message) -> Option<MailId> {
        let (Peer::Replica(to), Peer::Replica(from)) = (to, message.from) else { return None };
        let kind = kind_of(&message);
        if kind == Kind::Ignored {
            return None;
        }
        let key = (to.index(), message.encode());
        if let Some(id) = self.numbers.get(&key) {
            return Some(*id);
        }
        let id = MailId::try_from(self.known.len()).expect("a small cluster does not say that much");
        self.known.push(Mail { from: from.index(), to: to.index(), message, kind });
        self.numbers.insert(key, id);
        Some(id)
    }
}

fn kind_of(message: &Message) -> Kind {
    let view = message.view;
    match &message.body {
        Body::Prepare { entry, commit } => {
            Kind::Prepare { view, commit: *commit, op: entry.op(), name: entry.name }
        }
        Body::PrepareOk { op, .. } => Kind::PrepareOk { view, op: *op },
        Body::DoViewChange(vote) => Kind::Vote(vote.view),
        Body::StartView(start) => match start.nonce {
            Some(nonce) => Kind::ToldView { nonce },
            None => Kind::StartView { view, commit: start.commit },
        },
        Body::RejoinChallenge { nonce, challenge } => {
            Kind::Challenge { nonce: *nonce, challenge: *challenge }
        }
        Body::RejoinAnswer { nonce, challenge } => Kind::Answer { nonce: *nonce, challenge: *challenge },
        Body::RejoinGranted { nonce, .. } => Kind::Granted { nonce: *nonce },
        Body::Commit { .. } => Kind::Beat,
        Body::GetView { .. } | Body::RejoinAsk { .. } | Body::GetHeaders { .. } | Body::GetEntry { .. } => {
            Kind::Question
        }
        Body::Headers { .. } | Body::RepairedEntry { .. } => Kind::Repair,
        _ => Kind::Ignored,
    }
}

/// Whether a message can never have an effect again: it is then taken out of the network, so that
/// states which differ in nothing else are one. `settled` tells that the receiver's disk is its last
/// one, so that its views only rise.
pub(super) fn is_dead(mail: &Mail, to: &Facts, from: &Facts, settled: bool) -> bool {
    let sender = ReplicaId::new(u8::try_from(mail.from).expect("three replicas"));
    let receiver = ReplicaId::new(u8::try_from(mail.to).expect("three replicas"));
    match mail.kind {
        Kind::Prepare { view, commit, op, name } => {
            let index = usize::try_from(op.get() - 1).expect("logs are short");
            let here = to.durable_log_view == view && to.durable.get(index) == Some(&name);
            settled && (to.durable_view > view || (here && commit == Op::ZERO))
        }
        // Nobody leads a view twice.
        Kind::PrepareOk { view, op } => {
            let counts = to.acknowledged.filter(|_| to.view == view);
            settled && counts.is_none_or(|counted| counted[mail.from] >= op)
        }
        Kind::Vote(view) => settled && (to.durable_view > view || to.durable_log_view >= view),
        Kind::StartView { view, commit } => {
            settled && (to.durable_view > view || (to.durable_log_view >= view && commit == Op::ZERO))
        }
        // A nonce is used for one question, so the same number may be used for the next one.
        Kind::ToldView { nonce } => to.asked_view != Some(nonce),
        Kind::Challenge { nonce, challenge } => {
            to.awaits_grant != Some(nonce) || !from.challenges.contains(&(receiver, nonce, challenge))
        }
        Kind::Answer { nonce, challenge } => !to.challenges.contains(&(sender, nonce, challenge)),
        Kind::Granted { nonce } => to.awaits_grant != Some(nonce),
        Kind::Question | Kind::Beat | Kind::Ignored | Kind::Repair => true,
    }
}
