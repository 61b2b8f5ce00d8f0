//! Looks up one key at a time in flags, environment and file, and remembers every key that was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::file::{File, Raw};
use super::secret_file::{self, SecretFileError};
use super::{ConfigError, MaybeSecret, Sources, duration, file};
use crate::secret::Secret;

/// What every environment variable of this server begins with.
pub const PREFIX: &str = "CHANCERY_";

/// The names that contract.md fixes, beside `CHANCERY_SECTION__KEY`.
const ALIASES: [(&str, &str, &str); 7] = [
    ("server", "issuer", "CHANCERY_ISSUER"),
    ("server", "listen", "CHANCERY_LISTEN"),
    ("server", "management_listen", "CHANCERY_MANAGEMENT_LISTEN"),
    ("database", "url", "CHANCERY_DATABASE_URL"),
    ("keys", "master_key", "CHANCERY_MASTER_KEY"),
    ("log", "filter", "CHANCERY_LOG"),
    ("log", "format", "CHANCERY_LOG_FORMAT"),
];

/// What `--config` has in the environment.
const CONFIG_FILE: &str = "CHANCERY_CONFIG";
/// Letters too few, too many, wrong or swapped, within which a name was probably meant to be another.
const MOST_SLIPS: usize = 2;

/// A key that may be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub section: &'static str,
    pub key: String,
    pub kind: KnownKind,
    /// The default, as it would be written; empty if there is none.
    pub default: String,
}

/// What kind of value a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownKind {
    Scalar,
    List,
    /// May also be given as a file that holds it.
    Secret,
    /// The `_file` form of a secret.
    SecretFile,
}

impl Known {
    /// `CHANCERY_SECTION__KEY`.
    pub fn variable(&self) -> String {
        variable(self.section, &self.key)
    }

    /// The short variable of contract.md, if there is one.
    pub fn alias(&self) -> Option<String> {
        alias(self.section, &self.key)
    }
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

fn alias(section: &str, key: &str) -> Option<String> {
    let find = |key: &str| ALIASES.iter().find(|alias| alias.0 == section && alias.1 == key).map(|alias| alias.2);
    find(key).map(str::to_owned).or_else(|| {
        key.strip_suffix("_file")
            .filter(|key| *key == "master_key" || *key == "url")
            .and_then(find)
            .map(|name| name.to_owned() + "_FILE")
    })
}

/// Where a value was found.
#[derive(Debug, Clone)]
struct Found {
    raw: Raw,
    place: String,
    in_file: bool,
}

/// The sources, and what has been asked of them.
#[derive(Debug)]
pub struct Reader {
    path: Option<PathBuf>,
    name: String,
    file: File,
    env: BTreeMap<String, String>,
    flags: Vec<(&'static str, String)>,
    known: Vec<Known>,
    errors: Vec<ConfigError>,
    refused_world_readable: bool,
}

impl Reader {
    /// Reads the file, if there is one.
    pub fn open(sources: Sources) -> Self {
        let mut errors = Vec::new();
        let name = sources.file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let file = sources.file.as_deref().map(|path| file::read(path, &name, &mut errors)).unwrap_or_default();
        Self::over(sources, name, file, errors)
    }

    /// Over a file that was read already; errors call it `name`.
    pub fn over(sources: Sources, name: String, file: File, errors: Vec<ConfigError>) -> Self {
        Self {
            path: sources.file,
            name,
            file,
            env: sources.env,
            flags: sources.flags,
            known: Vec::new(),
            errors,
            refused_world_readable: false,
        }
    }

