//! What others ask of this replica on streams of their own.

use std::sync::Arc;

use bytes::Bytes;
use protocol::data::message::{DataBody, DataRefusal};
use protocol::types::Peer;
use replica::data::Answered;
use tokio::sync::mpsc;
use transport::IncomingCall;

use super::Shared;

pub(super) async fn serve(shared: Arc<Shared>, mut calls: mpsc::Receiver<IncomingCall>) {
    while let Some(IncomingCall { from, body, responder, .. }) = calls.recv().await {
        answer(&shared, from, body, Box::new(|answer| responder.answer(answer)));
    }
}

/// Answers at once, or leaves it to the data plane.
pub(super) fn answer(shared: &Shared, from: Peer, body: DataBody, answered: Answered) {
    match body {
        DataBody::Introduce { .. } => {
            let replicas = shared.status().replicas;
            answered(DataBody::Introduced { past: shared.past(), replicas });
        }
        DataBody::GetStatus => {
            let json = serde_json::to_vec(&shared.status()).expect("numbers and texts have a JSON form");
            answered(DataBody::Status { json: Bytes::from(json) });
        }
        body => match shared.data() {
            Some(data) => data.call(from, body, answered),
            None => answered(DataBody::Refused { why: DataRefusal::NotReady }),
        },
    }
}
