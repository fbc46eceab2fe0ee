//! `docs/CORRECTNESS.md` maps every trap and every rule to places in the code and to what would notice a
//! breach. These tests hold its names to the tree: a map of what is no longer there is worse than none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use protocol::canary::Canary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every source file: its path and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("the tree can be read") {
            let path = entry.expect("the tree can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                found.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    found
}

fn map() -> String {
    let text = std::fs::read_to_string(root().join("docs/CORRECTNESS.md")).expect("the map is there");
    text[text.find("## The map").expect("the document has a map")..].to_owned()
}

/// What stands in the first column of the tables, and the rest of the row.
fn rows(map: &str) -> Vec<(&str, &str)> {
    let rows = map.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.filter(|(name, _)| name.chars().any(|char| char.is_ascii_digit())).collect()
}

/// Names in the text's back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn has_function(text: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("fn {name}<")].iter().any(|form| text.contains(form))
}

#[test]
fn the_map_names_every_trap_and_every_rule_once() {
    let map = map();
    let traps = (1..=117).chain([123]).map(|number| format!("P{number}"));
    let rules = (1..=9).chain([11]).map(|number| format!("D{number}"));
    let invariants = (1..=42).map(|number| number.to_string());
    let wanted: Vec<String> = traps.chain(rules).chain(invariants).collect();
    let names: Vec<&str> = rows(&map).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, wanted);
}

#[test]
fn whatever_the_map_names_is_there() {
    let sources = sources();
    let map = map();
    let canaries: BTreeSet<String> = Canary::ALL.iter().map(|canary| format!("{canary:?}")).collect();
    let mut strangers = Vec::new();
    for (row, text) in rows(&map) {
        for name in quoted(text) {
            let known = if let Some((file, function)) = name.split_once(':') {
                let file = format!("/{file}");
                sources.iter().any(|(path, text)| path.ends_with(&file) && has_function(text, function))
            } else if name.contains('/') {
                let anywhere = |(path, _): &(String, String)| path.contains(name);
                root().join(name).exists() || sources.iter().any(anywhere)
            } else if name.starts_with(char::is_uppercase) {
                // A planted bug, or a word of the protocol.
                canaries.contains(name)
                    || sources.iter().any(|(_, text)| text.contains(&format!("    {name}")))
            } else {
                sources.iter().any(|(_, text)| has_function(text, name))
            };
            if !known {
                strangers.push(format!("{row}: {name}"));
            }
        }
    }
    assert!(strangers.is_empty(), "not in the tree: {strangers:#?}");
}

#[test]
fn every_planted_bug_is_on_the_map() {
    let map = map();
    let named: BTreeSet<&str> = quoted(&map).collect();
    for canary in Canary::ALL {
        assert!(named.contains(format!("{canary:?}").as_str()), "{canary:?} is on no row");
    }
}

/// Each mark that somebody brings about on purpose names the test that does.
#[test]
fn the_stories_of_expected_marks_are_there() {
    let sources = sources();
    for story in simulator::nightly::EXPECTED.iter().filter_map(|expected| expected.story) {
        assert!(sources.iter().any(|(_, text)| has_function(text, story)), "there is no {story}");
    }
}
