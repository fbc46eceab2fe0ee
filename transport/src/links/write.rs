//! From a queue onto a stream.

use std::sync::Arc;

use bytes::Bytes;
use protocol::message::Class;
use quinn::{Connection, SendStream, WriteError};

use super::queue::Outbox;
use super::{close, preface};

/// Small messages that wait together leave together: one write, and few datagrams.
const BATCH_BYTES: usize = 64 << 10;

/// Sends the messages of one class until the connection closes, or closes it.
pub(crate) async fn write_messages(connection: Connection, class: Class, outbox: Arc<Outbox>) {
    let mut stream = None;
    loop {
        let batch = outbox.next_batch(class, BATCH_BYTES).await;
        let mut frames: Vec<Bytes> = batch.iter().map(|message| message.frame()).collect();
        match write(&connection, &mut stream, class, &mut frames).await {
            Ok(()) => outbox.tally.sent.add(class, batch.len() as u64),
            Err(error) => {
                tracing::debug!(%error, ?class, "cannot write");
                outbox.tally.lost.add(class, batch.len() as u64);
                // Does nothing if it is closed already.
                return connection.close(close::BROKEN, b"");
            }
        }
    }
}

async fn write(
    connection: &Connection,
    stream: &mut Option<SendStream>,
    class: Class,
    frames: &mut [Bytes],
) -> Result<(), WriteError> {
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(open(connection, class).await?),
    };
    stream.write_all_chunks(frames).await
}

/// Opened when there is something to say: most peers never send anything in bulk.
async fn open(connection: &Connection, class: Class) -> Result<SendStream, WriteError> {
    let mut stream = connection.open_uni().await?;
    let priority = match class {
        Class::Control => 2,
        Class::Log => 1,
        Class::Bulk => 0,
    };
    stream.set_priority(priority).map_err(|_| WriteError::ClosedStream)?;
    stream.write_all(&preface(class)).await?;
    Ok(stream)
}
