use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use transport::ClusterKey;

use super::file::SettingsFile;
use super::table::{ADMIN, ALL, CLUSTER_KEY_FILE, LISTEN, LOG_LEVEL, NEW_CLUSTER, PEERS, REPLICA, RESERVE};
use super::values;
use super::*;

/// A directory that goes with its test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("viewstone-settings-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn file(&self, text: &str) -> String {
        let path = self.0.join("viewstone.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn key(&self, name: &str) -> (ClusterKey, String) {
        let key = ClusterKey::generate().unwrap();
        let path = self.0.join(name);
        key.write_new(&path).unwrap();
        (key, path.to_str().unwrap().to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sources(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Result<Sources, SettingError> {
    let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Sources::new(flags, environment)
}

#[test]
fn a_flag_beats_the_environment_and_that_beats_the_file() {
    let place = Place::new("precedence");
    let file = place.file("replica = 1\npeers = [\"a:1\", \"b:2\"]\nreserve = \"1GiB\"");
    let config = ("config", file.as_str());
    let number = |flags: &[_], environment: &[_]| {
        sources(flags, environment).unwrap().required(&REPLICA, values::replica).unwrap().get()
    };
    assert_eq!(number(&[config], &[]), 1);
    assert_eq!(number(&[config], &[("VIEWSTONE_REPLICA", "2")]), 2);
    assert_eq!(number(&[config, ("replica", "3")], &[("VIEWSTONE_REPLICA", "2")]), 3);
    assert_eq!(number(&[], &[("VIEWSTONE_CONFIG", config.1)]), 1);

    let sources = sources(&[config], &[("VIEWSTONE_PEERS", "c:3")]).unwrap();
    assert_eq!(sources.required(&PEERS, values::peers).unwrap(), ["c:3"]);
    assert_eq!(sources.optional(&RESERVE, values::reserve).unwrap(), Some(Reserve::Bytes(1 << 30)));
    assert_eq!(sources.optional(&LOG_LEVEL, values::log_level).unwrap(), None);
}

#[test]
fn an_error_names_the_setting_and_where_it_came_from() {
    let place = Place::new("errors");
    let wrong = |result: Result<Sources, SettingError>| {
        let error = result.and_then(|sources| sources.required(&LISTEN, values::addresses));
        error.unwrap_err().to_string()
    };
    let what = "\"here\" is not an address and a port such as 10.0.0.1:7400 or [::]:7400";
    assert_eq!(wrong(sources(&[("listen", "here")], &[])), format!("listen, from --listen: {what}"));
    assert_eq!(
        wrong(sources(&[], &[("VIEWSTONE_LISTEN", "here")])),
        format!("listen, from VIEWSTONE_LISTEN: {what}")
    );
    let file = place.file("listen = 'here'");
    assert_eq!(wrong(sources(&[("config", &file)], &[])), format!("listen, from {file}: {what}"));
    assert_eq!(
        wrong(sources(&[], &[])),
        "listen is missing: give --listen, VIEWSTONE_LISTEN, or listen in the file of --config"
    );
}

#[test]
fn a_switch_is_true_or_false_in_each_place_and_false_if_nobody_says() {
    let place = Place::new("switch");
    let parsed = |text: &str| {
        let words = text.split_whitespace();
        clap::Command::new("it").arg(NEW_CLUSTER.argument()).try_get_matches_from(words)
    };
    for (words, value) in [("it", None), ("it --new-cluster", Some("true"))] {
        let matches = parsed(words).unwrap();
        assert_eq!(matches.get_one::<String>("new-cluster").map(String::as_str), value, "{words}");
    }
    assert!(parsed("it --new-cluster false").is_err(), "that would be an argument of its own");
    let matches = parsed("it --new-cluster=false").unwrap();
    assert_eq!(matches.get_one::<String>("new-cluster").unwrap(), "false");

    let switch =
        |flags: &[_], environment: &[_]| sources(flags, environment)?.optional(&NEW_CLUSTER, values::switch);
    let file = place.file("new-cluster = true");
    let (config, variable) = (("config", file.as_str()), ("VIEWSTONE_NEW_CLUSTER", "false"));
    assert_eq!(switch(&[], &[]).unwrap(), None);
    assert_eq!(switch(&[config], &[]).unwrap(), Some(true));
    assert_eq!(switch(&[config], &[variable]).unwrap(), Some(false));
    assert_eq!(switch(&[config, ("new-cluster", "true")], &[variable]).unwrap(), Some(true));
    assert_eq!(
        switch(&[("new-cluster", "perhaps")], &[]).unwrap_err().to_string(),
        "new-cluster, from --new-cluster: \"perhaps\" is neither true nor false"
    );
    let wrong = SettingsFile::parse(Path::new("f"), "new-cluster = 'yes'").unwrap_err().to_string();
    assert_eq!(wrong, "f: new-cluster: true or false is expected, not a string");
}

#[test]
fn a_file_with_anything_unknown_is_refused() {
    let parse = |text: &str| SettingsFile::parse(Path::new("f"), text).unwrap_err().to_string();
    assert_eq!(parse("peer = ['a:1']"), "f: there is no setting peer: did you mean peers?");
    assert_eq!(parse("log_level = 'info'"), "f: there is no setting log_level: did you mean log-level?");
    assert_eq!(parse("nonsense-of-mine = 1"), "f: there is no setting nonsense-of-mine");
    assert_eq!(parse("config = 'other'"), "f: there is no setting config");
    assert_eq!(
        parse("cluster-key = 'vsk1-00'"),
        "f: there is no setting cluster-key: did you mean cluster-key-file?"
    );
    assert_eq!(
        parse("admin = false"),
        "f: admin: a text, a number or a list of texts is expected, not a boolean"
    );
    assert!(parse("\npeers = [").starts_with("f: line 2, column "), "{}", parse("\npeers = ["));
    let missing = sources(&[("config", "/nowhere/viewstone.toml")], &[]).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/viewstone.toml: No such file"), "{missing}");
}

/// The message of a parser shows the line that it does not understand. Somebody who puts the key into
/// the file, and forgets a quote, would find it in the log of the service manager.
#[test]
fn what_is_wrong_with_a_file_is_told_without_the_line_itself() {
    for text in [
        "replica = 1\ncluster-key = \"vsk1-5ec2e7\nlog-level = 'info'",
        "replica = 1\ncluster-key = vsk1-5ec2e7",
        "replica = 1\ncluster-key: vsk1-5ec2e7",
        "replica = 1\nvsk1-5ec2e7",
        "replica = 1\ncluster-key = 'vsk1-5ec2e7' 'vsk1-5ec2e7'",
        "replica = 1\nvsk1-5ec2e7 = 1\nvsk1-5ec2e7 = 1",
    ] {
        let error = SettingsFile::parse(Path::new("f"), text).unwrap_err();
        for told in [error.to_string(), format!("{error:?}")] {
            assert!(!told.contains("5ec2e7"), "{told}");
        }
        assert!(error.to_string().starts_with("f: line "), "{error}");
    }
}

#[test]
fn settings_that_are_printed_for_a_programmer_do_not_tell_the_key() {
    let sources = sources(&[("dir", "d")], &[(table::CLUSTER_KEY_VARIABLE, "vsk1-5ec2e7")]).unwrap();
    let printed = format!("{sources:?}");
    assert!(printed.contains(table::CLUSTER_KEY_VARIABLE) && !printed.contains("5ec2e7"), "{printed}");
}

#[test]
fn texts_mean_what_they_say() {
    assert_eq!(values::peers("a:1, [::1]:2,c.example:65535").unwrap(), ["a:1", "[::1]:2", "c.example:65535"]);
    for wrong in ["", "a", "a:", "a:0", "a:65536", ":1", "::1:2", "a:1,,b:2", "a:1 b:2", "a:1,a:1"] {
        assert!(values::peers(wrong).is_err(), "{wrong}");
    }
    assert!(values::peers("a:1,b:1,c:1,d:1,e:1,f:1,g:1").is_ok());
    assert!(
        values::peers("a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1").unwrap_err().starts_with("8 replicas are too many")
    );

    let sizes = [
        ("0", Reserve::Bytes(0)),
        ("500MB", Reserve::Bytes(500_000_000)),
        ("2 GiB", Reserve::Bytes(2 << 30)),
        ("64M", Reserve::Bytes(64 << 20)),
        ("64Mi", Reserve::Bytes(64 << 20)),
        ("3K", Reserve::Bytes(3 << 10)),
        ("3kB", Reserve::Bytes(3_000)),
        ("1T", Reserve::Bytes(1 << 40)),
        ("5%", Reserve::Percent(5)),
    ];
    for (text, size) in sizes {
        assert_eq!(values::reserve(text), Ok(size), "{text}");
    }
    for wrong in ["", "GiB", "1 potato", "100%", "-1", "99999999999999TiB", "1.5GiB", "1m", "1Mib", "1P"] {
        assert!(values::reserve(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        (Reserve::Percent(5).bytes_of(1 << 40), Reserve::Bytes(7).bytes_of(0)),
        ((1 << 40) / 100 * 5, 7)
    );

    assert_eq!(values::admin(""), Ok(None));
    assert_eq!(values::admin("127.0.0.1:9"), Ok(Some(([127, 0, 0, 1], 9).into())));
    assert!(values::admin("9100").is_err());
    assert!(values::replica("7").is_err());
    assert!(values::log_format("xml").is_err() && values::log_level("loud").is_err());
}

#[test]
fn the_key_comes_from_a_file_or_from_the_environment_and_from_one_of_them() {
    let place = Place::new("key");
    let (one, one_path) = place.key("one");
    let (other, other_path) = place.key("other");
    let text = one.to_text();
    let peers = ("peers", "a:1");
    let key = |flags: &[(&'static str, &str)], environment: &[(&str, &str)]| {
        let flags = [flags, &[peers]].concat();
        Cluster::from(&sources(&flags, environment)?).map(|cluster| cluster.key)
    };
    assert_eq!(key(&[], &[("VIEWSTONE_CLUSTER_KEY", &text)]).unwrap(), one);
    assert_eq!(
        key(&[("cluster-key-file", &other_path)], &[("VIEWSTONE_CLUSTER_KEY", &text)]).unwrap(),
        other
    );
    assert_eq!(key(&[], &[("VIEWSTONE_CLUSTER_KEY_FILE", &one_path)]).unwrap(), one);
    let file = place.file(&format!("cluster-key-file = '{other_path}'"));
    assert_eq!(key(&[("config", &file)], &[("VIEWSTONE_CLUSTER_KEY", &text)]).unwrap(), one);

    let both = [("VIEWSTONE_CLUSTER_KEY", text.as_str()), ("VIEWSTONE_CLUSTER_KEY_FILE", &one_path)];
    assert!(key(&[], &both).unwrap_err().to_string().contains("are both set"));
    let missing = key(&[], &[]).unwrap_err().to_string();
    assert!(missing.starts_with("cluster-key-file is missing"), "{missing}");
    let cut_off = key(&[], &[("VIEWSTONE_CLUSTER_KEY", &text[..40])]).unwrap_err().to_string();
    assert!(cut_off.starts_with("cluster-key-file, from VIEWSTONE_CLUSTER_KEY: "), "{cut_off}");
    assert!(!cut_off.contains(&text[10..40]), "a secret is not repeated");
}

#[test]
fn a_replica_listens_everywhere_at_its_own_port_unless_told_otherwise() {
    let place = Place::new("seat");
    let (_, key) = place.key("key");
    let listening = |more: &[(&'static str, &str)]| {
        let flags: [(&'static str, &str); 4] =
            [("dir", "d"), ("replica", "1"), ("peers", "a:7400,b:7401,c:7402"), ("cluster-key-file", &key)];
        let sources = sources(&[&flags, more].concat(), &[]).unwrap();
        Listening::from(&sources, &Seat::from(&sources).unwrap()).unwrap()
    };
    let standard = listening(&[]);
    assert_eq!(standard.listen, ["0.0.0.0:7401".parse().unwrap(), "[::]:7401".parse().unwrap()]);
    assert_eq!(standard.admin, Some("127.0.0.1:9100".parse().unwrap()));
    assert_eq!(standard.reserve, Reserve::Percent(5));
    let told = listening(&[("listen", "10.0.0.1:5"), ("admin", ""), ("reserve", "1GB")]);
    assert_eq!((told.listen, told.admin), (vec!["10.0.0.1:5".parse().unwrap()], None));
    assert_eq!(told.reserve, Reserve::Bytes(1_000_000_000));

    let beyond =
        sources(&[("dir", "d"), ("replica", "3"), ("peers", "a:1,b:1,c:1"), ("cluster-key-file", &key)], &[]);
    let error = Seat::from(&beyond.unwrap()).unwrap_err().to_string();
    assert_eq!(error, "replica is 3, but peers names 3 replicas: their numbers begin with 0");
}

/// What operators copy: every name in it is one, and every command begins with it.
#[test]
fn the_example_of_a_file_is_one() {
    let place = Place::new("example");
    let (key, _) = place.key("cluster.key");
    std::fs::write(place.0.join("secret.key"), "a secret of one's own\n").unwrap();
    let example = include_str!("../../../dist/viewstone.toml");
    let file = place.file(&example.replace("/etc/viewstone", place.0.to_str().unwrap()));
    let sources = sources(&[("config", &file)], &[]).unwrap();
    let seat = Seat::from(&sources).unwrap();
    assert_eq!((seat.replica.get(), seat.cluster.peers.len(), &seat.cluster.key), (0, 3, &key));
    assert!(!Listening::from(&sources, &seat).unwrap().new_cluster, "that is said by a person");
    let s3 = S3::from(&sources).unwrap();
    assert!(s3.tls.is_some());
    assert_eq!(s3.secret_key, "a secret of one's own");
    assert_eq!(Logging::from(&sources).unwrap().format, LogFormat::Json);
}

#[test]
fn every_setting_has_a_name_of_its_own_in_each_place() {
    let names: BTreeMap<String, &str> =
        ALL.iter().map(|setting| (setting.variable(), setting.name)).collect();
    assert_eq!(names.len(), ALL.len());
    assert!(!names.contains_key(table::CLUSTER_KEY_VARIABLE), "that is the key itself, not a setting");
    assert_eq!(CLUSTER_KEY_FILE.variable(), "VIEWSTONE_CLUSTER_KEY_FILE");
    assert_eq!(ADMIN.variable(), "VIEWSTONE_ADMIN");
}
