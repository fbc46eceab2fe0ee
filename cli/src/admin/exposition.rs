//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

/// Text that is being put together.
#[derive(Default)]
pub(super) struct Exposition(String);

/// One metric: all its lines stand together.
pub(super) struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Exposition {
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        assert!(name.ends_with("_total"), "{name} counts something");
        self.family(name, "counter", help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let out = &mut self.0;
        write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
            .expect("a string takes what is written to it");
        Family { out, name }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(super) fn value(&mut self, value: impl Display) {
        self.line("", &[], value);
    }

    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// `buckets` hold what fell between their limit and the one before; what is above the last limit
    /// is only in `count`.
    pub(super) fn distribution(&mut self, buckets: impl Iterator<Item = (f64, u64)>, count: u64, sum: f64) {
        let mut below = 0;
        for (limit, in_bucket) in buckets {
            below += in_bucket;
            self.line("_bucket", &[("le", &limit.to_string())], below);
        }
        self.line("_bucket", &[("le", "+Inf")], count);
        self.line("_sum", &[], sum);
        self.line("_count", &[], count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let mut line = format!("{}{suffix}", self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            line.push(if index == 0 { '{' } else { ',' });
            line.push_str(&format!("{name}=\"{value}\""));
        }
        if !labels.is_empty() {
            line.push('}');
        }
        writeln!(self.out, "{line} {value}").expect("a string takes what is written to it");
    }
}
