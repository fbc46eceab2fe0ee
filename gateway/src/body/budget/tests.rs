use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn impatient(bytes: usize) -> MemoryBudget {
    MemoryBudget { patience: Duration::from_millis(150), ..MemoryBudget::new(bytes) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn a_chunk_is_paid_for_until_nobody_holds_it() {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    block_on(async {
        let chunk = budget.send(vec![7; 1000]).await.unwrap();
        let slice = chunk.slice(10..20);
        assert_eq!(budget.usage(), (1000, MEMORY_BYTES));
        drop(chunk);
        assert_eq!(budget.usage().0, 1000);
        drop(slice);
        assert_eq!(budget.usage().0, 0);

        let place = budget.place(Some(5 * MIB)).await.unwrap();
        assert_eq!(budget.usage().0, 4 << 20);
        let last = place.send_whole(vec![7; 1000]);
        assert_eq!(budget.usage().0, 4 << 20);
        drop(last);
        assert_eq!(budget.usage().0, 0);
    });
}

#[test]
fn a_short_body_pays_for_its_length() {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    assert_eq!(budget.chunk_size(Some(100_000)), 100_000);
    assert_eq!(budget.chunk_size(Some(4 * MIB)), 4 << 20);
    assert_eq!(budget.chunk_size(Some(5 * MIB)), 4 << 20);
    assert_eq!(budget.chunk_size(Some(5 << 30)), 8 << 20);
    assert_eq!(budget.chunk_size(None), 8 << 20);
}

#[test]
fn uploads_that_begin_when_there_are_many_have_smaller_chunks() {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    block_on(async {
        let mut places = Vec::new();
        for _ in 0..100 {
            places.push(budget.place(Some(64 * MIB)).await.unwrap());
        }
        assert_eq!(places[0].chunk_size, 4 << 20);
        assert_eq!(places[99].chunk_size, 256 << 10);
        assert!(places.is_sorted_by(|a, b| a.chunk_size >= b.chunk_size));
    });
}

#[test]
fn who_waits_says_so_and_is_refused_in_the_end() {
    let budget = impatient(MEMORY_BYTES_MIN);
    block_on(async {
        let _taken = budget.place(None).await.unwrap();
        let _other = budget.place(None).await.unwrap();
        let shortage = budget.shortage();
        let noticed = shortage.notified();
        let (refused, ()) = tokio::join!(budget.place(None), noticed);
        assert_eq!(refused.err().unwrap().code, ErrorCode::SlowDown);
        // Small bodies, and chunks on their way, are other people's.
        assert!(budget.small(16 << 10).await.is_ok());
        assert!(budget.send(vec![0; 8 << 20]).await.is_ok());
    });
}

#[test]
fn who_waits_is_let_in_when_there_is_room() {
    let budget = impatient(MEMORY_BYTES_MIN);
    block_on(async {
        let taken = budget.place(None).await.unwrap();
        let _other = budget.place(None).await.unwrap();
        let free = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(taken);
        };
        let (place, ()) = tokio::join!(budget.place(None), free);
        assert!(place.is_ok());
    });
}

/// Ten clients that did not say how much they would send, and then hardly sent anything, kept out every other
/// upload and every document: nobody could delete many keys, or complete an upload.
#[test]
fn uploads_of_unknown_length_leave_room_for_others_and_for_documents() {
    let budget = impatient(MEMORY_BYTES);
    block_on(async {
        let mut places = Vec::new();
        while let Ok(place) = budget.place(None).await {
            places.push(place);
        }
        assert_eq!(places.len(), 5);
        assert!(budget.place(Some(5 << 30)).await.is_err(), "it needs large chunks, too");
        for _ in 0..40 {
            let place = budget.place(Some(64 * MIB)).await.unwrap();
            assert!(place.chunk_size <= CHUNK_SIZE_MODEST);
            places.push(place);
        }
        // Until there is no room at all.
        while let Ok(place) = budget.place(Some(300_000)).await {
            places.push(place);
        }
        assert!(budget.document(DOCUMENT_BYTES_MAX).await.is_ok());
        assert!(budget.small(16 << 10).await.is_ok());
        places.clear();
        assert_eq!(budget.usage().0, 0);
        assert_eq!(budget.place(None).await.unwrap().chunk_size, CHUNK_BYTES_MAX);
    });
}

proptest! {
    /// However little room there is.
    #[test]
    fn every_body_fits_into_its_chunks(length in 1..=5_u64 << 30, taken in 0..=MEMORY_BYTES / 11 * 5) {
        let budget = MemoryBudget::new(MEMORY_BYTES);
        let taken = u32::try_from(taken).unwrap();
        let _taken = budget.filling.try_acquire_many(taken).unwrap();
        for length in [length, length >> 10, 5 << 30] {
            let length = length.max(1);
            let chunk_size = budget.chunk_size(Some(length));
            prop_assert!(chunk_size <= CHUNK_BYTES_MAX);
            prop_assert!(u64::from(chunk_size) <= length);
            prop_assert!(length.div_ceil(u64::from(chunk_size)) <= CHUNK_COUNT_MAX as u64);
        }
    }
}
