//! The cluster as a table.

use super::document::ReplicaStatus;
use super::judgement::{Judgement, Reported};
use crate::table;

const HEADINGS: [&str; 13] = [
    "replica",
    "address",
    "health",
    "",
    "view",
    "head/commit",
    "checkpoint",
    "lag",
    "disk used",
    "free",
    "debt",
    "unscrubbed",
    "version",
];

/// A line for each replica, and the summary below.
pub(crate) fn draw(reports: &[Reported<'_>], judgement: &Judgement) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for (number, report) in reports.iter().enumerate() {
        rows.push(match &report.answer {
            Ok(answer) => row(answer, report.place, judgement.commit),
            Err(_) => unreachable_row(number, report.place),
        });
    }
    let mut out = table::draw(&rows);
    for (number, report) in reports.iter().enumerate() {
        if let Err(why) = &report.answer {
            out.push_str(&format!("\nreplica {number} at {}: {why}", report.place));
        }
    }
    out.push_str(&format!("\n{}\n", judgement.summary));
    out
}

fn unreachable_row(number: usize, place: &str) -> [String; HEADINGS.len()] {
    let mut row: [String; HEADINGS.len()] = std::array::from_fn(|_| "-".to_owned());
    row[0] = number.to_string();
    row[1] = place.to_owned();
    row[2] = "unreachable".to_owned();
    row[3] = String::new();
    row
}

fn row(answer: &ReplicaStatus, place: &str, commit: u64) -> [String; HEADINGS.len()] {
    let unknown = || "-".to_owned();
    let core = answer.core.as_ref();
    let data = answer.data.as_ref();
    let is_primary = core.is_some_and(|core| core.is_primary);
    [
        answer.replica.to_string(),
        place.to_owned(),
        answer.health.words().to_owned(),
        if is_primary { "primary" } else { "" }.to_owned(),
        core.map_or_else(unknown, |core| core.view.to_string()),
        core.map_or_else(unknown, |core| format!("{}/{}", core.head, core.commit)),
        core.map_or_else(unknown, |core| core.checkpoint.to_string()),
        core.map_or_else(unknown, |core| commit.saturating_sub(core.applied).to_string()),
        answer.disk.map_or_else(unknown, |disk| size(disk.used_bytes())),
        answer.disk.map_or_else(unknown, |disk| size(disk.available_bytes)),
        data.map_or_else(unknown, |data| data.chunks_missing.to_string()),
        data.map_or_else(unknown, |data| age(data.unscrubbed_seconds)),
        answer.version.clone(),
    ]
}

/// Three digits are enough to see what matters.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if unit == 0 || whole >= 100 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{tenth} {}", UNITS[unit])
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