    /// The keys of one section.
    pub fn section(&mut self, name: &'static str) -> Section<'_> {
        Section { reader: self, name }
    }

    /// Variables that are none of ours and look like a slip of the pen in one that is. They are ignored as all that Kubernetes injects, so whoever
    /// meant them must be told. Call it when every section has been read.
    pub fn misspelt(&self) -> Vec<ConfigError> {
        let long: Vec<String> = self.known.iter().map(Known::variable).collect();
        let short: Vec<String> = self.known.iter().filter_map(Known::alias).chain([CONFIG_FILE.to_owned()]).collect();
        let unknown = self.env.keys().filter(|name| !name.contains("__") && !short.contains(name));
        let near = |name: &str| {
            let likeness = |known: &String| (strsim::osa_distance(&known.replace("__", "_"), name), known.clone());
            long.iter().chain(&short).map(likeness).min().filter(|(slips, _)| *slips <= MOST_SLIPS)
        };
        unknown
            .filter_map(|name| {
                let (_, near) = near(name)?;
                Some(
                    ConfigError::new(name, "no configuration key has this variable: it is ignored")
                        .hint(format!("did you mean {near}?")),
                )
            })
            .collect()
    }

    /// The keys that were asked for.
    pub fn into_known(self) -> Vec<Known> {
        self.known
    }

    /// All errors, those about unknown keys included. Call it when every section has been read.
    pub fn finish(mut self) -> Vec<ConfigError> {
        self.unknown_in_file();
        self.unknown_in_env();
        self.errors
    }

    fn unknown_in_file(&mut self) {
        let sections: BTreeSet<&str> = self.known.iter().map(|known| known.section).collect();
        for (section, line) in &self.file.sections {
            if !sections.contains(section.as_str()) {
                let error =
                    ConfigError::new(format!("{}:{line}", self.name), format!("unknown section [{}]", section.escape_debug()));
                self.errors.push(match nearest(section, sections.iter().copied()) {
                    Some(near) => error.hint(format!("did you mean [{near}]?")),
                    None => error.hint(format!("the sections are {}", sections.iter().copied().collect::<Vec<_>>().join(", "))),
                });
            }
        }
        for ((section, key), (_, line)) in &self.file.entries {
            let of_section = || self.known.iter().filter(|known| known.section == section);
            if !sections.contains(section.as_str()) || of_section().any(|known| known.key == *key) {
                continue;
            }
            let error = ConfigError::new(format!("{}:{line}", self.name), format!("unknown key {key:?} in [{section}]"));
            let elsewhere = self.known.iter().find(|known| known.key == *key);
            self.errors.push(match (nearest(key, of_section().map(|known| known.key.as_str())), elsewhere) {
                (_, Some(known)) => error.hint(format!("it belongs to [{}]", known.section)),
                (Some(near), None) => error.hint(format!("did you mean {near:?}?")),
                (None, None) => error.hint(format!(
                    "[{section}] knows {}",
                    of_section().map(|known| known.key.as_str()).collect::<Vec<_>>().join(", ")
                )),
            });
        }
    }

    fn unknown_in_env(&mut self) {
        let variables: Vec<String> = self.known.iter().map(Known::variable).collect();
        for name in self.env.keys() {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            // Kubernetes injects names such as CHANCERY_SERVICE_HOST for a service called "chancery": those are nobody's mistake.
            if !rest.contains("__") || variables.contains(name) {
                continue;
            }
            let error = ConfigError::new(name, "no configuration key has this variable");
            self.errors.push(match nearest(name, variables.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint("the form is CHANCERY_SECTION__KEY; config/chancery.toml lists all keys"),
            });
        }
    }

    fn find(&mut self, section: &'static str, key: &str) -> Option<Found> {
        let long = variable(section, key);
        let short = alias(section, key);
        let set = |name: &str| self.env.get(name).filter(|value| !value.is_empty()).cloned();
        let (by_long, by_short) = (set(&long), short.as_deref().and_then(set));
        if let (Some(_), Some(_), Some(short)) = (&by_long, &by_short, &short) {
            self.errors.push(
                ConfigError::new(&long, format!("{short} is set too, and both mean [{section}] {key}")).hint("keep one of the two"),
            );
        }
        let path = format!("{section}.{key}");
        if let Some((_, value)) = self.flags.iter().find(|(flag, _)| *flag == path) {
            let place = format!("--{}", key.replace('_', "-"));
            return Some(Found { raw: Raw::Text(value.clone()), place, in_file: false });
        }
        if let Some(value) = by_long {
            return Some(Found { raw: Raw::Text(value), place: long, in_file: false });
        }
        if let (Some(value), Some(place)) = (by_short, short) {
            return Some(Found { raw: Raw::Text(value), place, in_file: false });
        }
        let (raw, line) = self.file.entries.get(&(section.to_owned(), key.to_owned()))?;
        if matches!(raw, Raw::Text(text) if text.is_empty()) {
            return None;
        }
        Some(Found { raw: raw.clone(), place: format!("{}:{line}", self.name), in_file: true })
    }
}

/// The keys of one section, asked for by name and type.
pub struct Section<'r> {
    reader: &'r mut Reader,
    name: &'static str,
}

impl Section<'_> {
    /// A string.
    pub fn text(&mut self, key: &'static str, default: &str) -> String {
        self.parsed(key, default, "a string", |text| Ok::<_, String>(text.to_owned())).unwrap_or_else(|| default.to_owned())
    }

