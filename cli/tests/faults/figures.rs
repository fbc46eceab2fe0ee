//! What replicas say of themselves.

use crate::harness::Cluster;

/// A metric of a replica, summed over its labels. None if it is not known there.
pub(crate) fn metric(cluster: &Cluster, id: usize, name: &str) -> Option<f64> {
    let (_, text) = cluster.get(id, "/metrics")?;
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.parse::<f64>().ok()
    };
    let values: Vec<f64> = text.lines().filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Whether the process still does its work.
pub(crate) fn is_alive(cluster: &Cluster, id: usize) -> bool {
    cluster.get(id, "/healthz").is_some_and(|(code, _)| code == 200)
}

/// The memory that a replica's process has taken of the machine.
pub(crate) fn resident_bytes(cluster: &Cluster, id: usize) -> u64 {
    let path = format!("/proc/{}/status", cluster.process(id).pid());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Waits until nothing is missing anywhere and everybody is healthy.
pub(crate) fn wait_for_no_debt(cluster: &Cluster) {
    cluster.wait("a healthy cluster without debt", || {
        let (code, text) = cluster.status(&[]);
        (code == Some(0) && text.contains("no debt")).then_some(())
    });
}
