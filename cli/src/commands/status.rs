//! `viewstone status`: asks all replicas at once and draws what they say.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use protocol::data::message::DataBody;
use protocol::types::{ClientId, Peer, ReplicaId};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time;
use transport::Transport;

use super::{Failure, print};
use crate::process;
use crate::settings::{Cluster, Setting, Sources};
use crate::status::{Judgement, ReplicaStatus, Reported, draw};

/// A replica that does not answer within this is as good as gone.
const PATIENCE: Duration = Duration::from_secs(3);
/// Whoever is not there yet is tried again: a connection that was refused may be a process that starts.
const RETRY: Duration = Duration::from_millis(100);
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("status")
        .about("Show how the replicas are. Exit status: 0 healthy, 1 degraded, 2 no quorum")
        .args(Cluster::SETTINGS.iter().copied().map(Setting::argument))
        .arg(flag("json").help("Print what the replicas say, as it is"))
        .arg(flag("watch").help("Again and again, until interrupted"))
}

/// The cluster was not asked, which says nothing about it.
const NOT_ASKED: u8 = 3;

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match look(matches) {
        Err(Failure::Other(why)) => {
            eprintln!("viewstone: {why}");
            Ok(ExitCode::from(NOT_ASKED))
        }
        looked => looked,
    }
}

fn look(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let cluster = Cluster::from(&Sources::of_process(matches, Cluster::SETTINGS)?)?;
    let (json, watch) = (matches.get_flag("json"), matches.get_flag("watch"));
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    runtime.block_on(async {
        let client = ClientId::new(u128::from_le_bytes(process::random()));
        let (transport, _inbox) =
            Transport::start(cluster.transport(Peer::Client(client), vec![])).map_err(Failure::new)?;
        loop {
            let reports = ask_all(&transport, &cluster).await;
            let judgement = Judgement::of(&reports, replica::driver::clock::wall().get());
            let text = if json { as_json(&reports, &judgement) } else { draw(&reports, &judgement) };
            if !watch {
                print(&text)?;
                transport.close().await;
                return Ok(ExitCode::from(judgement.condition as u8));
            }
            const CLEAR: &str = "\x1b[2J\x1b[H";
            print(&if json { text } else { format!("{CLEAR}{text}") })?;
            time::sleep(WATCH_INTERVAL).await;
        }
    })
}

async fn ask_all<'a>(transport: &Transport, cluster: &'a Cluster) -> Vec<Reported<'a>> {
    let mut questions = JoinSet::new();
    for (id, _) in cluster.replicas() {
        let transport = transport.clone();
        questions.spawn(async move { (id, ask(&transport, id).await) });
    }
    let mut answers = questions.join_all().await;
    answers.sort_by_key(|(id, _)| *id);
    let places = cluster.replicas().map(|(_, place)| place);
    places.zip(answers).map(|(place, (_, answer))| Reported { place, answer }).collect()
}

async fn ask(transport: &Transport, id: ReplicaId) -> Result<ReplicaStatus, String> {
    let mut why = "no answer in time".to_owned();
    let attempts = async {
        loop {
            match transport.call(id, DataBody::GetStatus).await {
                Ok(DataBody::Status { json }) => {
                    return serde_json::from_slice(&json)
                        .map_err(|error| format!("its answer is strange: {error}"));
                }
                Ok(other) => return Err(format!("it answers with {}", other.kind())),
                Err(error) => why = error.to_string(),
            }
            time::sleep(RETRY).await;
        }
    };
    match time::timeout(PATIENCE, attempts).await {
        Ok(answer) => answer,
        Err(_) => Err(why),
    }
}

fn as_json(reports: &[Reported<'_>], judgement: &Judgement) -> String {
    let replicas: Vec<_> = reports
        .iter()
        .map(|report| match &report.answer {
            Ok(status) => json!({ "address": report.place, "status": status }),
            Err(why) => json!({ "address": report.place, "error": why }),
        })
        .collect();
    let condition = judgement.condition.words();
    let document = json!({ "condition": condition, "summary": judgement.summary, "replicas": replicas });
    format!("{document}\n")
}
