use models::cluster::{Bounds, Cluster, Disks, Replacement};
use models::search::{Budget, End, search};
use std::time::Duration;

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let bounds = Bounds {
        operations: args[0] as u8,
        views: args[1] as u8,
        wipes: match args[2] {
            0 => &[],
            1 => &[0],
            2 => &[1],
            3 => &[2],
            4 => &[1, 2],
            5 => &[2, 2],
            _ => &[0, 2],
        },
        crashes: args[3] > 0,
        disks: if args[4] > 0 { Disks::Later } else { Disks::AtOnce },
        replacement: Replacement::Amnesiac,
    };
    let mut model = Cluster::new(bounds);
    let report = search(&mut model, Budget { time: Duration::from_secs(args[5]), memory: 6 << 30 });
    println!(
        "{bounds:?}\n{} states {} transitions depth {} {:?} replicas {}",
        report.states,
        report.transitions,
        report.depth,
        report.elapsed,
        model.replicas_seen()
    );
    match report.end {
        End::Violation { what, story } => {
            for line in story {
                println!("{line}");
            }
            println!("{what}");
        }
        other => println!("{other:?}"),
    }
}
