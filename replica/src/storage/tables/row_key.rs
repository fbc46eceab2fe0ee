//! The key of a row in memory. Most keys are short, and then they are kept where they are compared.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// With the length and the variant's mark it makes 64 bytes: a line of the cache.
const INLINE_SIZE_MAX: usize = 62;

/// Looking for a row among tens of thousands compares some twenty keys, and a key that lies elsewhere
/// is a miss of the cache each time.
#[derive(Clone, Debug)]
pub(super) enum RowKey {
    Inline { size: u8, bytes: [u8; INLINE_SIZE_MAX] },
    Boxed(Box<[u8]>),
}

const _: () = assert!(size_of::<RowKey>() == 64);

impl From<&[u8]> for RowKey {
    fn from(key: &[u8]) -> RowKey {
        match u8::try_from(key.len()) {
            Ok(size) if key.len() <= INLINE_SIZE_MAX => {
                let mut bytes = [0; INLINE_SIZE_MAX];
                bytes[..key.len()].copy_from_slice(key);
                RowKey::Inline { size, bytes }
            }
            _ => RowKey::Boxed(key.into()),
        }
    }
}

impl AsRef<[u8]> for RowKey {
    fn as_ref(&self) -> &[u8] {
        match self {
            RowKey::Inline { size, bytes } => &bytes[..usize::from(*size)],
            RowKey::Boxed(key) => key,
        }
    }
}

impl Borrow<[u8]> for RowKey {
    fn borrow(&self) -> &[u8] {
        self.as_ref()
    }
}

impl PartialEq for RowKey {
    fn eq(&self, other: &RowKey) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for RowKey {}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &RowKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &RowKey) -> Ordering {
        self.as_ref().cmp(other.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_are_kept_and_ordered_like_their_bytes() {
        let mut keys: Vec<Vec<u8>> = (0..300).map(|size| vec![7; size]).collect();
        keys.extend((0..300).map(|size| [vec![7; size], vec![0]].concat()));
        keys.extend((0..300).map(|size| [vec![7; size], vec![255]].concat()));
        let mut kept: Vec<RowKey> = keys.iter().map(|key| key.as_slice().into()).collect();
        assert!(kept.iter().zip(&keys).all(|(kept, key)| kept.as_ref() == key.as_slice()));
        keys.sort();
        kept.sort();
        assert!(kept.iter().zip(&keys).all(|(kept, key)| kept.as_ref() == key.as_slice()));
    }
}
