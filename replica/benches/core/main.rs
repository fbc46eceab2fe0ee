//! What small operations cost one replica: the whole and its parts, in CPU time. docs/PERFORMANCE.md
//! says how to run this, and what came of it.

mod clients;
mod meter;
mod node;
mod parts;
mod shares;

use criterion::Criterion;

fn main() {
    // Without `--bench`, which cargo passes, this is a test that everything runs.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if only.as_deref() != Some("shares") {
        let mut criterion = Criterion::default().with_measurement(meter::CpuTime).configure_from_args();
        parts::all(&mut criterion);
        criterion.final_summary();
    }
    if only.is_none_or(|only| only == "shares") {
        shares::report(short);
    }
}
