use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::auth::signature::BodyAuth;
use crate::body::testing::{Piece, pipe};
use crate::body::{Algorithm, MEMORY_BYTES};

const MIB: usize = 1 << 20;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn payload(body: Body, length: Option<usize>) -> Payload {
    let mut headers = HeaderMap::new();
    if let Some(length) = length {
        headers.insert("content-length", HeaderValue::from(length));
    }
    let mut payload = Payload::new(body, BodyAuth::Unsigned, &headers).unwrap();
    payload.want(Algorithm::DEFAULT);
    payload
}

/// As `store` does it, but what takes the chunks holds each for a while and lets it go.
async fn send(
    mut payload: Payload,
    budget: &MemoryBudget,
    chunks: mpsc::Sender<Bytes>,
) -> S3Result<Digested> {
    check_length(&payload)?;
    let beginning = match read_small(&mut payload, budget).await? {
        Small::Whole { bytes, .. } => {
            chunks.send(bytes.into()).await.unwrap();
            return payload.finish();
        }
        Small::Beginning(bytes) => bytes,
    };
    let mut filled = Chunks::begin(payload, budget, beginning).await?;
    while let Some(chunk) = filled.next().await? {
        chunks.send(chunk).await.unwrap();
    }
    let (last, digested) = filled.finish().await?;
    chunks.send(last).await.unwrap();
    Ok(digested)
}

/// The chunks of a body.
fn chunks_of(body: Body, length: Option<usize>, budget: &MemoryBudget) -> S3Result<(Vec<Bytes>, Digested)> {
    block_on(async {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        let collect = async {
            let mut chunks = Vec::new();
            while let Some(chunk) = receiver.recv().await {
                // A copy, which costs the budget nothing.
                chunks.push(Bytes::copy_from_slice(&chunk));
            }
            chunks
        };
        let (sent, chunks) = tokio::join!(send(payload(body, length), budget, sender), collect);
        Ok((chunks, sent?))
    })
}

#[test]
fn a_body_becomes_chunks_of_one_size_and_a_last_one() {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    for (length, sizes) in [
        (0, &[0][..]),
        (1, &[1]),
        (16 << 10, &[16 << 10]),
        ((16 << 10) + 1, &[(16 << 10) + 1]),
        (4 * MIB, &[4 * MIB]),
        (4 * MIB + 1, &[4 * MIB, 1]),
        (8 * MIB, &[4 * MIB, 4 * MIB]),
    ] {
        let body = vec![5; length];
        let (chunks, digested) = chunks_of(Body::from(body.clone()), Some(length), &budget).unwrap();
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), sizes, "{length}");
        assert_eq!(digested.length, length as u64);
        // Of unknown length the chunks may be others.
        if length > 0 {
            let (chunks, _) = chunks_of(Body::from(body.clone()), None, &budget).unwrap();
            assert_eq!(chunks.concat(), body);
        }
    }
    assert_eq!(budget.usage().0, 0);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    let (_sender, body) = pipe();
    let refused = chunks_of(body, Some((5 << 30) + 1), &budget).unwrap_err();
    assert_eq!(refused.code, ErrorCode::EntityTooLarge);
    assert!(refused.details.contains(&("ProposedSize", "5368709121".into())));
}

/// Nothing of it is stored: the last chunk never leaves, and without it there is no operation.
#[test]
fn a_body_that_breaks_off_has_no_last_chunk() {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    for length in [None, Some(6 * MIB)] {
        let (sender, body) = pipe();
        sender.send(Ok(vec![1; 5 * MIB].into())).unwrap();
        sender.send(Err("the client is gone")).unwrap();
        let refused = chunks_of(body, length, &budget).unwrap_err();
        assert_eq!(refused.code, ErrorCode::IncompleteBody);
        assert_eq!(budget.usage().0, 0);
    }
}

/// Sends some and then nothing more: the worst that a slow client can do.
fn stalled(bytes: usize) -> (mpsc::UnboundedSender<Piece>, Body) {
    let (sender, body) = pipe();
    sender.send(Ok(vec![2; bytes].into())).unwrap();
    (sender, body)
}

/// 64 clients have sent something of their 64 MiB and send nothing more. A quick one does not notice.
#[test]
fn slow_clients_do_not_hold_up_a_quick_one() {
    let budget = Arc::new(MemoryBudget::new(MEMORY_BYTES));
    block_on(async {
        let mut slow = Vec::new();
        for index in 0..64 {
            let (sender, body) = stalled(100_000 + 300_000 * (index % 40));
            let (chunks, mut held) = mpsc::channel::<Bytes>(1);
            let budget = budget.clone();
            let task = tokio::spawn(async move {
                let payload = payload(body, Some(64 * MIB));
                // Stored at once.
                let store = async { while held.recv().await.is_some() {} };
                tokio::join!(send(payload, &budget, chunks), store).0
            });
            slow.push((sender, task));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;

        let (chunks, mut held) = mpsc::channel::<Bytes>(4);
        let store = async {
            let mut length = 0;
            while let Some(chunk) = held.recv().await {
                let (used, most) = budget.usage();
                assert!(used <= most);
                length += chunk.len();
                tokio::task::yield_now().await;
            }
            length
        };
        let quick = send(payload(Body::from(vec![3; 64 * MIB]), Some(64 * MIB)), &budget, chunks);
        let both = async { tokio::join!(quick, store) };
        let (digested, length) = tokio::time::timeout(Duration::from_secs(5), both).await.expect("in time");
        assert_eq!((digested.unwrap().length, length), (64 << 20, 64 * MIB));
        for (_, task) in &slow {
            assert!(!task.is_finished());
        }
        for (sender, task) in slow {
            drop(sender);
            assert_eq!(task.await.unwrap().unwrap_err().code, ErrorCode::IncompleteBody);
        }
        assert_eq!(budget.usage().0, 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever the pieces in which it comes, nothing is lost, doubled or out of order.
    #[test]
    fn chunks_are_the_body(
        sizes in prop::collection::vec(prop_oneof![0..100_usize, 0..40_000_usize, 0..3_000_000_usize], 0..8),
        is_known in any::<bool>(),
    ) {
        let whole: Vec<u8> = (0..251).cycle().take(sizes.iter().sum()).collect();
        let (sender, body) = pipe();
        let mut rest = Bytes::from(whole.clone());
        for size in sizes {
            sender.send(Ok(rest.split_to(size))).unwrap();
        }
        drop(sender);
        let budget = MemoryBudget::new(MEMORY_BYTES);
        let (chunks, digested) = chunks_of(body, is_known.then_some(whole.len()), &budget).unwrap();
        prop_assert_eq!(digested.length, whole.len() as u64);
        let (last, full) = chunks.split_last().unwrap();
        if let Some(first) = full.first() {
            prop_assert!(full.iter().all(|chunk| chunk.len() == first.len()));
            prop_assert!(last.len() <= first.len() && !last.is_empty());
        }
        prop_assert!(chunks.concat() == whole);
    }
}
