use std::time::Duration;
use models::cluster::{Bounds, Disks, Replacement};
use models::search::{Budget, End};
use models::suite::*;
use protocol::canary::Canary;

fn main() {
    let name = std::env::args().nth(1).unwrap();
    let args: Vec<u64> = std::env::args().skip(2).map(|a| a.parse().unwrap()).collect();
    let bounds = || Bounds {
        operations: args[0] as u8,
        views: args[1] as u8,
        wipes: match args[2] { 0 => &[], 1 => &[0], 2 => &[1], 3 => &[2], 4 => &[1, 2], 5 => &[2, 2], 6=>&[0,2], 7=>&[0,0],_ => &[0, 2] },
        crashes: args[3] > 0,
        disks: if args[4] > 0 { Disks::Later } else { Disks::AtOnce },
        replacement: if args[5] > 0 {Replacement::Blank} else {Replacement::Amnesiac},
    };
    let secs = *args.last().unwrap();
    let subject = match name.as_str() {
        "core" => Subject::Core(bounds()),
        "paper" => Subject::Paper(models::paper::Bounds { operations: args[0] as u8, views: args[1] as u8, wipes: if args[2]>0 {&[1,2]} else {&[]}, truncating_transfer: args[3] > 0 }),
        n => Subject::Planted(Canary::ALL.into_iter().find(|c| format!("{c:?}") == n).unwrap(), bounds()),
    };
    let case = Case { name: "", about: "", subject, expectation: Expectation::Holds, size: Size::Large };
    let (report, seen) = case.run(Budget { time: Duration::from_secs(secs), memory: 7 << 30 });
    println!("{name} {args:?} {} states {} transitions depth {} {:?} replicas {seen:?}", report.states, report.transitions, report.depth, report.elapsed);
    match report.end {
        End::Violation { what, story } => { for line in story { println!("{line}"); } println!("{what}"); }
        other => println!("{other:?}"),
    }
}
