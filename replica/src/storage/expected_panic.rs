//! Panics that are expected, because somebody else's code has no other way to say that a file is bad.
//!
//! A process that ends upon every panic must tell these from its own: its hook asks `is_expected`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether a panic of this thread would be caught and understood.
pub fn is_expected() -> bool {
    DEPTH.get() > 0
}

/// None if `work` panicked. What it worked on must not be used any more.
pub fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_expected_inside_and_nowhere_else() {
        assert!(!is_expected());
        assert_eq!(catch(is_expected), Some(true));
        assert_eq!(catch(|| panic!("this is caught")), None::<()>);
        assert!(!is_expected());
        let elsewhere = catch(|| std::thread::spawn(is_expected).join().unwrap());
        assert_eq!(elsewhere, Some(false));
    }
}
