//! `cargo run --release -p models -- --help`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use models::cluster::PROPERTIES;
use models::search::{Budget, End, Report};
use models::suite::{Case, Evidence, Expectation, SUITE, Size, Subject};

/// Every execution of small clusters, up to a bound.
///
/// Without arguments: the models of the gate, each to its end.
#[derive(Parser)]
struct Arguments {
    /// The larger models, too.
    #[arg(long)]
    nightly: bool,
    /// Only this model; several, separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    model: Vec<String>,
    /// Minutes that a single model may take.
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    budget: u64,
    /// Gigabytes that the process may take.
    #[arg(long, value_name = "GIGABYTES", default_value_t = 4)]
    memory: u64,
    /// Tell how each planted or published mistake does its damage.
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cases = match chosen(&arguments) {
        Ok(cases) => cases,
        Err(unknown) => {
            let names: Vec<&str> = SUITE.iter().map(|case| case.name).collect();
            eprintln!("there is no model {unknown}; the models are {}", names.join(", "));
            return ExitCode::FAILURE;
        }
    };
    let budget = Budget { time: Duration::from_secs(60 * arguments.budget), memory: arguments.memory << 30 };
    println!("of our rules, in every state of every model:");
    for property in PROPERTIES {
        println!("  {property}");
    }
    println!(
        "{:<26} {:>11} {:>12} {:>5} {:>8}  outcome",
        "model", "states", "transitions", "depth", "seconds"
    );
    let begin = Instant::now();
    let mut tally = Tally::default();
    for case in cases {
        tally.check(case, budget, arguments.verbose);
    }
    println!("{:.1} s", begin.elapsed().as_secs_f64());
    tally.finish()
}

fn chosen(arguments: &Arguments) -> Result<Vec<&'static Case>, String> {
    if arguments.model.is_empty() {
        return Ok(SUITE.iter().filter(|case| arguments.nightly || case.size == Size::Small).collect());
    }
    let find = |name: &String| SUITE.iter().find(|case| case.name == name).ok_or_else(|| name.clone());
    arguments.model.iter().map(find).collect()
}

#[derive(Default)]
struct Tally {
    checked: u32,
    violations: u32,
    /// Expected to hold, and not searched to the end although it should have been.
    unfinished: u32,
    /// Not one replica with a lost disk came back, so nothing was tried.
    vacuous: u32,
    mistakes: u32,
    mistakes_found: u32,
}

impl Tally {
    fn check(&mut self, case: &Case, budget: Budget, verbose: bool) {
        let (report, evidence) = case.run(budget);
        println!("{}", line(case, &report, &evidence));
        for replica in case.never_readmitted(&report.end, &evidence) {
            println!("    r{replica} was never readmitted: this search has proven nothing about it");
            self.vacuous += 1;
        }
        let met = case.is_met_by(&report.end);
        match case.expectation {
            Expectation::Violated => {
                self.mistakes += 1;
                self.mistakes_found += u32::from(met);
            }
            Expectation::Holds => {
                self.checked += 1;
                self.violations += u32::from(matches!(report.end, End::Violation { .. }));
                self.unfinished += u32::from(!met && matches!(report.end, End::Bound(_)));
            }
        }
        if let End::Violation { what, story } = &report.end
            && (verbose || !met)
        {
            for step in story {
                println!("    {step}");
            }
            println!("    {what}");
        }
    }

    fn finish(&self) -> ExitCode {
        let Tally { checked, violations, unfinished, vacuous, mistakes, mistakes_found } = self;
        if *unfinished > 0 {
            println!("{unfinished} models were not searched to the end: give them a larger budget");
        }
        println!("{mistakes_found} of {mistakes} published or planted mistakes found");
        println!("{checked} models checked, {violations} violations");
        if *violations == 0 && *unfinished == 0 && *vacuous == 0 && mistakes_found == mistakes {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn line(case: &Case, report: &Report, evidence: &Evidence) -> String {
    let outcome = match (&report.end, case.expectation) {
        (End::Exhausted, Expectation::Holds) => "holds".to_string(),
        (End::Exhausted, Expectation::Violated) => "NOT FOUND".to_string(),
        (End::Bound(what), _) => format!("no violation until the bound of {what}"),
        (End::Violation { .. }, Expectation::Violated) => "found".to_string(),
        (End::Violation { .. }, Expectation::Holds) => "VIOLATED".to_string(),
    };
    let replicas = match case.subject {
        Subject::Paper(_) => String::new(),
        _ => format!(" ({} different replicas)", evidence.replicas),
    };
    format!(
        "{:<26} {:>11} {:>12} {:>5} {:>8.1}  {outcome}: {}{replicas}",
        case.name,
        report.states,
        report.transitions,
        report.depth,
        report.elapsed.as_secs_f64(),
        case.about
    )
}
