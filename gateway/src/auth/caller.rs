//! Who asks, and what they may do.

/// Somebody who proved to have an access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub access_key: String,
    /// The canonical id: whose the things are that this caller makes.
    pub owner: String,
    pub display_name: String,
}
