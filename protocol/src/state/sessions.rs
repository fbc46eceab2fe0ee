//! Sessions.

#[derive(Default)]
pub struct Sessions {}
