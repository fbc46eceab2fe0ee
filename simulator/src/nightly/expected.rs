//! The list of what seeds must reach.

use super::{Expected, chance, mark};

pub const EXPECTED: &[Expected] = &[
    mark("AbdicatedUnheard", 100, "a_deaf_primary_gives_up"),
    chance("view change during a checkpoint", 100),
];
