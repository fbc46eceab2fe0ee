//! Memory for the bytes of calls, used again and again.
//!
//! A fresh megabyte costs more than what is copied into it: an allocator gives so much back to the system as
//! soon as it can, and the system clears each page when it is touched for the first time. Where chunks come
//! in and go out all the time, that was a tenth of what a large put costs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// So much is kept at most for whoever comes next, besides what is in use.
const IDLE_BYTES_MAX: usize = 32 << 20;

/// The allocator keeps smaller ones by itself.
const POOLED_BYTES_MIN: usize = 256 << 10;

/// A place to take buffers from. Clones are the same place.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    /// The one that has waited longest is in front.
    idle: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

/// Grows to the size for which it was taken. Its memory goes back when the last share of it is gone.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty one with room for `size` bytes.
    pub(crate) fn take(&self, size: usize) -> Buffer {
        let bytes = self.reuse(size).unwrap_or_else(|| Vec::with_capacity(size));
        Buffer { bytes, home: self.clone() }
    }

    /// One that is not much larger: whoever pays for what it holds must not hold a multiple of it.
    fn reuse(&self, size: usize) -> Option<Vec<u8>> {
        if size < POOLED_BYTES_MIN {
            return None;
        }
        let mut idle = self.idle();
        let fits = |buffer: &Vec<u8>| (size..=2 * size).contains(&buffer.capacity());
        // The newest is the most likely to be in a cache.
        let index = idle.iter().rposition(fits)?;
        idle.remove(index)
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if !(POOLED_BYTES_MIN..=IDLE_BYTES_MAX).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut idle = self.idle();
        idle.push_back(buffer);
        // Of sizes that nobody wants any more none stays for ever.
        let mut held: usize = idle.iter().map(Vec::capacity).sum();
        while held > IDLE_BYTES_MAX {
            held -= idle.pop_front().map_or(0, |oldest| oldest.capacity());
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        // Whoever panicked has left buffers there, and nothing else.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    pub(crate) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn filled(buffers: &Buffers, size: usize) -> Bytes {
        let mut buffer = buffers.take(size);
        buffer.as_mut_vec().resize(size, 7);
        buffer.freeze()
    }

    #[test]
    fn memory_is_used_again_when_its_last_share_is_gone() {
        let buffers = Buffers::default();
        let bytes = filled(&buffers, 4 * MIB);
        let (place, share) = (bytes.as_ptr(), bytes.slice(MIB..2 * MIB));
        drop(bytes);
        assert!(buffers.idle().is_empty());
        assert_eq!(share[0], 7);
        drop(share);

        let mut again = buffers.take(3 * MIB);
        assert_eq!((again.as_mut_vec().as_ptr(), again.as_mut_vec().len()), (place, 0));
    }

    #[test]
    fn a_little_is_not_held_by_a_large_buffer_and_much_does_not_go_into_a_small_one() {
        let buffers = Buffers::default();
        drop(filled(&buffers, 4 * MIB));
        assert_eq!(buffers.take(MIB).as_mut_vec().capacity(), MIB);
        assert!(buffers.take(5 * MIB).as_mut_vec().capacity() >= 5 * MIB);
        assert_eq!(buffers.take(10).as_mut_vec().capacity(), 10);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let buffers = Buffers::default();
        let small = (0..4).map(|_| filled(&buffers, MIB)).collect::<Vec<_>>();
        let large = (0..8).map(|_| filled(&buffers, 4 * MIB)).collect::<Vec<_>>();
        drop(small);
        drop(large);
        let idle = buffers.idle();
        assert!(idle.iter().map(Vec::capacity).sum::<usize>() <= IDLE_BYTES_MAX);
        assert_eq!(idle.len(), 8);
        assert!(idle.iter().all(|buffer| buffer.capacity() >= 4 * MIB));
    }
}
