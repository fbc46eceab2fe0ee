//! What the answers of all replicas say together.

use protocol::quorums::Quorums;

use super::document::{DataStatus, Health, ReplicaStatus};
use super::table::size;

/// What became of asking one replica.
pub(crate) struct Reported<'a> {
    pub(crate) place: &'a str,
    /// Or why there is no answer.
    pub(crate) answer: Result<ReplicaStatus, String>,
}

/// What the exit status says, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Healthy = 0,
    /// It serves, and somebody should look.
    Degraded = 1,
    /// Nothing can be committed.
    NoQuorum = 2,
}

impl Condition {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Condition::Healthy => "healthy",
            Condition::Degraded => "degraded",
            Condition::NoQuorum => "no-quorum",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) condition: Condition,
    /// One line for a tired person.
    pub(crate) summary: String,
    /// The newest that anybody knows to be committed.
    pub(crate) commit: u64,
}

/// Clocks that differ by more make requests fail that were signed by the other clock.
const CLOCK_DIFFERENCE_MAX_MICROS: u64 = 60_000_000;

/// Replicas further behind than this are catching up, not following.
const LAG_OPS_MAX: u64 = 64;

impl Judgement {
    /// `now_micros` is the asker's own clock.
    pub(crate) fn of(reports: &[Reported<'_>], now_micros: u64) -> Judgement {
        let answers = || reports.iter().filter_map(|report| report.answer.as_ref().ok());
        let cores = || answers().filter_map(|answer| Some((answer, answer.core.as_ref()?)));
        let commit = cores().map(|(_, core)| core.commit).max().unwrap_or(0);
        let primary = cores()
            .filter(|(answer, core)| core.is_primary && answer.health == Health::Normal)
            .max_by_key(|(_, core)| core.view);
        let followers = |view: u64| {
            cores().filter(|(answer, core)| answer.health == Health::Normal && core.view == view).count()
        };
        let quorum = Quorums::of(reports.len()).replication;

        let healthy = answers().filter(|answer| is_healthy(answer, commit)).count();
        let mut parts = vec![format!("{healthy} of {} replicas healthy", reports.len())];
        let serves = primary.filter(|(_, core)| followers(core.view) >= quorum);
        match serves {
            Some((answer, _)) => parts.push(format!("primary {}", answer.replica)),
            None if cores().count() >= quorum => {
                parts.push("no primary: the replicas are about to choose one, and clients wait".to_owned());
            }
            None => parts.push(format!("no primary: nothing can be written until {quorum} replicas run")),
        }
        let concerns = concerns(reports, now_micros);
        let sound = healthy == reports.len() && concerns.iter().all(|concern| !concern.is_alarming);
        parts.extend(concerns.into_iter().map(|concern| concern.words));
        let condition = match (serves, sound) {
            (None, _) => Condition::NoQuorum,
            (Some(_), false) => Condition::Degraded,
            (Some(_), true) => Condition::Healthy,
        };
        Judgement { condition, summary: parts.join(", "), commit }
    }
}

fn is_healthy(answer: &ReplicaStatus, commit: u64) -> bool {
    let near = |applied: u64| commit.saturating_sub(applied) <= LAG_OPS_MAX;
    answer.health == Health::Normal
        && answer.ready
        && answer.core.as_ref().is_some_and(|core| near(core.applied))
}

struct Concern {
    words: String,
    is_alarming: bool,
}

fn concerns(reports: &[Reported<'_>], now_micros: u64) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let answers = || reports.iter().filter_map(|report| report.answer.as_ref().ok());
    let alarm = |words: String| Concern { words, is_alarming: true };
    for (number, _) in (0..).zip(reports).filter(|(_, report)| report.answer.is_err()) {
        let number: usize = number;
        concerns.push(alarm(format!("replica {number} does not answer")));
    }
    for answer in answers().filter(|answer| !answer.waiting_for.is_empty()) {
        let names: Vec<String> = answer.waiting_for.iter().map(u8::to_string).collect();
        concerns.push(alarm(format!("replica {} waits for {}", answer.replica, names.join(" and "))));
    }
    for answer in answers().filter(|answer| usize::from(answer.replicas) != reports.len()) {
        concerns.push(alarm(format!(
            "replica {} believes in a cluster of {}, not {}",
            answer.replica,
            answer.replicas,
            reports.len()
        )));
    }
    let data: Vec<&DataStatus> = answers().filter_map(|answer| answer.data.as_ref()).collect();
    // Whoever does not answer, or has only begun, may lack something and cannot say so.
    let all_know = answers().filter(|answer| answer.ready).count() == reports.len();
    if all_know && data.iter().all(|data| data.is_whole()) {
        concerns.push(Concern { words: "no debt".to_owned(), is_alarming: false });
    }
    let mut owed = |count: fn(&DataStatus) -> u64, words: fn(u64) -> String| {
        let sum = data.iter().map(|data| count(data)).sum();
        if sum > 0 {
            concerns.push(alarm(words(sum)));
        }
    };
    owed(|data| data.debts, |debts| format!("{debts} bodies lack copies"));
    owed(|data| data.bytes_to_rebuild, |bytes| format!("{} still to be copied", size(bytes)));
    owed(|data| data.chunks_damaged, |chunks| format!("{chunks} damaged chunks to be replaced"));
    owed(|data| data.chunks_lost, |chunks| format!("{chunks} CHUNKS LOST: no replica has a sound copy"));
    for answer in answers() {
        if answer.core.as_ref().is_some_and(|core| core.refuses_growth) {
            let replica = answer.replica;
            concerns.push(alarm(format!(
                "the disk of replica {replica} has no room left: nothing is stored until something is deleted"
            )));
        } else if answer.disk.is_some_and(|disk| disk.available_bytes <= disk.reserve_bytes) {
            concerns.push(alarm(format!("the disk of replica {} is full", answer.replica)));
        }
        let difference = answer.clock_micros.abs_diff(now_micros);
        if difference > CLOCK_DIFFERENCE_MAX_MICROS {
            let seconds = difference / 1_000_000;
            concerns.push(alarm(format!(
                "the clock of replica {} differs from here by {seconds} s",
                answer.replica
            )));
        }
    }
    concerns
}
