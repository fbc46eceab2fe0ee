//! How the figures are told: a table for people, JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

/// One measurement. What does not apply to it is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mib_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    median_micros: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_micros: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slowest_micros: Option<f64>,
    /// Of all processes together; of a load over S3, of the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_micros_each: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds_per_gib: Option<f64>,
    /// Requests that had to be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<usize>,
    #[serde(skip)]
    cpu: Duration,
}

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1024.0 * MIB;

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
fn real(count: u64) -> f64 {
    count as f64
}

impl Line {
    pub(super) fn rate(name: &'static str, bytes_per_second: f64) -> Line {
        Line { name, mib_per_second: Some(bytes_per_second / MIB), ..Line::default() }
    }

    pub(super) fn latencies(name: &'static str, times: &[Duration]) -> Line {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = |hundredths: usize| {
            let index = (sorted.len() * hundredths / 100).min(sorted.len().saturating_sub(1));
            sorted.get(index).copied().map(micros)
        };
        Line {
            name,
            count: Some(times.len()),
            median_micros: at(50),
            p99_micros: at(99),
            slowest_micros: at(100),
            ..Line::default()
        }
    }

    pub(super) fn load(name: &'static str, times: &[Duration], elapsed: Duration, cpu: Duration) -> Line {
        let count = real(times.len() as u64);
        Line {
            seconds: Some(elapsed.as_secs_f64()),
            per_second: Some(count / elapsed.as_secs_f64()),
            cpu_micros_each: Some(micros(cpu) / count.max(1.0)),
            cpu,
            ..Line::latencies(name, times)
        }
    }

    pub(super) fn with_bytes(mut self, bytes: u64) -> Line {
        let bytes = real(bytes);
        self.mib_per_second = self.seconds.map(|seconds| bytes / MIB / seconds);
        self.cpu_seconds_per_gib = Some(self.cpu.as_secs_f64() / (bytes / GIB));
        self.cpu_micros_each = None;
        self
    }

    /// Only the rate: of small bodies, what each costs says more than what a GiB of them does.
    pub(super) fn with_small_bytes(mut self, bytes: u64) -> Line {
        self.mib_per_second = self.seconds.map(|seconds| real(bytes) / MIB / seconds);
        self
    }

    /// Nobody knows how much of it is this line's.
    pub(super) fn without_cpu(mut self) -> Line {
        (self.cpu_micros_each, self.cpu_seconds_per_gib) = (None, None);
        self
    }

    pub(super) fn set_retries(&mut self, retries: usize) {
        self.retries = Some(retries);
    }
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(crate) fn draw(&self) -> String {
        let mut out = format!(
            "{:<42} {:>8} {:>10} {:>9} {:>10} {:>10} {:>10} {:>9} {:>9}\n",
            "", "count", "per s", "MiB/s", "median µs", "p99 µs", "max µs", "CPU µs", "CPU s/GiB"
        );
        for line in &self.lines {
            let whole =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
            let fine =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            let count = line.count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let _ = writeln!(
                out,
                "{:<42} {:>8} {:>10} {:>9} {:>10} {:>10} {:>10} {:>9} {:>9}",
                line.name,
                count,
                whole(line.per_second),
                whole(line.mib_per_second),
                whole(line.median_micros),
                whole(line.p99_micros),
                whole(line.slowest_micros),
                whole(line.cpu_micros_each),
                fine(line.cpu_seconds_per_gib),
            );
        }
        for line in self.lines.iter().filter(|line| line.retries.is_some_and(|retries| retries > 0)) {
            let _ = writeln!(out, "{} requests had to be sent again", line.retries.unwrap_or(0));
        }
        out
    }

    pub(crate) fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers and names have a JSON form");
        format!("{json}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        let line = Line::latencies("times", &times);
        assert_eq!(line.median_micros, Some(51.0));
        assert_eq!(line.p99_micros, Some(100.0));
        assert_eq!(Line::latencies("none", &[]).median_micros, None);
    }

    #[test]
    fn processor_time_is_told_for_each_and_for_each_gibibyte() {
        let times = [Duration::from_millis(1); 4];
        let line = Line::load("load", &times, Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!((line.per_second, line.cpu_micros_each), (Some(2.0), Some(250_000.0)));
        let bulk = line.with_bytes(2 << 30);
        assert_eq!((bulk.mib_per_second, bulk.cpu_seconds_per_gib), (Some(1024.0), Some(0.5)));
    }
}
