//! `docs/ARCHITECTURE.md` is a map: it shows what is there, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CRATES: [&str; 8] =
    ["cli", "compat-tests", "gateway", "models", "protocol", "replica", "simulator", "transport"];
/// Found in every crate without a map.
const PLAIN: [&str; 5] = ["lib.rs", "main.rs", "mod.rs", "tests", "tests.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The first column of the code map. A name after the first of its row lies beside that one, or at the root.
fn named() -> BTreeSet<PathBuf> {
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let map = text.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut paths = BTreeSet::new();
    for row in map.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap();
        let names = cell.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches('/'));
        let mut beside: Option<PathBuf> = None;
        for name in names {
            let near =
                beside.as_ref().map(|beside| beside.join(name)).filter(|path| root().join(path).exists());
            let path = near.unwrap_or_else(|| PathBuf::from(name));
            assert!(root().join(&path).exists(), "the map shows {name}, which is not there: {row}");
            beside.get_or_insert_with(|| path.parent().unwrap().to_owned());
            paths.insert(path);
        }
    }
    paths
}

#[test]
fn everything_on_the_map_is_there_and_every_part_of_a_crate_is_on_it() {
    let named = named();
    assert!(named.len() > 40, "that is no map: {named:?}");
    for name in CRATES {
        let source = Path::new(name).join("src");
        for item in std::fs::read_dir(root().join(&source)).unwrap() {
            let file = item.unwrap().file_name().into_string().unwrap();
            let path = source.join(&file);
            let is_shown = path.ancestors().any(|above| named.contains(above))
                || named.iter().any(|named| named.starts_with(&path));
            assert!(is_shown || PLAIN.contains(&file.as_str()), "{} is not on the map", path.display());
        }
    }
}
