//! `viewstone user`: who may sign requests.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use gateway::auth::{KeyInfo, KeySelection, NewKey, Scope, UserError, Users};
use gateway::cluster::QuicLink;
use serde_json::{Value, json};

use super::{Failure, print};
use crate::process::client;
use crate::settings::{Cluster, Setting, SettingError, Sources};
use crate::table;

pub(super) fn command() -> Command {
    let name = || Arg::new("name").value_name("NAME").required(true).help("The user");
    let which = |action: &'static str, about: &'static str| {
        let key = Arg::new("key").long("key").value_name("ACCESS_KEY");
        subcommand(action, about).arg(name()).arg(key.help("Only this one of the user's keys"))
    };
    let add = subcommand("add", "Make an access key, and its user with the first one")
        .arg(name())
        .arg(
            Arg::new("display-name")
                .long("display-name")
                .value_name("TEXT")
                .help("What clients are shown as the owner's name [default: NAME]"),
        )
        .arg(flag("read-only").help("The key cannot change anything"))
        .arg(
            Arg::new("bucket").long("bucket").value_name("BUCKET[/PREFIX]").action(ArgAction::Append).help(
                "The key is good for this bucket only, or for keys of it that begin so. Can be repeated",
            ),
        )
        .arg(
            Arg::new("secret-file")
                .long("secret-file")
                .value_name("FILE")
                .help("The secret stands there, instead of a random one that is printed"),
        );
    Command::new("user")
        .about("Manage who may use the cluster through S3")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(add)
        .subcommand(subcommand("list", "Show all access keys"))
        .subcommand(which("remove", "Remove a user's access keys for ever"))
        .subcommand(which("disable", "Refuse a user's access keys until they are enabled"))
        .subcommand(which("enable", "Accept a user's access keys again"))
}

fn subcommand(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .args(Cluster::SETTINGS.iter().copied().map(Setting::argument))
        .arg(flag("json").help("Print JSON"))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (action, matches) = matches.subcommand().expect("clap wants one");
    let cluster = Cluster::from(&Sources::of_process(matches, Cluster::SETTINGS)?)?;
    let request = Request::from(action, matches)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let answer = runtime.block_on(async {
        let client = client::from_outside(&cluster)?;
        let users = Users::new(client.cluster.clone(), &cluster.key);
        let answer = request.perform(&users).await;
        client.close().await;
        answer.map_err(|error| match error {
            UserError::Invalid(why) => Failure::Settings(SettingError::Together(why)),
            error => Failure::new(error),
        })
    })?;
    print(&if matches.get_flag("json") { answer.as_json() } else { answer.as_text() })?;
    Ok(ExitCode::SUCCESS)
}

enum Request {
    Add { new: NewKey, secret: Option<String> },
    List,
    Remove(KeySelection),
    SetDisabled(KeySelection, bool),
}

enum Answer {
    /// `secret`: if it was made, and not given.
    Added {
        key: KeyInfo,
        secret: Option<String>,
    },
    Listed(Vec<KeyInfo>),
    Changed {
        keys: Vec<KeyInfo>,
        how: &'static str,
    },
}

impl Request {
    fn from(action: &str, matches: &ArgMatches) -> Result<Request, Failure> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let selection =
            || KeySelection { user: text("name").expect("it is required"), access_key: text("key") };
        Ok(match action {
            "add" => {
                let buckets = matches.get_many::<String>("bucket").unwrap_or_default();
                let new = NewKey {
                    user: text("name").expect("it is required"),
                    display_name: text("display-name"),
                    read_only: matches.get_flag("read-only"),
                    scopes: buckets.map(|text| scope_of(text)).collect(),
                };
                Request::Add { new, secret: text("secret-file").map(|path| read_secret(&path)).transpose()? }
            }
            "list" => Request::List,
            "remove" => Request::Remove(selection()),
            "disable" => Request::SetDisabled(selection(), true),
            "enable" => Request::SetDisabled(selection(), false),
            other => unreachable!("clap knows no {other}"),
        })
    }

    async fn perform(self, users: &Users<QuicLink>) -> Result<Answer, UserError> {
        Ok(match self {
            Request::Add { new, secret } => {
                let is_given = secret.is_some();
                let (key, secret) = users.add(new, secret).await?;
                Answer::Added { key, secret: (!is_given).then_some(secret) }
            }
            Request::List => Answer::Listed(users.list().await?),
            Request::Remove(selection) => {
                Answer::Changed { keys: users.remove(&selection).await?, how: "removed" }
            }
            Request::SetDisabled(selection, disabled) => Answer::Changed {
                keys: users.set_disabled(&selection, disabled).await?,
                how: if disabled { "disabled" } else { "enabled" },
            },
        })
    }
}

/// `bucket` or `bucket/prefix`: the prefix is all that comes after the first slash.
fn scope_of(text: &str) -> Scope {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    Scope { bucket: bucket.to_owned(), prefix: prefix.as_bytes().to_vec() }
}

fn read_secret(path: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    Ok(text.trim().to_owned())
}

