//! How slowly a client may send a body. What is kept for a body is kept from others: a client that sent a byte
//! now and then could keep it for ever.
//!
//! Only the time counts that is spent waiting for the client. However long the cluster takes to store what has
//! come, it is not held against who sent it.

use std::time::Duration;

/// Whoever sends nothing at all for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// So many bytes at least have to come in each `STRETCH` that is waited for them.
const STRETCH_BYTES: u64 = 64 << 10;
const STRETCH: Duration = Duration::from_secs(60);

/// For all of a body that is no longer than a stretch, and for a document. Those cannot show that they make
/// progress, and the slowest line has brought them by then.
const WHOLE: Duration = Duration::from_secs(120);

/// How long the body of one request may still let us wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) silence: Duration,
    left: Duration,
    /// Since the last stretch. None: the body is waited for as a whole.
    come: Option<u64>,
}

impl Pace {
    /// `length`: of the body, if it is known.
    pub(super) fn of_body(length: Option<u64>) -> Pace {
        match length {
            Some(length) if length <= STRETCH_BYTES => Pace::of_document(),
            _ => Pace { silence: SILENCE, left: STRETCH, come: Some(0) },
        }
    }

    pub(super) fn of_document() -> Pace {
        Pace { silence: SILENCE, left: WHOLE, come: None }
    }

    /// How long the next bytes are waited for.
    pub(super) fn patience(&self) -> Duration {
        self.left.min(self.silence)
    }

    /// So many bytes came after so long a time.
    pub(super) fn on_bytes(&mut self, count: usize, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
        let Some(come) = &mut self.come else { return };
        *come += count as u64;
        if *come >= STRETCH_BYTES {
            *come = 0;
            self.left = STRETCH;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// For how long a client is waited for that sends so many bytes every so many seconds. None: it may go
    /// on like that for ever.
    fn given_up_after(mut pace: Pace, bytes: usize, seconds: u32) -> Option<Duration> {
        let mut passed = Duration::ZERO;
        for _ in 0..1000 {
            let patience = pace.patience();
            if patience < SECOND * seconds {
                return Some(passed + patience);
            }
            passed += SECOND * seconds;
            pace.on_bytes(bytes, SECOND * seconds);
        }
        None
    }

    #[test]
    fn a_byte_now_and_then_is_no_upload_and_a_slow_line_is_one() {
        for length in [None, Some(64 << 20)] {
            assert_eq!(given_up_after(Pace::of_body(length), 0, 31), Some(SILENCE));
            assert_eq!(given_up_after(Pace::of_body(length), 1, 25), Some(STRETCH));
            assert_eq!(given_up_after(Pace::of_body(length), 1000, 1), Some(STRETCH));
            assert_eq!(given_up_after(Pace::of_body(length), 1200, 1), None);
            assert_eq!(given_up_after(Pace::of_body(length), 64 << 10, 29), None);
        }
        assert_eq!(given_up_after(Pace::of_body(Some(1000)), 1, 1), Some(WHOLE));
        assert_eq!(given_up_after(Pace::of_document(), 64 << 10, 1), Some(WHOLE));
    }

    /// The cluster may be as slow as it likes.
    #[test]
    fn who_was_not_waited_for_has_not_been_slow() {
        let mut pace = Pace::of_body(None);
        for _ in 0..1000 {
            pace.on_bytes(100, Duration::ZERO);
        }
        assert_eq!(pace.patience(), SILENCE);
    }
}
