//! Plants bugs, if this program was built with any.

use protocol::canary::Canary;

/// Whether bugs can be planted.
pub const AVAILABLE: bool = cfg!(feature = "canaries");

/// Runs something on this thread with a bug planted, or with none, and restores what was before.
pub fn with<R>(canary: Option<Canary>, run: impl FnOnce() -> R) -> R {
    let before = Canary::ALL.into_iter().find(|canary| protocol::canary::planted(*canary));
    plant(canary);
    let _restore = Restore(before);
    run()
}

/// Restores upon a panic, too: the thread goes on to other seeds.
struct Restore(Option<Canary>);

impl Drop for Restore {
    fn drop(&mut self) {
        plant(self.0);
    }
}

#[cfg(feature = "canaries")]
fn plant(canary: Option<Canary>) {
    protocol::canary::plant(canary);
}

#[cfg(not(feature = "canaries"))]
fn plant(canary: Option<Canary>) {
    assert_eq!(canary, None, "built without the feature `canaries`");
}