    /// A string that may be absent.
    pub fn optional(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, "", "a string", |text| Ok::<_, String>(text.to_owned()))
    }

    /// A value with its own parser, whose error says what is wrong.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        default: &str,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let found = self.scalar(key, default)?;
        let text = match &found.raw {
            Raw::Text(text) => text.clone(),
            Raw::Integer(number) => number.to_string(),
            Raw::Boolean(_) | Raw::List(_) => {
                self.wrong(&found, key, &format!("must be {what}"));
                return None;
            }
        };
        parse(text.trim()).map_err(|error| self.wrong(&found, key, &error.to_string())).ok()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(found) = self.scalar(key, if default { "true" } else { "false" }) else { return default };
        match &found.raw {
            Raw::Boolean(yes) => *yes,
            Raw::Text(text) if text.trim() == "true" => true,
            Raw::Text(text) if text.trim() == "false" => false,
            Raw::Text(_) | Raw::Integer(_) | Raw::List(_) => {
                self.wrong(&found, key, "must be true or false");
                default
            }
        }
    }

    /// A value that parses by `FromStr`, with a default that is known to parse.
    pub fn parsed_or<T: FromStr>(&mut self, key: &'static str, default: T, shown: &str, what: &str) -> T {
        self.parsed(key, shown, what, |text| text.parse::<T>().map_err(|_| format!("must be {what}, and {text:?} is not")))
            .unwrap_or(default)
    }

    /// A whole number between `least` and `most`.
    pub fn number(&mut self, key: &'static str, default: u64, least: u64, most: u64) -> u64 {
        self.parsed(key, &default.to_string(), "a whole number", |text| match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            Ok(number) => Err(format!("must lie between {least} and {most}, and {number} does not")),
            Err(_) => Err(format!("must be a whole number between {least} and {most}, and {text:?} is not")),
        })
        .unwrap_or(default)
    }

    /// A whole number that fits 32 bits.
    pub fn number32(&mut self, key: &'static str, default: u32, least: u32, most: u32) -> u32 {
        u32::try_from(self.number(key, default.into(), least.into(), most.into())).unwrap_or(default)
    }

    /// A duration between `least` and `most`.
    pub fn duration(&mut self, key: &'static str, default: Duration, least: Duration, most: Duration) -> Duration {
        self.parsed(key, &duration::show(default), "a duration", |text| match duration::parse(text) {
            Some(read) if (least..=most).contains(&read) => Ok(read),
            Some(_) => Err(format!("must lie between {} and {}", duration::show(least), duration::show(most))),
            None => {
                Err(format!("must be a duration such as 600 (seconds), \"500ms\", \"10m\", \"12h\" or \"7d\", and {text:?} is not"))
            }
        })
        .unwrap_or(default)
    }

    /// A list of strings; in a variable separated by commas. Each item is checked by `parse`.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        self.know(key, KnownKind::List, &default.join(","));
        let found = self.reader.find(self.name, key);
        let items: Vec<String> = match found.as_ref().map(|found| &found.raw) {
            Some(Raw::List(items)) => items.clone(),
            Some(Raw::Text(text)) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            Some(Raw::Integer(_) | Raw::Boolean(_)) => {
                if let Some(found) = &found {
                    self.wrong(found, key, "must be a list of strings");
                }
                Vec::new()
            }
            None => default.iter().map(|item| (*item).to_owned()).collect(),
        };
        let mut read = Vec::with_capacity(items.len());
        for item in items {
            match (parse(&item), &found) {
                (Ok(item), _) => read.push(item),
                (Err(error), Some(found)) => self.wrong(found, key, &error.to_string()),
                (Err(_), None) => {}
            }
        }
        read
    }

    /// A path.
    pub fn path(&mut self, key: &'static str, default: &str) -> PathBuf {
        PathBuf::from(self.text(key, default))
    }

    /// A secret, given as itself or as `KEY_file`, the file that holds it; both at once is an error.
    pub fn secret(&mut self, key: &'static str) -> MaybeSecret {
        let file_key = format!("{key}_file");
        self.know(key, KnownKind::Secret, "");
        self.know(&file_key, KnownKind::SecretFile, "");
        let direct = self.reader.find(self.name, key);
        let by_file = self.reader.find(self.name, &file_key);
        let both = direct.is_some() && by_file.is_some();
        // A flag or variable overrides what the file says, whichever form either takes; two of equal rank contradict each other.
        let found = match (direct, by_file) {
            (Some(a), Some(b)) if a.in_file == b.in_file => {
                self.reader.errors.push(
                    ConfigError::new(&b.place, format!("[{}] {key} is given both directly ({}) and as a file", self.name, a.place))
                        .hint("keep one of the two"),
                );
                return None;
            }
            (Some(a), Some(b)) if both => {
                if a.in_file {
                    (b, true)
                } else {
                    (a, false)
                }
            }
            (Some(a), _) => (a, false),
            (None, Some(b)) => (b, true),
            (None, None) => return None,
        };
        match found {
            (Found { raw: Raw::Text(path), place, .. }, true) => match secret_file::read(path.as_ref()) {
                Ok(secret) => Some(secret),
                Err(error) => {
                    let exposes = matches!(error, SecretFileError::WorldReadable { .. });
                    self.reader.errors.push(ConfigError::new(place, error.to_string()).hint(error.hint()).exposes(exposes));
                    None
                }
            },
            (Found { raw: Raw::Text(value), in_file, place }, false) => {
                if in_file {
                    self.file_must_be_private(key, &place);
                }
                Some(Secret::new(value))
            }
            (Found { place, .. }, _) => {
                self.reader.errors.push(ConfigError::new(place, format!("[{}] {key} must be a string", self.name)));
                None
            }
        }
    }

    /// Reports something that concerns several keys of the section.
    pub fn contradiction(&mut self, key: &str, message: String) {
        let place = self.reader.find(self.name, key).map_or_else(|| format!("[{}]", self.name), |found| found.place);
        self.reader.errors.push(ConfigError::new(place, format!("[{}] {message}", self.name)));
    }

    fn file_must_be_private(&mut self, key: &str, place: &str) {
        let Some(path) = self.reader.path.clone() else { return };
        if self.reader.refused_world_readable || !secret_file::is_world_readable(&path) {
            return;
        }
        self.reader.refused_world_readable = true;
        self.reader.errors.push(
            ConfigError::new(place, format!("[{}] {key} is a secret, and every user of this machine may read the file", self.name))
                .hint(format!("chmod o-rwx {} or use {key}_file", path.display()))
                .exposes(true),
        );
    }

    fn scalar(&mut self, key: &str, default: &str) -> Option<Found> {
        self.know(key, KnownKind::Scalar, default);
        self.reader.find(self.name, key)
    }

    fn know(&mut self, key: &str, kind: KnownKind, default: &str) {
        self.reader.known.push(Known { section: self.name, key: key.to_owned(), kind, default: default.to_owned() });
    }

    fn wrong(&mut self, found: &Found, key: &str, message: &str) {
        self.reader.errors.push(ConfigError::new(&found.place, format!("[{}] {key} {message}", self.name)));
    }
}

/// The candidate that `written` was probably meant to be.
fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(&written.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
