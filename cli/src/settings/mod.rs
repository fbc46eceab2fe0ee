//! Settings. Each has one name in three places: `--peers`, `VIEWSTONE_PEERS`, and `peers` in the file.
//! A flag beats the environment, the environment beats the file.
//!
//! In reading order: the table of all settings (`table`), where a value comes from (`sources`), the
//! file (`file`), what a text means (`values`), and what each command takes (`groups`).

mod file;
mod groups;
mod sources;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use groups::{Cluster, Listening, Logging, S3, Seat};
pub(crate) use sources::{SettingError, Sources};
pub(crate) use table::Setting;
pub(crate) use values::{LogFormat, Reserve, size};
