//! A replica makes itself whole: what it owes it fetches, what has rotted it replaces, what is dead it
//! deletes. No I/O.
//!
//! Everything that it does follows from its own catalog, which may be late and is never wrong, and from
//! what its own disk says. Nothing that it does is needed for an answer to a client, so it never
//! hurries, except when copies are few.
//!
//! In reading order: what it is told and wants done (`settings`), the machine (`machine`), a body that is made whole
//! (`mend`), a chunk that is fetched (`pull`) and how fast (`budget`). Then the duties: `debts`,
//! `survey`, `findings`, `scrub`, `collection`, `chores`.

mod budget;
mod machine;
mod mend;
mod pull;
mod settings;

mod chores;
mod collection;
mod debts;
mod findings;
mod scrub;
mod survey;

#[cfg(test)]
mod tests;

pub use machine::Upkeep;
pub use settings::{Ask, Figures, Mark, Proposal, UpkeepOutput, UpkeepSettings};
