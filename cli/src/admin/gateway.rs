//! A gateway's figures, alone or beside those of the replica in its process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use gateway::cluster::Link;
use gateway::http::Gateway;
use gateway::http::metrics::{Answers, LATENCY_SECONDS, Metrics};

use super::Site;
use super::exposition::Exposition;
use crate::process::Shared;

pub(crate) struct GatewaySite<L>(pub(crate) Arc<Gateway<L>>);

impl<L: Link> Site for GatewaySite<L> {
    fn readiness(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async {
            let ready = self.0.is_ready().await;
            if ready { Ok(()) } else { Err("the cluster does not answer".to_owned()) }
        })
    }

    fn metrics(&self) -> String {
        render(self.0.metrics())
    }

    fn status(&self) -> Option<String> {
        None
    }
}

/// Both in one process: ready as the replica is.
pub(crate) struct NodeSite<L> {
    pub(crate) replica: Arc<Shared>,
    pub(crate) gateway: Arc<Gateway<L>>,
}

impl<L: Link> Site for NodeSite<L> {
    fn readiness(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        self.replica.readiness()
    }

    fn metrics(&self) -> String {
        Site::metrics(&*self.replica) + &render(self.gateway.metrics())
    }

    fn status(&self) -> Option<String> {
        Site::status(&*self.replica)
    }
}

fn render(metrics: &Metrics) -> String {
    let answers = metrics.answers();
    let mut out = Exposition::default();
    let mut family = out.counter("viewstone_s3_answers_total", "Answers to S3 requests.");
    for ((operation, status), Answers { count, .. }) in &answers {
        family.labelled(&[("operation", operation), ("status", &status.to_string())], count);
    }
    let mut all = Answers::default();
    for answers in answers.values() {
        all.count += answers.count;
        all.seconds += answers.seconds;
        for (sum, count) in all.buckets.iter_mut().zip(answers.buckets) {
            *sum += count;
        }
    }
    out.histogram("viewstone_s3_answer_seconds", "From a request's head to that of its answer.")
        .distribution(LATENCY_SECONDS.into_iter().zip(all.buckets), all.count, all.seconds);
    out.gauge("viewstone_s3_requests_running", "S3 requests that are worked on.").value(metrics.running());
    out.counter("viewstone_s3_turned_away_total", "Requests that were told to come again: too many at once.")
        .value(metrics.turned_away());
    out.finish()
}
