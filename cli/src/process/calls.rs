//! What others ask of this replica on streams of their own.

use std::sync::Arc;

use bytes::Bytes;
use protocol::data::message::{DataBody, DataRefusal};
use tokio::sync::mpsc;
use transport::IncomingCall;

use super::Shared;

pub(super) async fn serve(shared: Arc<Shared>, mut calls: mpsc::Receiver<IncomingCall>) {
    while let Some(IncomingCall { from, body, responder, .. }) = calls.recv().await {
        match body {
            DataBody::Introduce { .. } => {
                let replicas = shared.status().replicas;
                responder.answer(DataBody::Introduced { past: shared.past(), replicas });
            }
            DataBody::GetStatus => {
                let json = serde_json::to_vec(&shared.status()).expect("numbers and texts have a JSON form");
                responder.answer(DataBody::Status { json: Bytes::from(json) });
            }
            body => match shared.data() {
                Some(data) => data.call(from, body, Box::new(|answer| responder.answer(answer))),
                None => responder.answer(DataBody::Refused { why: DataRefusal::NotReady }),
            },
        }
    }
}
