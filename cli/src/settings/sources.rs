//! Where a setting's value comes from. Errors name it: whoever set three places must know which one
//! is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::file::SettingsFile;
use super::table::{CONFIG, Setting};

/// The places where this process looks.
pub(crate) struct Sources {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    file: Option<SettingsFile>,
}

/// Names only: the environment may hold the key itself.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("flags", &self.flags.keys())
            .field("environment", &self.environment.keys())
            .field("file", &self.file.as_ref().map(|file| &file.path))
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag(&'static str),
    Variable(String),
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Variable(name) => f.write_str(name),
            Origin::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why a command cannot begin.
#[derive(Debug)]
pub(crate) enum SettingError {
    Missing(&'static Setting),
    Wrong {
        name: &'static str,
        origin: String,
        what: String,
    },
    File {
        path: PathBuf,
        what: String,
    },
    /// Settings that are right alone and do not fit together.
    Together(String),
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingError::Missing(setting) => write!(
                f,
                "{name} is missing: give --{name}, {}, or {name} in the file of --config",
                setting.variable(),
                name = setting.name,
            ),
            SettingError::Wrong { name, origin, what } => write!(f, "{name}, from {origin}: {what}"),
            SettingError::File { path, what } => write!(f, "{}: {what}", path.display()),
            SettingError::Together(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SettingError {}

impl Sources {
    /// The flags of a command that takes `settings`, and this process's environment.
    pub(crate) fn of_process(
        matches: &ArgMatches,
        settings: &[&'static Setting],
    ) -> Result<Sources, SettingError> {
        let given = |setting: &&'static Setting| {
            matches.get_one::<String>(setting.name).map(|value| (setting.name, value.clone()))
        };
        let flags = settings.iter().filter_map(given).collect();
        // A variable that is not UTF-8 is none of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("VIEWSTONE_"))
            .collect();
        Sources::new(flags, environment)
    }

    pub(super) fn new(
        flags: BTreeMap<&'static str, String>,
        environment: BTreeMap<String, String>,
    ) -> Result<Sources, SettingError> {
        let mut sources = Sources { flags, environment, file: None };
        if let Some((path, _)) = sources.find(&CONFIG) {
            sources.file = Some(SettingsFile::read(Path::new(path))?);
        }
        Ok(sources)
    }

    pub(super) fn find(&self, setting: &Setting) -> Option<(&str, Origin)> {
        if let Some((name, value)) = self.flags.get_key_value(setting.name) {
            return Some((value, Origin::Flag(name)));
        }
        let variable = setting.variable();
        if let Some(value) = self.environment.get(&variable) {
            return Some((value, Origin::Variable(variable)));
        }
        let file = self.file.as_ref()?;
        file.get(setting.name).map(|value| (value, Origin::File(file.path.clone())))
    }

    /// A variable of the environment that is no setting.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// `parse` says what is wrong with a text; where the text came from is added here.
    pub(super) fn optional<T>(
        &self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingError> {
        let Some((text, origin)) = self.find(setting) else { return Ok(None) };
        let wrong = |what| SettingError::Wrong { name: setting.name, origin: origin.to_string(), what };
        parse(text).map(Some).map_err(wrong)
    }

    pub(super) fn required<T>(
        &self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, SettingError> {
        self.optional(setting, parse)?.ok_or(SettingError::Missing(setting))
    }
}
