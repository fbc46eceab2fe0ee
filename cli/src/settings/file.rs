//! The file of settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::sources::SettingError;
use super::table::{ALL, Setting};

/// A file is read whole; a larger one is not a file of settings.
const SIZE_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    values: BTreeMap<String, String>,
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> Result<SettingsFile, SettingError> {
        let refuse = |what: String| SettingError::File { path: path.to_owned(), what };
        let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
        if size > SIZE_MAX {
            return Err(refuse(format!("{size} bytes are too many")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        SettingsFile::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<SettingsFile, SettingError> {
        let refuse = |what: String| SettingError::File { path: path.to_owned(), what };
        let table: Table = text.parse().map_err(|error| refuse(what_is_wrong(text, &error)))?;
        let mut values = BTreeMap::new();
        for (name, value) in table {
            let setting = ALL.iter().find(|setting| setting.name == name && name != "config");
            let setting = setting.ok_or_else(|| refuse(unknown(&name)))?;
            let text = text_of(setting, &value).ok_or_else(|| {
                let expected =
                    if setting.is_switch() { "true or false" } else { "a text, a number or a list of texts" };
                refuse(format!("{name}: {expected} is expected, not a {}", value.type_str()))
            })?;
            values.insert(name, text);
        }
        Ok(SettingsFile { path: path.to_owned(), values })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

/// Without the line itself, which `toml` would show: a key that stands there by mistake must not get
/// into a log.
fn what_is_wrong(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

/// A list is a text with commas, as it is on the command line.
fn text_of(setting: &Setting, value: &Value) -> Option<String> {
    if setting.is_switch() {
        return value.as_bool().map(|value| value.to_string());
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(items?.join(","))
        }
        Value::Boolean(_) | Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn unknown(name: &str) -> String {
    let known = ALL.iter().map(|setting| setting.name).filter(|known| *known != "config");
    let nearest = known.min_by_key(|known| distance(name, known)).expect("there are settings");
    let guess = if distance(name, nearest) <= nearest.len() / 2 {
        format!(": did you mean {nearest}?")
    } else {
        String::new()
    };
    format!("there is no setting {name}{guess}")
}

/// How many letters must be added, removed or changed to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..other.len() {
            let changed = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