impl Answer {
    fn as_text(&self) -> String {
        match self {
            Answer::Added { key, secret } => {
                let mut rows = vec![["access key".to_owned(), key.access_key.clone()]];
                rows.extend(secret.iter().map(|secret| ["secret".to_owned(), secret.clone()]));
                rows.push(["canonical id".to_owned(), key.owner.clone()]);
                rows.push(["may".to_owned(), grants(key)]);
                let once = if secret.is_some() { " The secret is shown this once." } else { "" };
                format!("{} has a new access key.{once}\n\n{}", key.user, table::draw(&rows))
            }
            Answer::Listed(keys) if keys.is_empty() => {
                "There are no users but root, whose key the gateways are configured with.\n".into()
            }
            Answer::Listed(keys) => {
                let headings = ["user", "access key", "state", "created", "may"].map(str::to_owned);
                let rows: Vec<_> = [headings].into_iter().chain(keys.iter().map(row)).collect();
                table::draw(&rows)
            }
            Answer::Changed { keys, how } => {
                let lines = keys.iter().map(|key| format!("{how} {} of {}\n", key.access_key, key.user));
                lines.chain([
                    "Every gateway knows within five seconds; one that is cut off from the cluster accepts \
                     what it knew for another minute.\n"
                        .to_owned(),
                ]).collect()
            }
        }
    }

    fn as_json(&self) -> String {
        let document = match self {
            Answer::Added { key, secret } => {
                let mut document = json_of(key);
                if let Some(secret) = secret {
                    document["secret"] = json!(secret);
                }
                document
            }
            Answer::Listed(keys) => keys.iter().map(json_of).collect(),
            Answer::Changed { keys, how } => {
                json!({ *how: keys.iter().map(|key| &key.access_key).collect::<Vec<_>>() })
            }
        };
        format!("{document}\n")
    }
}

fn row(key: &KeyInfo) -> [String; 5] {
    let state = if key.disabled { "disabled" } else { "enabled" };
    [key.user.clone(), key.access_key.clone(), state.to_owned(), created(key), grants(key)]
}

fn grants(key: &KeyInfo) -> String {
    let what = if key.read_only { "read" } else { "read and write" };
    if key.scopes.is_empty() {
        return format!("{what} everything");
    }
    format!("{what} {}", key.scopes.iter().map(scope_text).collect::<Vec<_>>().join(", "))
}

fn scope_text(scope: &Scope) -> String {
    let prefix = String::from_utf8_lossy(&scope.prefix);
    if prefix.is_empty() { scope.bucket.clone() } else { format!("{}/{prefix}", scope.bucket) }
}

fn created(key: &KeyInfo) -> String {
    match jiff::Timestamp::try_from(key.created) {
        Ok(created) => created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "-".to_owned(),
    }
}

fn json_of(key: &KeyInfo) -> Value {
    json!({
        "user": key.user,
        "access_key": key.access_key,
        "owner": key.owner,
        "display_name": key.display_name,
        "read_only": key.read_only,
        "disabled": key.disabled,
        "scopes": key.scopes.iter().map(scope_text).collect::<Vec<_>>(),
        "created": created(key),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn key(read_only: bool, scopes: &[&str]) -> KeyInfo {
        KeyInfo {
            access_key: "VSAAAA".into(),
            user: "alice".into(),
            owner: "00ff".into(),
            display_name: "Alice".into(),
            read_only,
            disabled: false,
            scopes: scopes.iter().map(|text| scope_of(text)).collect(),
            created: UNIX_EPOCH + Duration::from_micros(1_369_353_600_500_000),
        }
    }

    #[test]
    fn a_scope_is_a_bucket_and_what_comes_after_its_slash() {
        let scope = |bucket: &str, prefix: &[u8]| Scope { bucket: bucket.into(), prefix: prefix.to_vec() };
        assert_eq!(scope_of("logs"), scope("logs", b""));
        assert_eq!(scope_of("logs/"), scope("logs", b""));
        assert_eq!(scope_of("logs/2026/a"), scope("logs", b"2026/a"));
        assert_eq!(scope_of("logs//a"), scope("logs", b"/a"));
    }

    #[test]
    fn a_new_key_is_shown_with_its_secret() {
        let answer = Answer::Added { key: key(true, &["logs/a"]), secret: Some("hunter2".into()) };
        assert_eq!(
            answer.as_text(),
            "alice has a new access key. The secret is shown this once.

access key    VSAAAA
secret        hunter2
canonical id  00ff
may           read logs/a
"
        );
        let json: Value = serde_json::from_str(&answer.as_json()).unwrap();
        assert_eq!((&json["access_key"], &json["secret"]), (&json!("VSAAAA"), &json!("hunter2")));

        let given = Answer::Added { key: key(false, &[]), secret: None };
        assert!(!given.as_text().contains("secret"));
        assert!(!given.as_json().contains("secret"));
    }

    #[test]
    fn keys_are_listed_as_a_table_and_as_json() {
        let disabled = KeyInfo { disabled: true, ..key(false, &["a", "b/c"]) };
        let answer = Answer::Listed(vec![key(false, &[]), disabled]);
        assert_eq!(
            answer.as_text(),
            "\
user   access key  state     created               may
alice  VSAAAA      enabled   2013-05-24T00:00:00Z  read and write everything
alice  VSAAAA      disabled  2013-05-24T00:00:00Z  read and write a, b/c
"
        );
        let json: Value = serde_json::from_str(&answer.as_json()).unwrap();
        assert_eq!(json[1]["scopes"], json!(["a", "b/c"]));
        assert_eq!(json[1]["disabled"], json!(true));
        assert_eq!(Answer::Listed(vec![]).as_json(), "[]\n");
    }
}
